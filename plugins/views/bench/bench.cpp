// lact-bench views: how fast scenes are read and views rendered.

#include <plugins/views/commands.hpp>
#include <plugins/views/model/cost.hpp>
#include <plugins/views/model/model.hpp>
#include <plugins/views/model/model_options.hpp>
#include <plugins/views/render/input_options.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/ops/peak_memory.hpp>
#include <lact/random.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <optional>

namespace lact::views {
namespace {

using cli::number_text;
using cli::spread;

/// Cameras on a circle around the origin.
Posed ring(int64_t count, int64_t width, int64_t height) {
  std::vector<Camera> cameras;
  for (int64_t i = 0; i < count; ++i) {
    const double a = 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(count);
    const auto f = static_cast<double>(width);
    cameras.push_back({f, f, f / 2, static_cast<double>(height) / 2,
                       look_at({2.5 * std::cos(a), 2.5 * std::sin(a), 1}, {0, 0, 0})});
  }
  return posed(cameras);
}

class BenchViews final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Random images from cameras on a circle: reading them (one update of the fast weights per\n"
        "layer), and rendering from what was read. LIST is N, A-B, A-B+STEP, A-B*FACTOR, or a "
        "list\n"
        "of these. 'strength' is how much of what the fast weights give one chunk changes, on 4\n"
        "views of random pixels.");
    options.add("--model", model_, "model to measure (default: a new --preset)").value("DIR|FILE");
    options_.declare(options);
    options.add("--context-views", counts_, "views that are read")
        .value("LIST")
        .initially("4-64*2");
    options.add("--size", sizes_, "size of the images").value("WxH|N").initially("256");
    options.add("--target-views", rendered_, "views that are rendered from each scene; 0: none")
        .range(0, 1 << 20);
    options.add("--tile", tile_, "tokens that are processed at a time; views stay whole")
        .range(1, 1 << 30);
    bench_.declare(options.group("Measuring"));
    options.renamed("--input-views", "--context-views");
    options.renamed("--render-views", "--target-views");
  }

  void run(cli::Context& context) override {
    context_ = &context;
    if (!model_.empty() && options_.given())
      throw Error(Exit::usage, "--model excludes --preset and the other options of the model");
    const auto dtype = ops::resolve_dtype(context.dtype, context.device);
    auto model = model_.empty()
                     ? ViewModel::fresh(options_.resolve(nullptr),
                                        context.seed.value_or(kDefaultSeed), context.device)
                     : ViewModel::load(io::Checkpoint::open(model_), context.device, dtype);
    model.set_compute_dtype(dtype);
    if (tile_) model.set_tile(*tile_);
    ceiling_ = ops::product_rate(context.device, dtype);
    dtype_ = ops::dtype_name(dtype);
    const auto counts = cli::parse_numbers(counts_, "--context-views", {4, 8, 16, 32, 64});
    cli::Table table(context.json ? "json" : bench_.format, {{"test", 22},
                                                             {"tokens", 9, true},
                                                             {"seconds", 16, true},
                                                             {"tokens/s", 9, true},
                                                             {"views/s", 9, true},
                                                             {"GFLOP/s", 9, true},
                                                             {"% of max", 9, true},
                                                             {"peak MiB", 9, true},
                                                             {"strength", 8, true}});
    strength_ = strength(model);
    for (const auto& text : sizes_.empty() ? std::vector<std::string>{"256"} : sizes_) {
      const auto [width, height] = parse_size(text, "--size");
      for (const auto count : counts) measure(model, count, width, height, table);
    }
    table.finish();
  }

 private:
  static Posed random_views(int64_t count, int64_t width, int64_t height) {
    auto views = ring(count, width, height);
    const auto generator = at::detail::createCPUGenerator(7);
    views.images = at::empty({count, 3, height, width}, at::kByte).random_(0, 256, generator);
    return views;
  }

