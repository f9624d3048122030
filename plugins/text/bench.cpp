// lact-bench text: how fast a model reads and writes, at any depth of context.

#include "bench_report.hpp"
#include "commands.hpp"
#include "cost.hpp"
#include "model.hpp"
#include "options.hpp"
#include "sampler.hpp"
#include "threads.hpp"

#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <map>

namespace lact::text {
namespace {

using Clock = std::chrono::steady_clock;

/// Lists of an option that may be repeated; `initial` if it is not given.
std::vector<int64_t> numbers(const std::vector<std::string>& given, const std::string& option,
                             std::vector<int64_t> initial) {
  if (given.empty()) return initial;
  std::vector<int64_t> all;
  for (const auto& text : given)
    for (const int64_t one : parse_numbers(text, option)) all.push_back(one);
  return all;
}

/// Fresh parameters in the types that LanguageModel::load gives them.
void store_in(const LanguageModel& model, at::ScalarType products) {
  for (auto& [name, tensor] : model.parameters()) {
    const bool matrix =
        tensor.dim() == 2 && !name.ends_with("qk_scale") && !name.ends_with("qk_offset");
    if (matrix) tensor.set_data(tensor.to(products));
  }
}

/// A model being measured: random tokens in, times out.
class Runner {
 public:
  Runner(LanguageModel model, c10::Device device, int64_t batch, uint64_t seed)
      : model_(std::move(model)), device_(device), batch_(batch), seed_(seed) {
    io::State empty;
    const auto stream = model_.start(1);
    model_.save(stream, empty);
    states_.emplace(0, std::move(empty));
  }

  const LanguageModel& model() const { return model_; }

  /// Reads up to the depth, once for all tests that begin there. Not timed.
  void prepare(int64_t depth) {
    const auto below = std::prev(states_.upper_bound(depth));
    if (below->first == depth) return;
    auto stream = model_.restore(below->second);
    cli::Progress progress("reading the context", static_cast<double>(depth), "tokens");
    Random random(seed_ + static_cast<uint64_t>(below->first));
    while (stream.position < depth) {
      read(stream, std::min(batch_ - stream.position % batch_, depth - stream.position), random);
      progress.set(static_cast<double>(stream.position));
    }
    io::State state;
    model_.save(stream, state);
    states_.emplace(depth, std::move(state));
  }

  /// Seconds of one run of the test.
  double run(const BenchTest& test) {
    auto stream = model_.restore(states_.at(test.depth));
    Random random(seed_);
    const auto start = Clock::now();
    for (int64_t left = test.prompt; left > 0;) {
      const int64_t count = std::min(left, batch_ - stream.position % batch_);
      read(stream, count, random);
      left -= count;
    }
    const DecodingThreads threads(model_.config());
    for (int64_t i = 0; i < test.generated; ++i) read(stream, 1, random);
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  void read(LanguageModel::Stream& stream, int64_t count, Random& random) {
    const c10::InferenceMode no_graph;  // a quarter of a small model's time
    if (cli::stop_requested()) throw cli::Interrupted();
    const auto vocabulary = static_cast<uint64_t>(model_.config().vocab_size);
    auto ids = at::empty({1, count}, at::kLong);
    for (int64_t i = 0; i < count; ++i)
      ids.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(random.bits() % vocabulary);
    // The logits come to the host, as sampling needs them; this also waits for the device.
    model_.feed(stream, ids.to(device_)).cpu();
  }

  LanguageModel model_;
  c10::Device device_;
  int64_t batch_;
  uint64_t seed_;
  std::map<int64_t, io::State> states_;  // by depth
};

class BenchText final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    app.footer(
        "Tests are named as llama-bench names them: pp512 reads 512 tokens, tg128 writes 128 one\n"
        "by one, pp512 @ d4096 reads them after 4096 others. 'of max' is the part of this "
        "machine's\n"
        "matrix-product rate. A model learns at the end of each chunk: writing fewer tokens than\n"
        "that may not meet an update, -n CHUNK meets exactly one.");
    declare_tests(app);
    app.add_option("--model", model_, "model directory, or run directory; else --preset")
        ->type_name("DIR")
        ->group("Model");
    config_.declare(app);
  }

  void run(cli::Context& context) override {
    const auto tests = all_tests();
    const auto format = context.json ? "json" : format_;
    const auto dtype = ops::resolve_dtype(context.dtype, context.device);
    Runner runner(make_model(context, dtype), context.device, batch_, seed(context));
    BenchPrinter printer(format, setup(runner.model().config(), context, dtype));
    const double ceiling = ops::product_rate(context.device, dtype);
    for (const auto& test : tests) printer.row(measure(runner, test, ceiling));
    printer.finish();
  }

