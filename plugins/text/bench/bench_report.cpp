#include "bench_report.hpp"

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <cmath>

namespace lact::text {
namespace {

using cli::number_text;
using cli::spread;
using Json = nlohmann::ordered_json;

/// Tokens per second of each repetition.
std::vector<double> rates(const BenchRow& row) {
  std::vector<double> result;
  for (const double seconds : row.seconds)
    result.push_back(static_cast<double>(row.test.tokens()) / seconds);
  return result;
}

/// Part of the ceiling, in percent; 0: not given.
double utilisation(const BenchRow& row) {
  if (row.flops <= 0 || row.ceiling <= 0) return 0;
  return 100 * row.flops / spread(row.seconds).mean / row.ceiling;
}

/// llama-bench's keys, so that what reads its files reads ours; but times are in seconds, as
/// everywhere in lact.
Json as_json(const BenchSetup& setup, const BenchRow& row) {
  const auto time = spread(row.seconds), speed = spread(rates(row));
  Json all{{"model", setup.model},
           {"model_n_params", setup.parameters},
           {"device", setup.device},
           {"n_threads", setup.threads},
           {"dtype", setup.dtype},
           {"n_batch", setup.batch},
           {"chunk_size", setup.chunk},
           {"window_size", nullptr},
           {"write_strength", nullptr},
           {"test", row.test.name()},
           {"n_prompt", row.test.prompt},
           {"n_gen", row.test.generated},
           {"n_depth", row.test.depth},
           {"n_train", row.test.trained},
           {"n_rows", row.test.trained > 0 ? row.test.rows : 1},
           {"avg_seconds", time.mean},
           {"stddev_seconds", time.deviation},
           {"avg_optimizer_seconds", nullptr},
           {"avg_ts", speed.mean},
           {"stddev_ts", speed.deviation},
           {"utilisation_percent", nullptr},
           {"flops", nullptr},
           {"ceiling_flops_per_second", row.ceiling}};
  if (setup.window > 0) all["window_size"] = setup.window;
  if (setup.write_strength) all["write_strength"] = *setup.write_strength;
  if (!row.optimizer.empty()) all["avg_optimizer_seconds"] = spread(row.optimizer).mean;
  if (row.flops > 0) all["flops"] = row.flops;
  if (utilisation(row) > 0) all["utilisation_percent"] = utilisation(row);
  all["samples_seconds"] = row.seconds;
  if (!row.optimizer.empty()) all["samples_optimizer_seconds"] = row.optimizer;
  all["samples_ts"] = rates(row);
  return all;
}

std::string count(int64_t value) {
  const double x = static_cast<double>(value);
  return x >= 1e9 ? number_text(x / 1e9, "%.2f B") : number_text(x / 1e6, "%.2f M");
}

std::vector<std::string> cells(const BenchSetup& setup, const BenchRow& row) {
  const double used = utilisation(row);
  return {setup.model.substr(0, 40),
          count(setup.parameters),
          setup.device,
          std::to_string(setup.threads),
          setup.dtype,
          row.test.full_name(),
          cli::spread_text(spread(rates(row))),
          used > 0 ? number_text(used, "%.1f %%") : "",
          setup.write_strength ? number_text(*setup.write_strength, "%.3g") : ""};
}

}  // namespace

std::string BenchTest::name() const {
  if (trained > 0) return rows > 1 ? concat("tr", rows, "x", trained) : concat("tr", trained);
  const auto pp = concat("pp", prompt), tg = concat("tg", generated);
  return prompt > 0 && generated > 0 ? pp + "+" + tg : prompt > 0 ? pp : tg;
}

std::string BenchTest::full_name() const {
  return depth > 0 ? concat(name(), " @ d", depth) : name();
}

BenchPrinter::BenchPrinter(const std::string& format, BenchSetup setup)
    : setup_(std::move(setup)),
      table_(format, {{"model", 16, false},
                      {"params", 8, true},
                      {"device", 8, false},
                      {"threads", 7, true},
                      {"dtype", 8, false},
                      {"test", 22, true},
                      {"t/s", 18, true},
                      {"of max", 6, true},
                      {"strength", 8, true}}) {}

void BenchPrinter::row(const BenchRow& row) {
  table_.row(as_json(setup_, row), cells(setup_, row));
}

}  // namespace lact::text
