#pragma once
// What lact-bench text measures and how it is printed: llama-bench's tests, rows and formats.

#include <cstdint>
#include <string>
#include <vector>

namespace lact::text {

/// One test: `prompt` tokens read in groups, then `generated` one by one, after `depth` tokens that
/// are not timed.
struct BenchTest {
  int64_t prompt = 0, generated = 0, depth = 0;

  int64_t tokens() const { return prompt + generated; }
  /// "pp512", "tg128", "pp512+tg128"
  std::string name() const;
  /// The same with " @ d4096" where there is a depth.
  std::string full_name() const;
};

struct BenchRow {
  BenchTest test;
  std::vector<double> seconds;  ///< of each repetition
  double flops = 0;             ///< of one repetition; 0: not given
  double ceiling = 0;           ///< FLOP/s of this machine's matrix products
};

/// What all rows have in common.
struct BenchSetup {
  std::string model, device, dtype;
  int64_t parameters = 0, batch = 0, chunk = 0, window = 0;  ///< window 0: full attention
  int threads = 0;
};

struct Spread {
  double mean = 0, deviation = 0;  ///< of the sample (n - 1); 0 for one value
};
Spread spread(const std::vector<double>& values);

/// "512", "512,1024", "0-4096+512" (steps), "512-4096*2" (factors), and lists of these.
/// Errors   64 naming `option` and the text
std::vector<int64_t> parse_numbers(const std::string& text, const std::string& option);

/// Prints rows as "md", "csv", "jsonl" (as they come) or "json" (one array, at the end).
class BenchPrinter {
 public:
  BenchPrinter(std::string format, BenchSetup setup);
  void row(const BenchRow& row);
  void finish();

 private:
  std::string format_;
  BenchSetup setup_;
  std::string json_;  // rows so far
  bool begun_ = false;
};

}  // namespace lact::text
