#include <lact/cli/bench.hpp>
#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/stopwatch.hpp>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

namespace lact::cli {
namespace {

using Json = nlohmann::ordered_json;

// --- numbers -------------------------------------------------------------------------------------

constexpr double kLargest = 0x1p40;
constexpr size_t kMost = 10000;  // values of one list

/// A factor for K, M or G at the end, which is taken off.
double take_unit(std::string_view& text) {
  constexpr std::string_view kUnits = "KMG";
  const auto unit = text.empty() ? std::string_view::npos : kUnits.find(text.back());
  if (unit == std::string_view::npos) return 1;
  text.remove_suffix(1);
  return std::pow(1024.0, static_cast<double>(unit + 1));
}

template <class Number>
Number parse_one(std::string_view text, const std::string& whole, const std::string& option) {
  const double unit = take_unit(text);
  Number value = -1;
  const auto done = std::from_chars(text.data(), text.data() + text.size(), value);
  const double scaled = static_cast<double>(value) * unit;
  if (done.ec != std::errc() || done.ptr != text.data() + text.size() ||
      !(scaled >= 0 && scaled <= kLargest))
    throw Error(Exit::usage, option, ": expected N, A-B, A-B+STEP or A-B*FACTOR, found '", whole,
                "'");
  return static_cast<Number>(scaled);
}

template <class Number>
void parse_range(std::string_view text, const std::string& whole, const std::string& option,
                 std::vector<Number>& values) {
  const auto one = [&](std::string_view part) { return parse_one<Number>(part, whole, option); };
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return values.push_back(one(text));
  const auto by = std::min(text.find_first_of("+*", dash), text.size());
  const Number first = one(text.substr(0, dash)), last = one(text.substr(dash + 1, by - dash - 1));
  const bool factor = by < text.size() && text[by] == '*';
  const Number step = by < text.size() ? one(text.substr(by + 1)) : 1;
  if (step <= (factor ? 1 : 0) || (factor && first == 0) || last < first)
    throw Error(Exit::usage, option, ": '", whole, "' never ends or has nothing in it");
  // Counted, not added up: 0-1+0.1 ends with 1.
  const double end = static_cast<double>(last) * (1 + 1e-9);
  for (int64_t i = 0;; ++i) {
    const double value = factor ? static_cast<double>(first) * std::pow(step, i)
                                : static_cast<double>(first) + static_cast<double>(step * i);
    if (value > end) return;
    values.push_back(static_cast<Number>(value));
    if (values.size() > kMost) throw Error(Exit::usage, option, ": '", whole, "' is too many");
  }
}

template <class Number>
std::vector<Number> parse_list(const std::string& text, const std::string& option) {
  std::vector<Number> values;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    parse_range(std::string_view(text).substr(at, end - at), text, option, values);
    at = end + 1;
  }
  return values;
}

template <class Number>
std::vector<Number> parse_lists(const std::vector<std::string>& given, const std::string& option,
                                std::vector<Number> initial) {
  if (given.empty()) return initial;
  std::vector<Number> all;
  for (const auto& text : given)
    for (const Number one : parse_list<Number>(text, option)) all.push_back(one);
  return all;
}

// --- tables --------------------------------------------------------------------------------------

/// Characters of a UTF-8 text.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string cell(const std::string& text, const Column& column) {
  const size_t width = width_of(text);
  const std::string pad(column.width > width ? column.width - width : 0, ' ');
  return column.right ? " " + pad + text + " |" : " " + text + pad + " |";
}

std::string markdown_head(const std::vector<Column>& columns) {
  std::string titles = "|", rules = "|";
  for (const auto& column : columns) {
    const size_t width = std::max(column.width, column.title.size());
    titles += cell(column.title, column);
    rules += column.right ? " " + std::string(width - 1, '-') + ": |"
                          : " " + std::string(width, '-') + " |";
  }
  return titles + "\n" + rules + "\n";
}

std::string markdown_row(const std::vector<Column>& columns,
                         const std::vector<std::string>& cells) {
  std::string line = "|";
  for (size_t i = 0; i < columns.size(); ++i) line += cell(cells.at(i), columns[i]);
  return line + "\n";
}

std::string csv_line(const Json& values, bool names) {
  std::string line;
  bool first = true;
  for (const auto& [key, value] : values.items()) {
    if (value.is_array()) continue;
    if (!first) line += ',';
    first = false;
    if (names)
      line += key;
    else if (value.is_string())
      line += csv_field(value.get<std::string>());
    else if (!value.is_null())
      line += value.dump();
  }
  return line + "\n";
}

std::string json_text(const Json& values, int indent) {
  return values.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option) {
  return parse_list<int64_t>(text, option);
}
std::vector<double> parse_reals(const std::string& text, const std::string& option) {
  return parse_list<double>(text, option);
}
std::vector<int64_t> parse_numbers(const std::vector<std::string>& given, const std::string& option,
                                   std::vector<int64_t> initial) {
  return parse_lists(given, option, std::move(initial));
}
std::vector<double> parse_reals(const std::vector<std::string>& given, const std::string& option,
                                std::vector<double> initial) {
  return parse_lists(given, option, std::move(initial));
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

std::string spread_text(const Spread& spread, int digits) {
  char text[96];
  std::snprintf(text, sizeof text, "%.*f ± %.*f", digits, spread.mean, digits, spread.deviation);
  return text;
}

double timed(c10::Device device, const std::function<void()>& work) {
  const auto wait = [device] {
    if (device.is_cpu()) return;
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeDevice(std::max<c10::DeviceIndex>(device.index(), 0));
  };
  wait();
  const Stopwatch watch;
  work();
  wait();
  return watch.seconds();
}

void declare_form(Options options, std::string& form) {
  options.add("-o,--output", form, "form of the results").words({"md", "csv", "json", "jsonl"});
}

void BenchOptions::declare(Options options) {
  options.add("-r,--repetitions", repetitions, "number of timed runs of each test")
      .range(1, 1000000);
  options.flag("--no-warmup", no_warmup, "skip the untimed first run of each test");
  declare_form(options, format);
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

std::string xml_text(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (static_cast<unsigned char>(c) < 0x20)
      result += ' ';
    else
      result += c;
  }
  return result;
}

std::string number_text(double value, const char* form) {
  char text[48];
  std::snprintf(text, sizeof text, form, value);
  return text;
}

Table::Table(std::string format, std::vector<Column> columns)
    : format_(std::move(format)), columns_(std::move(columns)) {}

void Table::row(const Json& values, const std::vector<std::string>& cells) {
  if (format_ == "md") out((begun_ ? "" : markdown_head(columns_)) + markdown_row(columns_, cells));
  if (format_ == "csv") out((begun_ ? "" : csv_line(values, true)) + csv_line(values, false));
  if (format_ == "jsonl") out(json_text(values, -1) + "\n");
  if (format_ == "json") json_ += (begun_ ? ",\n" : "") + json_text(values, 2);
  begun_ = true;
}

void Table::finish(const std::string& summary) {
  if (format_ == "json") out(begun_ ? "[\n" + json_ + "\n]\n" : "[]\n");
  if (format_ == "md" && !summary.empty()) out((begun_ ? "\n" : "") + summary + "\n");
}

}  // namespace lact::cli
