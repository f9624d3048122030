// lact-bench op: the operator alone, over its axes, beside what the machine's products reach.

#include <lact/cli/bench.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>

#include "commands.hpp"
#include "op_case.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lact::bench {
namespace {

using cli::number_text;
using Json = nlohmann::ordered_json;

constexpr double kCeilingSeconds = 0.2;  // of each measurement: one before and after each run

/// What was measured of one case.
struct OpRow {
  OpCase of;
  OpFlops flops;
  std::vector<double> seconds;
  std::vector<double> ceilings;  ///< FLOP/s: before the first run, then after each
  std::optional<int64_t> extra_bytes;

  double tokens() const { return static_cast<double>(of.length); }
  template <class Value>
  std::vector<double> each(const Value& value) const {
    std::vector<double> all;
    for (size_t i = 0; i < seconds.size(); ++i) all.push_back(value(i));
    return all;
  }
  std::vector<double> token_rates() const {
    return each([&](size_t i) { return tokens() / seconds[i]; });
  }
  /// Part of what products reached just before and after, in percent.
  std::vector<double> used(double operations) const {
    return each([&](size_t i) {
      return 100 * operations / seconds[i] / ((ceilings[i] + ceilings[i + 1]) / 2);
    });
  }
};

/// What all rows have in common.
struct OpSetup {
  std::string device, dtype;
  int threads = 0;
};

Json as_json(const OpSetup& setup, const OpRow& row) {
  const auto time = cli::spread(row.seconds), speed = cli::spread(row.token_rates());
  const auto used = cli::spread(row.used(row.flops.products));
  Json all{{"device", setup.device},
           {"n_threads", setup.threads},
           {"dtype", setup.dtype},
           {"rule", row.of.rule},
           {"function", row.of.function},
           {"learn", row.of.learn},
           {"schedule", row.of.schedule},
           {"pass", row.of.pass},
           {"mode", row.of.mode},
           {"heads", row.of.heads},
           {"width", row.of.width},
           {"hidden", row.of.hidden},
           {"state", row.of.state()},
           {"chunk", row.of.chunk},
           {"length", row.of.length},
           {"avg_seconds", time.mean},
           {"stddev_seconds", time.deviation},
           {"avg_ts", speed.mean},
           {"stddev_ts", speed.deviation},
           {"flops", row.flops.products},
           {"newton_schulz_flops", row.flops.newton_schulz},
           {"recomputed_flops", row.flops.recomputed},
           {"flops_per_second", row.flops.products / time.mean},
           {"ceiling_flops_per_second", cli::spread(row.ceilings).mean},
           {"utilisation_percent", used.mean},
           {"stddev_utilisation_percent", used.deviation},
           {"utilisation_with_newton_schulz_percent",
            cli::spread(row.used(row.flops.products + row.flops.newton_schulz)).mean},
           {"extra_bytes", nullptr}};
  if (row.extra_bytes) all["extra_bytes"] = *row.extra_bytes;
  all["samples_seconds"] = row.seconds;
  all["samples_ceiling"] = row.ceilings;
  return all;
}

/// Columns of the Markdown table. Those that a case only has if it was asked for are left out where
/// no case has them.
struct Cell {
  cli::Column column;
  std::function<std::string(const OpRow&)> text;
  bool shown = true;
};

std::vector<Cell> all_cells(const std::vector<OpCase>& cases) {
  const auto any = [&](const auto& has) { return std::any_of(cases.begin(), cases.end(), has); };
  const bool muon = any([](const OpCase& one) { return flops_of(one).newton_schulz > 0; });
  return {
      {{"rule", 13}, [](const OpRow& row) { return row.of.rule; }},
      {{"function", 8},
       [](const OpRow& row) { return row.of.function; },
       any([](const OpCase& one) { return one.linear(); })},
      {{"learn", 5}, [](const OpRow& row) { return row.of.learn; }, any([](const OpCase& one) {
         return one.learn != "all";
       })},
      {{"schedule", 13},
       [](const OpRow& row) { return row.of.schedule; },
       any([](const OpCase& one) { return one.schedule != "shifted"; })},
      {{"pass", 7}, [](const OpRow& row) { return row.of.pass; }},
      {{"mode", 9}, [](const OpRow& row) { return row.of.mode; }, any([](const OpCase& one) {
         return one.recompute();
       })},
      {{"heads x D x F", 16, true},
       [](const OpRow& row) {
         return concat(row.of.heads, " x ", row.of.width, " x ",
                       row.of.linear() ? row.of.width : row.of.hidden);
       }},
      {{"state", 8, true}, [](const OpRow& row) { return number_text(row.of.state(), "%.4g d²"); }},
      {{"chunk", 7, true}, [](const OpRow& row) { return std::to_string(row.of.chunk); }},
      {{"length", 7, true}, [](const OpRow& row) { return std::to_string(row.of.length); }},
      {{"t/s", 19, true},
       [](const OpRow& row) { return cli::spread_text(cli::spread(row.token_rates()), 0); }},
      {{"GFLOP/s", 9, true},
       [](const OpRow& row) {
         return number_text(row.flops.products / cli::spread(row.seconds).mean / 1e9, "%.1f");
       }},
      {{"ceiling", 9, true},
       [](const OpRow& row) { return number_text(cli::spread(row.ceilings).mean / 1e9, "%.1f"); }},
      {{"% of max", 12, true},
       [](const OpRow& row) {
         return cli::spread_text(cli::spread(row.used(row.flops.products)), 1);
       }},
      {{"NS GFLOP", 8, true},
       [](const OpRow& row) { return number_text(row.flops.newton_schulz / 1e9, "%.1f"); },
       muon},
      {{"% with NS", 9, true},
       [](const OpRow& row) {
         const double all = row.flops.products + row.flops.newton_schulz;
         return number_text(cli::spread(row.used(all)).mean, "%.1f");
       },
       muon},
      {{"extra MiB", 9, true},
       [](const OpRow& row) {
         return row.extra_bytes
                    ? number_text(static_cast<double>(*row.extra_bytes) / (1 << 20), "%.1f")
                    : std::string();
       }},
  };
}

/// The rows as they come.
class OpPrinter {
 public:
  OpPrinter(const std::string& format, OpSetup setup, const std::vector<OpCase>& cases)
      : setup_(std::move(setup)), cells_(all_cells(cases)), table_(format, columns()) {}