 private:
  void declare_tests(CLI::App& app) {
    const char* group = "Tests";
    app.add_option("-p,--n-prompt", prompts_,
                   "tokens to read: N, A-B, A-B+STEP, A-B*FACTOR, or a list of these; 0: none "
                   "(default: 512)")
        ->type_name("LIST")
        ->group(group);
    app.add_option("-n,--n-gen", generated_, "tokens to write, as -p (default: 128)")
        ->type_name("LIST")
        ->group(group);
    app.add_option("--pg", pairs_, "read PP tokens, then write TG, in one time")
        ->type_name("PP,TG")
        ->group(group);
    app.add_option("-d,--n-depth", depths_,
                   "tokens of context before the test, not timed, as -p (default: 0)")
        ->type_name("LIST")
        ->group(group);
    app.add_option("-b,--batch-size", batch_, "tokens that are read at a time")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
        ->group(group);
    app.add_option("-r,--repetitions", repetitions_, "times that each test is run")
        ->check(CLI::Range(1, 1000000))
        ->group(group);
    app.add_flag("--no-warmup", no_warmup_, "do not run each test once before it is timed")
        ->group(group);
    app.add_option("-o,--output", format_, "form of the results")
        ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}))
        ->group(group);
  }

  std::vector<BenchTest> all_tests() const {
    const auto prompts = numbers(prompts_, "--n-prompt", {512});
    const auto generated = numbers(generated_, "--n-gen", {128});
    std::vector<BenchTest> tests;
    for (const int64_t depth : numbers(depths_, "--n-depth", {0})) {
      for (const int64_t n : prompts)
        if (n > 0) tests.push_back({n, 0, depth});
      for (const int64_t n : generated)
        if (n > 0) tests.push_back({0, n, depth});
      for (const auto& text : pairs_) {
        const auto pair = parse_numbers(text, "--pg");
        if (pair.size() != 2 || pair[0] + pair[1] == 0)
          throw Error(Exit::usage, "--pg: expected PP,TG, found '", text, "'");
        tests.push_back({pair[0], pair[1], depth});
      }
    }
    if (tests.empty()) throw Error(Exit::usage, "nothing to measure: -p, -n and --pg are 0");
    return tests;
  }

  static uint64_t seed(const cli::Context& context) { return context.seed.value_or(1); }

  LanguageModel make_model(const cli::Context& context, at::ScalarType dtype) const {
    if (model_.empty()) {
      auto model = LanguageModel::fresh(config_.resolve(), seed(context), context.device);
      store_in(model, dtype);
      model.set_compute_dtype(dtype);
      return model;
    }
    for (const auto& [key, kind] : Config::keys())
      if (config_.given(key))
        throw Error(Exit::usage, "--model has a configuration of its own: ", key,
                    " is for models with fresh parameters");
    return LanguageModel::load(io::Checkpoint::open(model_), context.device, dtype);
  }

  BenchSetup setup(const Config& config, const cli::Context& context, at::ScalarType dtype) const {
    BenchSetup setup;
    auto folder = std::filesystem::path(model_).lexically_normal();
    if (folder.filename().empty()) folder = folder.parent_path();
    setup.model = model_.empty() ? config_.preset() + " (fresh)" : folder.filename().string();
    setup.device = context.device.str();
    setup.dtype = ops::dtype_name(dtype);
    setup.parameters = parameter_count(config);
    setup.batch = batch_;
    setup.chunk = config.lact_chunk_size;
    setup.window = config.window_size.value_or(0);
    setup.threads = context.threads;
    return setup;
  }

  BenchRow measure(Runner& runner, const BenchTest& test, double ceiling) const {
    runner.prepare(test.depth);
    if (!no_warmup_)
      runner.run({std::min(test.prompt, batch_), std::min<int64_t>(test.generated, 8), test.depth});
    BenchRow row{test, {}, 0, ceiling};
    for (int i = 0; i < repetitions_; ++i) row.seconds.push_back(runner.run(test));
    if (test.generated == 0) row.flops = flops(runner.model().config(), test);
    return row;
  }

  /// Of the tokens after the depth; the output head is computed for the last token of each group.
  double flops(const Config& config, const BenchTest& test) const {
    const double all = forward_flops(config, test.depth + test.prompt, /*head=*/false);
    return test.depth == 0 ? all : all - forward_flops(config, test.depth, /*head=*/false);
  }

  std::vector<std::string> prompts_, generated_, pairs_, depths_;
  std::string model_, format_ = "md";
  int64_t batch_ = 2048;
  int repetitions_ = 5;
  bool no_warmup_ = false;
  ConfigOptions config_;
};

}  // namespace

std::unique_ptr<plugin::Command> bench_text() {
  return std::make_unique<BenchText>();
}

}  // namespace lact::text
