// lact-bench comm: the collectives of training between the processes of a run: what a call costs,
// what a byte, and how much of it hides behind products.

#include <lact/cli/agreement.hpp>
#include <lact/cli/bench.hpp>
#include <lact/cli/processes.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/train/run_config.hpp>

#include "comm_fit.hpp"
#include "commands.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>

namespace lact::bench {
namespace {

using at::Tensor;
using cli::number_text;
using Json = nlohmann::ordered_json;

// Calls too short for the clock are timed together, until they take this long.
constexpr double kTogetherSeconds = 2e-3;
constexpr double kMostTogether = 1000;
// Of a collective that takes less, threads that wake late would be all that is seen to hide.
constexpr double kLeastHiding = 1e-3;
// Rows of the products beside a collective: small, so that their time can be made about equal.
constexpr int64_t kProductRows = 128;

constexpr const char* kSizes = "1K-64M*4";

/// Begins one collective. No work: it was done within the call.
using Call = std::function<dist::Work()>;

const std::vector<std::string> kCollectives = {"all_reduce", "all_gather", "all_to_all", "fixed"};

/// After the call each process has `bytes`, of float32.
Call call_of(const std::string& collective, const dist::Group& group, int64_t bytes) {
  const int64_t ranks = group.size(), part = bytes / int64_t{sizeof(float)} / ranks;
  const auto whole = at::zeros({ranks, part}, at::kFloat),
             other = at::zeros({ranks, part}, at::kFloat);
  if (collective == "all_reduce") return [&group, whole] { return group.all_reduce(whole); };
  if (collective == "all_gather")
    return [&group, whole, other] { return group.all_gather(whole, other[0]); };
  if (collective == "all_to_all")
    return [&group, whole, other] { return group.all_to_all(whole, other); };
  return [&group, whole] {
    group.sum_in_order(whole);
    return dist::Work();
  };
}

void finish(const dist::Work& work) {
  if (work != nullptr) work->wait();
}

/// Products that a collective runs beside, as sums beside a backward pass.
class Products {
 public:
  Products(c10::Device device, c10::ScalarType dtype)
      : a_(at::ones({kProductRows, kProductRows}, at::TensorOptions().device(device).dtype(dtype))),
        b_(a_.clone()),
        c_(a_.clone()) {}
  void run(int64_t count) {
    for (int64_t i = 0; i < count; ++i) at::mm_out(c_, a_, b_);
  }

 private:
  Tensor a_, b_, c_;
};

/// What the work costs by itself: whatever else runs on the machines only adds to it.
double fastest(const std::vector<double>& seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}

/// What was measured of one collective at one size; seconds are of one call, on the slowest
/// process.
struct CommRow {
  std::string collective;
  int64_t bytes = 0, calls = 1;     ///< that were timed together
  std::vector<double> seconds;      ///< alone
  std::vector<double> of_products;  ///< that take about as long; none: it is too short
  std::vector<double> both;         ///< side by side

  double rate() const { return static_cast<double>(bytes) / fastest(seconds); }
  /// The share of its own time that it does not add to that of the products, in percent.
  std::optional<double> hidden() const {
    if (both.empty()) return std::nullopt;
    return 100 * (1 - (fastest(both) - fastest(of_products)) / fastest(seconds));
  }
};

/// What all rows have in common.
struct CommSetup {
  int processes = 0, threads = 0;
  std::string device, dtype;  ///< of the products
};

/// Rows of one collective, by size, as they are printed.
class CommPrinter {
 public:
  CommPrinter(const std::string& format, CommSetup setup)
      : setup_(std::move(setup)),
        table_(format, {{"collective", 10},
                        {"bytes", 9, true},
                        {"µs", 20, true},
                        {"fastest", 9, true},
                        {"GB/s", 7, true},
                        {"fit, µs", 9, true},
                        {"off by %", 8, true},
                        {"hidden %", 8, true}}) {}