  void row(const OpRow& row) {
    std::vector<std::string> texts;
    for (const auto& cell : cells_)
      if (cell.shown) texts.push_back(cell.text(row));
    table_.row(as_json(setup_, row), texts);
  }
  void finish() { table_.finish(); }

 private:
  std::vector<cli::Column> columns() const {
    std::vector<cli::Column> shown;
    for (const auto& cell : cells_)
      if (cell.shown) shown.push_back(cell.column);
    return shown;
  }

  OpSetup setup_;
  std::vector<Cell> cells_;
  cli::Table table_;
};

class Op final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "LIST is N, A-B, A-B+STEP, A-B*FACTOR, or a list of these; K, M and G multiply by 1024.\n"
        "Every combination is a row. '% of max' is the share of this machine's matrix product\n"
        "rate, measured before and after each run. A multiply-add counts as 2, forward and\n"
        "backward together as three forwards; an update that is not made does not count, and\n"
        "recomputation counts once; Newton-Schulz (Muon) is counted separately. 'extra' is the\n"
        "peak of memory beyond inputs, output, final state and gradients.");
    auto axes = options.group("Axes");
    const auto list = [&](const char* name, std::vector<std::string>& values, const char* help) {
      return axes.add(name, values, help).value("LIST");
    };
    const auto words = [&](const char* name, std::vector<std::string>& values, const char* help,
                           const std::vector<std::string>& known) {
      return axes.add(name, values, help).separated().words(known);
    };
    list("--chunk", chunks_, "tokens per chunk: tokens that share one update").initially("2048");
    list("--state", states_,
         "size of the fast weights in squares of the model's width, heads * D; determines F "
         "(default: F = D, which is 3 / heads)");
    list("--heads", heads_, "heads of fast weights, of all sequences together").initially("4");
    list("--width", widths_, "width D of a head's keys and values").initially("384");
    list("--length", lengths_,
         "tokens of the sequence (default: 4 chunks, at least 1024; bidirectional: the chunk)");
    words("--rule", rules_, "update rule", ops::Rule::names()).initially("momentum");
    words("--function", functions_, "function of the fast weights", {"swiglu", "linear"})
        .initially("swiglu");
    words("--learn", learns_, "matrices that an update changes: all, or only the last (down)",
          {"all", "last"})
        .initially("all");
    words(
        "--schedule", schedules_,
        "order of the steps: shifted (apply, then update with each chunk but the last), "
        "bidirectional (update with all, then apply), chunk-causal (update, then apply each chunk)",
        {"shifted", "bidirectional", "chunk-causal"})
        .initially("shifted");
    words("--pass", passes_, "passes to run: forward, or both, forward and backward",
          {"forward", "both"})
        .initially("both");
    words("--mode", modes_, "keep what the backward pass needs of each token, or recompute it",
          {"keep", "recompute"})
        .initially("keep");
    common_.declare(options.group("Runs"));
  }

  void run(cli::Context& context) override {
    const auto cases = all_cases();
    const auto dtype = ops::resolve_dtype(context.dtype, context.device);
    OpPrinter printer(context.json ? "json" : common_.format,
                      {context.device.str(), ops::dtype_name(dtype), context.threads}, cases);
    for (const auto& one : cases) printer.row(measure(one, context, dtype));
    printer.finish();
  }

 private:
  static std::vector<std::string> or_else(std::vector<std::string> given, const char* initial) {
    if (given.empty()) given.emplace_back(initial);
    return given;
  }

  /// Axes of words, then of numbers, the chunk last.
  std::vector<OpCase> all_cases() const {
    std::vector<OpCase> cases;
    for (const auto& rule : or_else(rules_, "momentum"))
      for (const auto& function : or_else(functions_, "swiglu"))
        for (const auto& learn : or_else(learns_, "all"))
          for (const auto& schedule : or_else(schedules_, "shifted"))
            for (const auto& pass : or_else(passes_, "both"))
              for (const auto& mode : or_else(modes_, "keep"))
                add_sizes({rule, function, learn, schedule, pass, mode}, cases);
    return cases;
  }

  void add_sizes(OpCase one, std::vector<OpCase>& cases) const {
    const auto at_least_1 = [](const std::vector<std::string>& given, const char* option,
                               std::vector<int64_t> initial) {
      const auto values = cli::parse_numbers(given, option, std::move(initial));
      if (std::count(values.begin(), values.end(), 0) > 0)
        throw Error(Exit::usage, option, ": 0 is nothing to measure");
      return values;
    };
    for (const int64_t heads : at_least_1(heads_, "--heads", {4}))
      for (const int64_t width : at_least_1(widths_, "--width", {384}))
        for (const double state : cli::parse_reals(states_, "--state", {-1}))
          for (const int64_t chunk : at_least_1(chunks_, "--chunk", {2048}))
            for (const int64_t length : at_least_1(lengths_, "--length", {-1})) {
              one.heads = heads;
              one.width = width;
              one.hidden = state < 0 ? width : hidden_of(state, heads, width);
              const bool sets = one.schedule == "bidirectional";
              one.length = length > 0 ? length : sets ? chunk : std::max<int64_t>(4 * chunk, 1024);
              one.chunk = sets ? one.length : chunk;
              cases.push_back(one);
            }
  }

  OpRow measure(const OpCase& one, const cli::Context& context, at::ScalarType dtype) const {
    stop_if_asked();
    OpInputs inputs(one, context.device, dtype, context.seed.value_or(kDefaultSeed));
    OpRow row{one, flops_of(one), {}, {}, {}};
    if (!common_.no_warmup) row.extra_bytes = inputs.run(/*count_memory=*/true).extra_bytes;
    const auto ceiling = [&] {
      stop_if_asked();
      row.ceilings.push_back(ops::product_rate(context.device, dtype, kCeilingSeconds));
    };
    ceiling();
    for (int i = 0; i < common_.repetitions; ++i) {
      const auto done = inputs.run(/*count_memory=*/common_.no_warmup && i == 0);
      row.seconds.push_back(done.seconds);
      if (done.extra_bytes) row.extra_bytes = done.extra_bytes;
      ceiling();
    }
    return row;
  }

  static void stop_if_asked() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }

  std::vector<std::string> chunks_, states_, heads_, widths_, lengths_;
  std::vector<std::string> rules_, functions_, learns_, schedules_, passes_, modes_;
  cli::BenchOptions common_;
};

}  // namespace

std::unique_ptr<plugin::Command> op_command() {
  return std::make_unique<Op>();
}

}  // namespace lact::bench
