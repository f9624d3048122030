// lact-bench text: how fast a model reads and writes, at any depth of context, and how fast it is
// trained.

#include "bench_report.hpp"

#include <plugins/text/commands.hpp>
#include <plugins/text/model/cost.hpp>
#include <plugins/text/model/model.hpp>
#include <plugins/text/model/model_options.hpp>
#include <plugins/text/session/decoding_threads.hpp>
#include <plugins/text/session/sampler.hpp>

#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>
#include <lact/train/optimizer.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>
#include <optional>

namespace lact::text {
namespace {

/// Fresh parameters in the types that LanguageModel::load gives them.
void store_in(const LanguageModel& model, at::ScalarType products) {
  for (auto& [name, tensor] : model.parameters()) {
    const bool matrix =
        tensor.dim() == 2 && !name.ends_with("qk_scale") && !name.ends_with("qk_offset");
    if (matrix) tensor.set_data(tensor.to(products));
  }
}

at::Tensor random_ids(at::IntArrayRef sizes, int64_t vocabulary, Random& random) {
  auto ids = at::empty(sizes, at::kLong);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(random.below(vocabulary));
  return ids;
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
    return cli::timed(device_, [&] {
      for (int64_t left = test.prompt; left > 0;) {
        const int64_t count = std::min(left, batch_ - stream.position % batch_);
        read(stream, count, random);
        left -= count;
      }
      const DecodingThreads threads(model_.config());
      for (int64_t i = 0; i < test.generated; ++i) read(stream, 1, random);
    });
  }

 private:
  void read(LanguageModel::Stream& stream, int64_t count, Random& random) {
    const c10::InferenceMode no_graph;  // a quarter of a small model's time
    if (cli::stop_requested()) throw cli::Interrupted();
    const auto ids = random_ids({1, count}, model_.config().vocab_size, random);
    // The logits come to the host, as sampling needs them; this also waits for the device.
    model_.feed(stream, ids.to(device_)).cpu();
  }

  LanguageModel model_;
  c10::Device device_;
  int64_t batch_;
  uint64_t seed_;
  std::map<int64_t, io::State> states_;  // by depth
};

/// A model being trained on random tokens, as lact-train does it: gradients, clipping, AdamW.
class TrainRunner {
 public:
  TrainRunner(LanguageModel model, c10::Device device, uint64_t seed)
      : model_(std::move(model)),
        device_(device),
        optimizer_(parameters_of(model_), {}),
        random_(seed) {}

  struct Seconds {
    double all = 0, optimizer = 0;
  };
  Seconds run(const BenchTest& test) {
    if (cli::stop_requested()) throw cli::Interrupted();
    const auto ids =
        random_ids({test.rows, test.trained}, model_.config().vocab_size, random_).to(device_);
    Seconds seconds;
    seconds.all = cli::timed(device_, [&] { model_.loss(ids, ids).backward(); });
    seconds.optimizer = cli::timed(device_, [&] {
      const double norm = train::global_norm(optimizer_.parameters());
      train::scale_gradients(optimizer_.parameters(), std::min(1.0, 1 / (norm + 1e-6)));
      optimizer_.step(/*learning_rate=*/1e-4);
      optimizer_.zero_grad();
    });
    seconds.all += seconds.optimizer;
    return seconds;
  }

 private:
  static std::vector<train::Parameter> parameters_of(const LanguageModel& model) {
    std::vector<train::Parameter> all;
    for (auto& [name, tensor] : model.parameters()) {
      tensor.requires_grad_(true);
      all.push_back({name, tensor});
    }
    return all;
  }

