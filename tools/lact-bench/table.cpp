#include <lact/cli/run.hpp>

#include "table.hpp"

#include <cstdio>

namespace lact::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& row, const std::string& key) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_number_float()) return found->dump();
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", found->get<double>());
  return text;
}

std::string padded(const std::string& text, const Column& column) {
  const auto width = static_cast<size_t>(column.width);
  const std::string blanks(text.size() < width ? width - text.size() : 0, ' ');
  return column.right ? blanks + text : text + blanks;
}

std::string markdown_head(const std::vector<Column>& columns) {
  std::string names = "|", rule = "|";
  for (const auto& one : columns) {
    names += " " + padded(one.title, one) + " |";
    const auto width = std::max(one.title.size(), static_cast<size_t>(one.width));
    rule += " " + std::string(width - (one.right ? 1 : 0), '-') + (one.right ? ":" : "") + " |";
  }
  return names + "\n" + rule + "\n";
}

std::string markdown(const std::vector<Column>& columns, const Json& row) {
  std::string line = "|";
  for (const auto& one : columns) line += " " + padded(text_of(row, one.key), one) + " |";
  return line + "\n";
}

/// Quoted where it must be (RFC 4180).
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv(const Json& row, bool names) {
  std::string line;
  for (const auto& [key, value] : row.items()) {
    if (!line.empty()) line += ',';
    if (names)
      line += key;
    else if (!value.is_null())
      line += value.is_string() ? csv_field(value.get<std::string>()) : value.dump();
  }
  return line + "\n";
}

std::string json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Table::Table(std::string format, std::vector<Column> columns)
    : format_(std::move(format)), columns_(std::move(columns)) {}

void Table::row(const Json& row) {
  if (format_ == "md") cli::out((begun_ ? "" : markdown_head(columns_)) + markdown(columns_, row));
  if (format_ == "csv") cli::out((begun_ ? "" : csv(row, true)) + csv(row, false));
  if (format_ == "jsonl") cli::out(json(row, -1));
  if (format_ == "json") rows_.push_back(row);
  begun_ = true;
}

void Table::finish(const std::string& summary) {
  if (format_ == "json") cli::out(json(rows_, 2));
  if (format_ == "md") cli::out((begun_ ? "\n" : "") + summary + "\n");
}

}  // namespace lact::bench