  /// Of small views: the reading of a million tokens is not done twice.
  static double strength(const ViewModel& model) {
    const auto views =
        random_views(4, 8 * model.config().patch_size, 8 * model.config().patch_size);
    const auto one = batch_of_one(views, model.device());
    return model.write_strength(one, one);
  }

  void measure(const ViewModel& model, int64_t count, int64_t width, int64_t height,
               cli::Table& table) {
    if (count < 1)
      throw Error(Exit::usage, "--context-views: at least 1 view is read, not ", count);
    const auto views = random_views(count, width, height);
    const auto per_view =
        static_cast<double>(width * height) /
        static_cast<double>(model.config().patch_size * model.config().patch_size);
    const double tokens = per_view * static_cast<double>(count);
    const auto start = model.start();
    SceneWeights scene;
    const auto poll = [](int64_t) {
      if (cli::stop_requested()) throw cli::Interrupted();
    };
    const auto read = repeat([&] { scene = model.reconstruct(views, start, poll); });
    report("read", model, count, width, height, tokens, {tokens, tokens, 0, per_view}, read, table);
    if (rendered_ < 1) return;
    const auto targets = ring(rendered_, width, height);
    const auto render = repeat([&] { model.render(targets, scene, height, width); });
    const double shown = per_view * static_cast<double>(rendered_);
    report("render", model, count, width, height, shown, {0, shown, shown, per_view}, render,
           table);
  }

  std::vector<double> repeat(const std::function<void()>& work) const {
    std::vector<double> seconds;
    const int first = bench_.no_warmup ? 0 : -1;
    for (int i = first; i < bench_.repetitions; ++i) {
      if (cli::stop_requested()) throw cli::Interrupted();
      const double one = cli::timed(context_->device, work);
      if (i >= 0) seconds.push_back(one);
    }
    return seconds;
  }

  void report(const char* what, const ViewModel& model, int64_t count, int64_t width,
              int64_t height, double tokens, const Tokens& cost, const std::vector<double>& seconds,
              cli::Table& table) const {
    const auto time = spread(seconds);
    const double flops = forward_flops(model.config(), cost);
    const double views = tokens / cost.per_view, used = 100 * flops / time.mean / ceiling_;
    nlohmann::ordered_json values = {
        {"test", what},
        {"model_n_params", nn::count(parameter_shapes(model.config()))},
        {"dtype", dtype_},
        {"n_threads", context_->threads},
        {"context_views", count},
        {"width", width},
        {"height", height},
        {"tokens", tokens},
        {"avg_seconds", time.mean},
        {"stddev_seconds", time.deviation},
        {"tokens_per_second", tokens / time.mean},
        {"views_per_second", views / time.mean},
        {"flops", flops},
        {"ceiling_flops_per_second", ceiling_},
        {"utilisation_percent", used},
        {"peak_rss_bytes", ops::process_peak_bytes()},
        {"samples_seconds", seconds}};
    if (strength_ > 0) values["write_strength"] = strength_;
    table.row(values,
              {concat(what, " ", count, " @ ", width, "x", height), number_text(tokens, "%.0f"),
               cli::spread_text(time, 3), number_text(tokens / time.mean, "%.0f"),
               number_text(views / time.mean, "%.2f"), number_text(flops / time.mean / 1e9, "%.1f"),
               number_text(used, "%.1f"),
               number_text(static_cast<double>(ops::process_peak_bytes()) / 1048576, "%.0f"),
               strength_ > 0 ? number_text(strength_, "%.3g") : ""});
  }

  std::string model_;
  ModelOptions options_;
  std::vector<std::string> counts_, sizes_;
  int64_t rendered_ = 4;
  std::optional<int64_t> tile_;
  cli::BenchOptions bench_;
  const cli::Context* context_ = nullptr;
  double ceiling_ = 0, strength_ = 0;
  std::string dtype_;
};

}  // namespace

std::unique_ptr<plugin::Command> bench_views() {
  return std::make_unique<BenchViews>();
}

}  // namespace lact::views
