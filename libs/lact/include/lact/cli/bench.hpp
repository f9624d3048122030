#pragma once
// What verbs that measure have in common, in llama-bench's manners: lists of numbers, repetitions,
// mean and deviation, rows in four forms.

#include <c10/core/Device.h>
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lact::cli {

/// "512", "512,1024", "0-4096+512" (steps), "512-4096*2" (factors), and lists of these. K, M and G
/// behind a number multiply it by 1024, 1024^2 and 1024^3.
/// Errors   64 naming `option` and the text
std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option);
/// The same with fractions: "0.75,1.5", "0.5-12*2".
std::vector<double> parse_reals(const std::string& text, const std::string& option);

/// All lists of an option that may be repeated; `initial` if it is not given.
std::vector<int64_t> parse_numbers(const std::vector<std::string>& given, const std::string& option,
                                   std::vector<int64_t> initial);
std::vector<double> parse_reals(const std::vector<std::string>& given, const std::string& option,
                                std::vector<double> initial);

struct Spread {
  double mean = 0, deviation = 0;  ///< of the sample (n - 1); 0 for one value
};
Spread spread(const std::vector<double>& values);

/// "1.50 ± 0.02"
std::string spread_text(const Spread& spread, int digits = 2);

/// Seconds that the work takes, until the device has done its part of it.
double timed(c10::Device device, const std::function<void()>& work);

class Options;

/// -o, --output: the form of a Table, as llama-bench has it.
void declare_form(Options options, std::string& form);

/// --repetitions, --no-warmup, --output.
struct BenchOptions {
  int repetitions = 5;
  bool no_warmup = false;
  std::string format = "md";
  void declare(Options options);
};

/// One field of a line of CSV, quoted where it must be (RFC 4180).
std::string csv_field(const std::string& text);
/// Text of an SVG picture, between tags or in quotes; control characters become spaces.
std::string xml_text(const std::string& text);

/// printf for one number.
std::string number_text(double value, const char* form = "%.6g");

/// A column of a Markdown table.
struct Column {
  std::string title;
  size_t width = 0;
  bool right = false;  ///< numbers
};

/// Prints rows to stdout as "md", "csv", "jsonl" (as they come) or "json" (one array, at the end).
class Table {
 public:
  Table(std::string format, std::vector<Column> columns);
  /// `values` is a flat object of all that was measured; its arrays (samples) are for JSON alone.
  /// `cells` stand below the Markdown columns.
  void row(const nlohmann::ordered_json& values, const std::vector<std::string>& cells);
  /// Ends the table; `summary` is a line below it, for people (md) alone.
  void finish(const std::string& summary = {});

 private:
  std::string format_;
  std::vector<Column> columns_;
  std::string json_;  // rows so far
  bool begun_ = false;
};

}  // namespace lact::cli
