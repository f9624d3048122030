#pragma once
// Rows of results in the forms that all benchmarks know: md, csv, json, jsonl.

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace lact::bench {

/// A column of the Markdown table; the other forms hold all keys of a row.
struct Column {
  std::string key, title;
  bool right = false;  ///< numbers
  int width = 0;       ///< of the cell at least
};

/// Prints rows to stdout as they come; "json" is one array, at the end.
class Table {
 public:
  Table(std::string format, std::vector<Column> columns);
  void row(const nlohmann::ordered_json& row);
  /// Ends the table; `summary` is a line below it, for people (md) alone.
  void finish(const std::string& summary);

 private:
  std::string format_;
  std::vector<Column> columns_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  bool begun_ = false;
};

}  // namespace lact::bench