  LanguageModel model_;
  c10::Device device_;
  train::Optimizer optimizer_;
  Random random_;
};

class BenchText final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Tests have llama-bench's names: pp512 reads 512 tokens, tg128 generates 128 one by one,\n"
        "pp512 @ d4096 reads them after 4096 others; tr4x512 is a training step on 4 rows of 512:\n"
        "forward, backward, AdamW. '% of max' is the share of this machine's matrix product rate,\n"
        "measured before and after each row. Fast weights are updated at the end of a chunk:\n"
        "generating fewer tokens may meet no update, -n CHUNK meets exactly one. 'strength' is "
        "how\n"
        "much of what the fast weights give the first chunk of random tokens changes.");
    declare_tests(options.group("Tests"));
    options.group("Model")
        .add("--model", model_, "model directory, or run directory (default: a new --preset)")
        .value("DIR");
    config_.declare(options);
  }

  void run(cli::Context& context) override {
    const auto tests = all_tests();
    model_config_ = config();
    const auto dtype = ops::resolve_dtype(context.dtype, context.device);
    std::optional<Runner> runner;
    std::optional<TrainRunner> trainer;
    if (!model_.empty()) runner.emplace(reader(context, dtype));
    auto all = setup(context, dtype);
    const double strength =
        runner ? runner->model().write_strength(seed(context))
               : LanguageModel::fresh_write_strength(model_config_, seed(context), context.device);
    if (strength > 0) all.write_strength = strength;
    BenchPrinter printer(context.json ? "json" : common_.format, std::move(all));
    for (const auto& test : tests) {
      BenchRow row{test, {}, {}, flops(test), ceiling(context, dtype)};
      if (test.trained > 0) {
        if (!trainer) trainer.emplace(trained_model(context, dtype), context.device, seed(context));
        train(*trainer, row);
      } else {
        if (!runner) runner.emplace(reader(context, dtype));
        read(*runner, row);
      }
      row.ceiling = (row.ceiling + ceiling(context, dtype)) / 2;
      printer.row(row);
    }
    printer.finish();
  }

 private:
  void declare_tests(cli::Options options) {
    options
        .add("-p,--n-prompt", prompts_,
             "tokens to read: N, A-B, A-B+STEP, A-B*FACTOR, or a list of these; 0: none")
        .value("LIST")
        .initially("512");
    options.add("-n,--n-gen", generated_, "tokens to generate; a list as for -p")
        .value("LIST")
        .initially("128");
    options.add("--pg", pairs_, "read PP tokens, then generate TG, timed together").value("PP,TG");
    options
        .add("-d,--n-depth", depths_, "untimed tokens of context before a test; a list as for -p")
        .value("LIST")
        .initially("0");
    options.add("-b,--batch-size", batch_, "tokens that are read at a time").range(1, 1 << 20);
    options.add("--n-train", trained_, "tokens per row of a training step; a list as for -p")
        .value("LIST")
        .initially("0");
    options.add("--train-rows", train_rows_, "rows of a training step").range(1, 1 << 20);
    common_.declare(options);
  }

  std::vector<BenchTest> all_tests() const {
    const auto prompts = cli::parse_numbers(prompts_, "--n-prompt", {512});
    const auto generated = cli::parse_numbers(generated_, "--n-gen", {128});
    std::vector<BenchTest> tests;
    for (const int64_t depth : cli::parse_numbers(depths_, "--n-depth", {0})) {
      for (const int64_t n : prompts)
        if (n > 0) tests.push_back({n, 0, depth});
      for (const int64_t n : generated)
        if (n > 0) tests.push_back({0, n, depth});
      for (const auto& text : pairs_) {
        const auto pair = cli::parse_numbers(text, "--pg");
        if (pair.size() != 2 || pair[0] + pair[1] == 0)
          throw Error(Exit::usage, "--pg: expected PP,TG, found '", text, "'");
        tests.push_back({pair[0], pair[1], depth});
      }
    }
    for (const int64_t n : cli::parse_numbers(trained_, "--n-train", {0})) {
      if (n == 1) throw Error(Exit::usage, "--n-train: a row of 1 token has nothing to predict");
      if (n > 0) tests.push_back({0, 0, 0, n, train_rows_});
    }
    if (tests.empty())
      throw Error(Exit::usage, "nothing to measure: -p, -n, --pg and --n-train are 0");
    return tests;
  }

  static uint64_t seed(const cli::Context& context) { return context.seed.value_or(kDefaultSeed); }

  static double ceiling(const cli::Context& context, at::ScalarType dtype) {
    return ops::product_rate(context.device, dtype, /*seconds=*/0.2);
  }

  Config config() const {
    if (model_.empty()) return config_.resolve();
    for (const auto& [key, kind] : Config::keys())
      if (config_.given(key))
        throw Error(Exit::usage, "--model has a configuration of its own: ", key,
                    " is for models with fresh parameters");
    return Config::of(io::Checkpoint::open(model_));
  }

  /// Large matrices in the dtype of the products.
  LanguageModel read_model(const cli::Context& context, at::ScalarType dtype) const {
    if (!model_.empty())
      return LanguageModel::load(io::Checkpoint::open(model_), context.device, dtype);
    auto model = LanguageModel::fresh(model_config_, seed(context), context.device);
    store_in(model, dtype);
    model.set_compute_dtype(dtype);
    return model;
  }

  Runner reader(const cli::Context& context, at::ScalarType dtype) const {
    return {read_model(context, dtype), context.device, batch_, seed(context)};
  }

  /// All parameters in float32.
  LanguageModel trained_model(const cli::Context& context, at::ScalarType dtype) const {
    auto model = model_.empty() ? LanguageModel::fresh(model_config_, seed(context), context.device)
                                : LanguageModel::load(io::Checkpoint::open(model_), context.device);
    model.set_compute_dtype(dtype);
    return model;
  }

  BenchSetup setup(const cli::Context& context, at::ScalarType dtype) const {
    BenchSetup setup;
    auto folder = std::filesystem::path(model_).lexically_normal();
    if (folder.filename().empty()) folder = folder.parent_path();
    setup.model = model_.empty() ? config_.preset() + " (fresh)" : folder.filename().string();
    setup.device = context.device.str();
    setup.dtype = ops::dtype_name(dtype);
    setup.parameters = nn::count(parameter_shapes(model_config_));
    setup.batch = batch_;
    setup.chunk = model_config_.lact_chunk_size;
    setup.window = model_config_.window_size.value_or(0);
    setup.threads = context.threads;
    return setup;
  }

  void read(Runner& runner, BenchRow& row) const {
    const auto& test = row.test;
    runner.prepare(test.depth);
    if (!common_.no_warmup)
      runner.run({std::min(test.prompt, batch_), std::min<int64_t>(test.generated, 8), test.depth});
    for (int i = 0; i < common_.repetitions; ++i) row.seconds.push_back(runner.run(test));
  }

  void train(TrainRunner& trainer, BenchRow& row) const {
    if (!common_.no_warmup) trainer.run(row.test);
    for (int i = 0; i < common_.repetitions; ++i) {
      const auto seconds = trainer.run(row.test);
      row.seconds.push_back(seconds.all);
      row.optimizer.push_back(seconds.optimizer);
    }
  }

  /// Of training: forward and backward. Of reading: the tokens after the depth; the output head is
  /// computed for the last token of each group, and not counted. 0 where tokens are written.
  double flops(const BenchTest& test) const {
    const auto& c = model_config_;
    if (test.trained > 0)
      return 3 * forward_flops(c, test.trained) * static_cast<double>(test.rows);
    if (test.generated > 0) return 0;
    const double all = forward_flops(c, test.depth + test.prompt, /*head=*/false);
    return test.depth == 0 ? all : all - forward_flops(c, test.depth, /*head=*/false);
  }

  std::vector<std::string> prompts_, generated_, pairs_, depths_, trained_;
  std::string model_;
  int64_t batch_ = 2048, train_rows_ = 1;
  cli::BenchOptions common_;
  ModelOptions config_;
  Config model_config_;
};

}  // namespace

std::unique_ptr<plugin::Command> bench_text() {
  return std::make_unique<BenchText>();
}

}  // namespace lact::text
