#pragma once
// Sensor series as CSV: a row per moment, a column per sensor, an optional header.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace series {

struct Table {
  std::vector<std::string> columns;  ///< of the header; else "1", "2", ...
  at::Tensor rows;                   ///< [rows, columns] float32
};

/// Errors   65 naming file and line: another number of fields, no finite number, no rows; 66
Table read_csv(const std::string& file);

/// One line of CSV for each row.
std::string to_csv(const at::Tensor& rows);

}  // namespace series
