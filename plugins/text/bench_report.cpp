#include "bench_report.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>
#include <cstdio>

namespace lact::text {
namespace {

using Json = nlohmann::ordered_json;

std::string number(double value, const char* form) {
  char text[48];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

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

std::vector<int64_t> nanoseconds(const BenchRow& row) {
  std::vector<int64_t> result;
  for (const double seconds : row.seconds) result.push_back(std::llround(seconds * 1e9));
  return result;
}

/// llama-bench's keys, so that what reads its files reads ours.
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
           {"test", row.test.name()},
           {"n_prompt", row.test.prompt},
           {"n_gen", row.test.generated},
           {"n_depth", row.test.depth},
           {"avg_ns", std::llround(time.mean * 1e9)},
           {"stddev_ns", std::llround(time.deviation * 1e9)},
           {"avg_ts", speed.mean},
           {"stddev_ts", speed.deviation},
           {"utilisation_percent", nullptr},
           {"ceiling_flops_per_second", row.ceiling}};
  if (setup.window > 0) all["window_size"] = setup.window;
  if (utilisation(row) > 0) all["utilisation_percent"] = utilisation(row);
  return all;
}

std::string as_json_text(const BenchSetup& setup, const BenchRow& row, int indent) {
  auto all = as_json(setup, row);
  all["samples_ns"] = nanoseconds(row);
  all["samples_ts"] = rates(row);
  return all.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string as_csv(const Json& all, bool names) {
  std::string line;
  for (const auto& [key, value] : all.items()) {
    if (!line.empty()) line += ',';
    line += names             ? key
            : value.is_null() ? ""
                              : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return line + "\n";
}

std::string count(int64_t value) {
  const double x = static_cast<double>(value);
  return x >= 1e9 ? number(x / 1e9, "%.2f B") : number(x / 1e6, "%.2f M");
}

std::string as_markdown(const BenchSetup& setup, const BenchRow& row) {
  const auto speed = spread(rates(row));
  const double used = utilisation(row);
  char line[320];
  std::snprintf(line, sizeof line, "| %-16s | %8s | %-8s | %7d | %-8s | %22s | %19s | %6s |\n",
                setup.model.substr(0, 40).c_str(), count(setup.parameters).c_str(),
                setup.device.c_str(), setup.threads, setup.dtype.c_str(),
                row.test.full_name().c_str(),
                (number(speed.mean, "%.2f") + " ± " + number(speed.deviation, "%.2f")).c_str(),
                used > 0 ? number(used, "%.1f %%").c_str() : "");
  return line;
}

constexpr const char* kMarkdownHead =
    "| model            |   params | device   | threads | dtype    |                   test |"
    "                t/s | of max |\n"
    "| ---------------- | -------: | -------- | ------: | -------- | ---------------------: |"
    " -----------------: | -----: |\n";

// --- ranges --------------------------------------------------------------------------------------

int64_t parse_one(std::string_view text, const std::string& whole, const std::string& option) {
  int64_t value = -1;
  const auto done = std::from_chars(text.data(), text.data() + text.size(), value);
  if (done.ec != std::errc() || done.ptr != text.data() + text.size() || value < 0 ||
      value > int64_t{1} << 40)
    throw Error(Exit::usage, option, ": expected N, A-B, A-B+STEP or A-B*FACTOR, found '", whole,
                "'");
  return value;
}

void parse_range(std::string_view text, const std::string& whole, const std::string& option,
                 std::vector<int64_t>& values) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return values.push_back(parse_one(text, whole, option));
  const auto by = std::min(text.find_first_of("+*", dash), text.size());
  const int64_t first = parse_one(text.substr(0, dash), whole, option);
  const int64_t last = parse_one(text.substr(dash + 1, by - dash - 1), whole, option);
  const bool factor = by < text.size() && text[by] == '*';
  const int64_t step = by < text.size() ? parse_one(text.substr(by + 1), whole, option) : 1;
  if (step < (factor ? 2 : 1) || (factor && first == 0) || last < first)
    throw Error(Exit::usage, option, ": '", whole, "' never ends or has nothing in it");
  for (int64_t value = first; value <= last; value = factor ? value * step : value + step) {
    values.push_back(value);
    if (values.size() > 10000) throw Error(Exit::usage, option, ": '", whole, "' is too many");
  }
}

}  // namespace

std::string BenchTest::name() const {
  const auto pp = concat("pp", prompt), tg = concat("tg", generated);
  return prompt > 0 && generated > 0 ? pp + "+" + tg : prompt > 0 ? pp : tg;
}

std::string BenchTest::full_name() const {
  return depth > 0 ? concat(name(), " @ d", depth) : name();
}

Spread spread(const std::vector<double>& values) {
  Spread result;
  const auto count = static_cast<double>(values.size());
  for (const double one : values) result.mean += one / count;
  if (values.size() < 2) return result;
  double sum = 0;
  for (const double one : values) sum += (one - result.mean) * (one - result.mean);
  result.deviation = std::sqrt(sum / (count - 1));
  return result;
}

std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option) {
  std::vector<int64_t> values;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    parse_range(std::string_view(text).substr(at, end - at), text, option, values);
    at = end + 1;
  }
  return values;
}

BenchPrinter::BenchPrinter(std::string format, BenchSetup setup)
    : format_(std::move(format)), setup_(std::move(setup)) {}

void BenchPrinter::row(const BenchRow& row) {
  if (format_ == "md") cli::out((begun_ ? "" : kMarkdownHead) + as_markdown(setup_, row));
  if (format_ == "csv") {
    const auto all = as_json(setup_, row);
    cli::out((begun_ ? "" : as_csv(all, true)) + as_csv(all, false));
  }
  if (format_ == "jsonl") cli::out(as_json_text(setup_, row, -1) + "\n");
  if (format_ == "json") json_ += (begun_ ? ",\n" : "") + as_json_text(setup_, row, 2);
  begun_ = true;
}

void BenchPrinter::finish() {
  if (format_ == "json") cli::out("[\n" + json_ + "\n]\n");
}

}  // namespace lact::text