  void rows(const std::vector<CommRow>& rows) {
    std::vector<CommTime> times;
    for (const auto& row : rows)
      times.push_back({static_cast<double>(row.bytes), fastest(row.seconds)});
    const auto line = fit(times);
    for (size_t i = 0; i < rows.size(); ++i)
      table_.row(as_json(rows[i], line, left_out(i, rows.size())),
                 cells(rows[i], line, left_out(i, rows.size())));
    if (line) summary_ += (summary_.empty() ? "" : "\n") + text(rows[0].collective, *line);
  }
  void finish() { table_.finish(summary_); }

 private:
  Json as_json(const CommRow& row, const std::optional<CommFit>& line, bool left_out) const {
    const auto time = cli::spread(row.seconds);
    const bool beside = !row.both.empty(), judged = line && line->largest_error;
    return {{"device", setup_.device},
            {"n_threads", setup_.threads},
            {"dtype", setup_.dtype},
            {"processes", setup_.processes},
            {"collective", row.collective},
            {"bytes", row.bytes},
            {"n_calls", row.calls},
            {"avg_seconds", time.mean},
            {"stddev_seconds", time.deviation},
            {"fastest_seconds", fastest(row.seconds)},
            {"bytes_per_second", row.rate()},
            {"fit_latency_seconds", line ? Json(line->latency) : Json()},
            {"fit_seconds_per_byte", line ? Json(line->per_byte) : Json()},
            {"fit_largest_error_percent", judged ? Json(100 * *line->largest_error) : Json()},
            {"left_out_of_fit", left_out},
            {"product_seconds", beside ? Json(fastest(row.of_products)) : Json()},
            {"both_seconds", beside ? Json(fastest(row.both)) : Json()},
            {"hidden_percent", beside ? Json(*row.hidden()) : Json()},
            {"samples_seconds", row.seconds},
            {"samples_product_seconds", row.of_products},
            {"samples_both_seconds", row.both}};
  }

  static std::vector<std::string> cells(const CommRow& row, const std::optional<CommFit>& line,
                                        bool left_out) {
    const auto time = cli::spread(row.seconds);
    const double seconds = fastest(row.seconds),
                 fitted = line ? line->seconds(static_cast<double>(row.bytes)) : 0;
    const auto hidden = row.hidden();
    return {row.collective,
            std::to_string(row.bytes),
            cli::spread_text({time.mean * 1e6, time.deviation * 1e6}, 1),
            number_text(seconds * 1e6, "%.1f"),
            number_text(row.rate() / 1e9, "%.3f"),
            line ? number_text(fitted * 1e6, "%.1f") : "",
            line && left_out ? number_text(100 * (fitted / seconds - 1), "%+.1f") : "",
            hidden ? number_text(*hidden, "%.0f") : ""};
  }

  static std::string text(const std::string& collective, const CommFit& line) {
    return concat(collective, ": ", number_text(line.latency * 1e6, "%.1f"), " µs + bytes / ",
                  number_text(1e-9 / line.per_byte, "%.3f"), " GB/s",
                  line.largest_error
                      ? concat("; off by at most ", number_text(100 * *line.largest_error, "%.1f"),
                               " % at sizes left out of the fit")
                      : "");
  }

