#pragma once
// What scoring adds up, and how it is printed.

#include <plugins/text/session/session.hpp>

#include <nlohmann/json.hpp>

#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lact::text {

struct Totals {
  double logprob = 0;
  int64_t tokens = 0, greedy = 0;

  void add(const TokenScore& one) { add({one.logprob, 1, one.greedy}); }
  void add(const Totals& more) {
    logprob += more.logprob;
    tokens += more.tokens;
    greedy += more.greedy;
  }
  double loss() const { return tokens > 0 ? -logprob / static_cast<double>(tokens) : 0; }
  double accuracy() const {
    return tokens > 0 ? static_cast<double>(greedy) / static_cast<double>(tokens) : 0;
  }
};

/// Loss by the position of the predicted token: of `width` positions, or 1, 2-3, 4-7, ... (0).
class Positions {
 public:
  explicit Positions(int64_t width) : width_(width) {}

  void add(int64_t position, const TokenScore& one) {
    const auto at = static_cast<size_t>(
        width_ > 0 ? position / width_ : std::bit_width(static_cast<uint64_t>(position)));
    if (at >= totals_.size()) totals_.resize(at + 1);
    totals_[at].add(one);
  }
  /// Those of another text, with the same width.
  void add(const Positions& more) {
    if (totals_.size() < more.totals_.size()) totals_.resize(more.totals_.size());
    for (size_t i = 0; i < more.totals_.size(); ++i) totals_[i].add(more.totals_[i]);
  }

  /// Calls visit(first, last, totals) for every stretch that has tokens.
  template <class Visit>
  void each(const Visit& visit) const {
    for (size_t i = 0; i < totals_.size(); ++i) {
      if (totals_[i].tokens == 0) continue;
      const auto n = static_cast<int64_t>(i);
      const int64_t from = width_ > 0 ? n * width_ : n == 0 ? 0 : int64_t{1} << (n - 1);
      const int64_t next = width_ > 0 ? (n + 1) * width_ : int64_t{1} << n;
      visit(from, next - 1, totals_[i]);
    }
  }

  const std::vector<Totals>& totals() const { return totals_; }
  void set_totals(std::vector<Totals> totals) { totals_ = std::move(totals); }

 private:
  int64_t width_;
  std::vector<Totals> totals_;
};

struct FileScore {
  explicit FileScore(int64_t width) : positions(width) {}
  /// Further documents of the same file.
  void add(const FileScore& more);

  std::string file;
  Totals totals;
  Positions positions;
  std::vector<Totals> documents;  ///< of packed data and texts in JSON lines
  bool packed = false;
  uint64_t bytes = 0;  ///< of the text; packed data does not say

  double bits_per_byte() const;
  /// As numbers that another process makes the same of. The file's name is not among them.
  std::vector<double> numbers() const;
  static FileScore of(const std::vector<double>& numbers, int64_t width);
};

std::string number(double value, const char* form = "%.6g");
std::string json_text(const nlohmann::ordered_json& value, int indent);

/// A file alone.
std::string to_text(const FileScore& score);
nlohmann::ordered_json to_json(const FileScore& score);
std::string positions_csv(const Positions& positions);

/// Many files: a line for each as it is done, then their sum.
class ScoreTable {
 public:
  explicit ScoreTable(int64_t width) : total_(width) {}
  void add(const FileScore& score);
  void add_failure(const std::string& file, const std::string& why);

  static std::string header();
  const std::string& last_row() const { return last_row_; }
  std::string total_row() const;
  nlohmann::ordered_json json() const;
  const FileScore& total() const { return total_; }
  int64_t failed() const { return failed_; }

 private:
  FileScore total_;  // packed if any file is
  nlohmann::ordered_json files_ = nlohmann::ordered_json::array();
  std::string last_row_;
  int64_t failed_ = 0;
};

}  // namespace lact::text
