#include "table.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/ops/empty.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string_view>

namespace series {
namespace {

using lact::Error;
using lact::Exit;

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t comma; (comma = line.find(',')) != std::string_view::npos;) {
    fields.push_back(line.substr(0, comma));
    line.remove_prefix(comma + 1);
  }
  fields.push_back(line);
  return fields;
}

std::optional<float> number(std::string_view field) {
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  float value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size() || !std::isfinite(value))
    return {};
  return value;
}

}  // namespace

Table read_csv(const std::string& file) {
  const std::string text = lact::io::read_text(file);
  Table table;
  std::vector<float> values;
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const auto fields = split(line);
    if (table.columns.empty()) {
      const bool header = !number(fields[0]);
      for (size_t i = 0; i < fields.size(); ++i)
        table.columns.push_back(header ? std::string(fields[i]) : std::to_string(i + 1));
      if (header) continue;
    }
    if (fields.size() != table.columns.size())
      throw Error(Exit::data, file, ":", line_number, ": expected ", table.columns.size(),
                  " fields, found ", fields.size());
    for (const auto field : fields) {
      const auto value = number(field);
      if (!value)
        throw Error(Exit::data, file, ":", line_number, ": '", field, "' is no finite number");
      values.push_back(*value);
    }
  }
  if (values.empty()) throw Error(Exit::data, file, ": has no rows");
  const auto columns = static_cast<int64_t>(table.columns.size());
  table.rows = at::empty({static_cast<int64_t>(values.size()) / columns, columns}, at::kFloat);
  std::copy(values.begin(), values.end(), table.rows.mutable_data_ptr<float>());
  return table;
}

std::string to_csv(const at::Tensor& rows) {
  std::string text;
  const auto contiguous = rows.contiguous();
  const float* values = contiguous.const_data_ptr<float>();
  for (int64_t row = 0; row < rows.size(0); ++row)
    for (int64_t column = 0; column < rows.size(1); ++column) {
      char field[32];
      std::snprintf(field, sizeof field, "%s%.6g", column == 0 ? "" : ",", *values++);
      text += field;
      if (column + 1 == rows.size(1)) text += '\n';
    }
  return text;
}

}  // namespace series