  CommSetup setup_;
  cli::Table table_;
  std::string summary_;
};

class Comm final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Started several times by torchrun, srun, mpirun or mpiexec, as lact-train is. LIST is N,\n"
        "A-B, A-B+STEP, A-B*FACTOR, or a list of these; K, M and G multiply by 1024. Times are\n"
        "those of the slowest process, GB/s are bytes over the fastest run. To these a latency "
        "and\n"
        "a rate are fitted for each collective, seconds = latency + bytes / rate; every second "
        "size\n"
        "but the last is left out, to judge the fit. 'hidden' is the share of a collective's time\n"
        "that it does not add to products which take about as long.");
    options
        .add("--collective", collectives_,
             "collective: all_reduce (the sum of --reduce-order fast), fixed (that of fixed), "
             "all_to_all and all_gather (of which fixed is made)")
        .separated()
        .words(kCollectives)
        .initially("all");
    options
        .add("--size", sizes_,
             "bytes that each process has at the end, rounded up to equal parts of float32")
        .value("LIST")
        .initially(kSizes);
    common_.declare(options.group("Runs"));
    processes_.declare(options);
  }

  void run(cli::Context& context) override {
    const auto sizes = cli::parse_numbers(sizes_, "--size", cli::parse_numbers(kSizes, "--size"));
    if (std::count(sizes.begin(), sizes.end(), 0) > 0)
      throw Error(Exit::usage, "--size: 0 is nothing to measure");
    processes_.run(context, [&] { measure_all(sizes, context); });
  }

 private:
  void measure_all(const std::vector<int64_t>& sizes, const cli::Context& context) {
    if (processes_.size() == 1)
      throw Error(Exit::usage,
                  "measures between processes, and here is one; start several by torchrun, srun, "
                  "mpirun or mpiexec");
    // As lact-train does it.
    if (train::config_value(context.resolved_config, "threads") == "0")
      at::set_num_threads(cli::cores_each(processes_.group()));
    device_ = context.device;
    const auto dtype = ops::resolve_dtype(context.dtype, device_);
    Products products(device_, dtype);
    together([&] { products.run(1); });  // chooses kernels, wakes threads
    const double product = together([&] { products.run(10); }) / 10;
    CommPrinter printer(
        context.json ? "json" : common_.format,
        {processes_.size(), at::get_num_threads(), device_.str(), ops::dtype_name(dtype)});
    for (const auto& collective : collectives_.empty() ? kCollectives : collectives_) {
      std::vector<CommRow> rows;
      for (const int64_t bytes : rounded(sizes))
        rows.push_back(measure(collective, bytes, products, product));
      if (processes_.chief()) printer.rows(rows);
    }
    if (processes_.chief()) printer.finish();
  }

  /// Without repetitions, in order.
  std::set<int64_t> rounded(const std::vector<int64_t>& sizes) const {
    const int64_t least = int64_t{sizeof(float)} * processes_.size();
    std::set<int64_t> all;
    for (const int64_t size : sizes) all.insert((size + least - 1) / least * least);
    return all;
  }

  CommRow measure(const std::string& collective, int64_t bytes, Products& products,
                  double product) const {
    const auto call = call_of(collective, processes_.group(), bytes);
    CommRow row{collective, bytes, 1, {}, {}, {}};
    bool in_background = false;
    const auto alone = [&] {
      for (int64_t i = 0; i < row.calls; ++i) {
        const auto work = call();
        in_background = work != nullptr;
        finish(work);
      }
    };
    if (!common_.no_warmup) {
      together(alone);  // brings the pages in
      row.calls = static_cast<int64_t>(
          std::clamp(std::ceil(kTogetherSeconds / together(alone)), 1.0, kMostTogether));
    }
    const auto calls = static_cast<double>(row.calls);
    for (int i = 0; i < common_.repetitions; ++i) {
      row.seconds.push_back(together(alone) / calls);
      const auto count = std::llround(row.seconds[0] / product);
      if (!in_background || count < 1 || row.seconds[0] < kLeastHiding) continue;
      row.of_products.push_back(together([&] { products.run(row.calls * count); }) / calls);
      row.both.push_back(together([&] {
                           for (int64_t n = 0; n < row.calls; ++n) {
                             const auto work = call();
                             products.run(count);
                             finish(work);
                           }
                         }) /
                         calls);
    }
    return row;
  }

  /// Seconds that the slowest process takes, where all begin at once. The same on all.
  double together(const std::function<void()>& work) const {
    if (cli::stop_requested()) throw cli::Interrupted();
    processes_.gather("");
    const double mine = cli::timed(device_, work);
    double slowest = 0;
    for (const auto& one : processes_.gather(cli::to_bytes(std::vector<double>{mine})))
      slowest = std::max(slowest, cli::from_bytes<double>(one)[0]);
    return slowest;
  }

  std::vector<std::string> collectives_, sizes_;
  cli::BenchOptions common_;
  cli::Processes processes_;
  c10::Device device_{c10::kCPU};
};

}  // namespace

std::unique_ptr<plugin::Command> comm_command() {
  return std::make_unique<Comm>();
}

}  // namespace lact::bench
