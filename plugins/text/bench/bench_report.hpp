#pragma once
// What lact-bench text measures and how it is printed: llama-bench's tests and keys.

#include <lact/cli/bench.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lact::text {

/// One test: `prompt` tokens read in groups, then `generated` one by one, after `depth` tokens that
/// are not timed; or training steps on `rows` rows of `trained` tokens.
struct BenchTest {
  int64_t prompt = 0, generated = 0, depth = 0;
  int64_t trained = 0, rows = 1;

  int64_t tokens() const { return trained > 0 ? rows * trained : prompt + generated; }
  /// "pp512", "tg128", "pp512+tg128", "tr1024", "tr4x1024"
  std::string name() const;
  /// The same with " @ d4096" where there is a depth.
  std::string full_name() const;
};

struct BenchRow {
  BenchTest test;
  std::vector<double> seconds;    ///< of each repetition
  std::vector<double> optimizer;  ///< of these, clipping and AdamW; empty: no training
  double flops = 0;               ///< of one repetition; 0: not given
  double ceiling = 0;  ///< FLOP/s of this machine's matrix products: before and after, their mean
};

/// What all rows have in common.
struct BenchSetup {
  std::string model, device, dtype;
  int64_t parameters = 0, batch = 0, chunk = 0, window = 0;  ///< window 0: full attention
  int threads = 0;
  std::optional<double> write_strength;  ///< none: nothing is learned, or not while reading
};

/// Prints rows in one of the forms of cli::Table.
class BenchPrinter {
 public:
  BenchPrinter(const std::string& format, BenchSetup setup);
  void row(const BenchRow& row);
  void finish() { table_.finish(); }

 private:
  BenchSetup setup_;
  cli::Table table_;
};

}  // namespace lact::text
