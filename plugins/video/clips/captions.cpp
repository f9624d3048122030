#include "captions.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <system_error>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostSidecar = uint64_t{1} << 16, kMostTable = uint64_t{1} << 30;

/// The same for every way to write it.
std::string plain_path(const fs::path& path) {
  std::error_code error;
  const auto real = fs::weakly_canonical(path, error);
  return (error ? path.lexically_normal() : real).string();
}

/// The field that begins at `at`, which moves behind it.
std::string field(std::string_view text, size_t& at, size_t& line, const std::string& name) {
  std::string value;
  if (at == text.size() || text[at] != '"') {
    const auto end = std::min(text.find_first_of(",\n", at), text.size());
    value = text.substr(at, end - at);
    at = end;
    if (!value.empty() && value.back() == '\r' && (at == text.size() || text[at] == '\n'))
      value.pop_back();
    return value;
  }
  const auto begun = line;
  for (++at;; ++at) {
    if (at == text.size()) throw Error(Exit::data, name, ":", begun, ": a quoted field has no end");
    if (text[at] == '"' && (++at == text.size() || text[at] != '"')) break;
    line += text[at] == '\n';
    value += text[at];
  }
  if (at < text.size() && text[at] == '\r') ++at;
  if (at < text.size() && text[at] != ',' && text[at] != '\n')
    throw Error(Exit::data, name, ":", line, ": expected a comma after a quoted field");
  return value;
}

}  // namespace

std::vector<std::vector<std::string>> parse_csv(std::string_view text, const std::string& name) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // a mark of UTF-8
  std::vector<std::vector<std::string>> rows;
  size_t line = 1;
  for (size_t at = 0; at < text.size(); ++line) {
    std::vector<std::string> row{field(text, at, line, name)};
    while (at < text.size() && text[at] == ',') row.push_back(field(text, ++at, line, name));
    ++at;  // behind the line's end
    if (row.size() > 1 || !row[0].empty()) rows.push_back(std::move(row));
  }
  return rows;
}

std::string one_line(std::string_view text) {
  std::string line;
  bool blank = false;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0') {
      blank = !line.empty();
    } else {
      if (blank) line += ' ';
      blank = false;
      line += c;
    }
  }
  return line;
}

CaptionTable CaptionTable::read(const fs::path& file) {
  CaptionTable table;
  auto rows = parse_csv(io::read_text(file, kMostTable), file.string());
  if (!rows.empty() && rows[0][0] == "file") rows.erase(rows.begin());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (row.size() < 2 || row.size() > 3)
      throw Error(Exit::data, file.string(), ": row ", i + 1, " (", io::printable(row[0]),
                  "): expected file, caption and perhaps label, found ", row.size(), " fields");
    const auto path = plain_path(file.parent_path() / row[0]);
    if (!table.by_path_.emplace(path, table.rows_.size()).second)
      throw Error(Exit::data, file.string(), ": row ", i + 1, ": ", io::printable(row[0]),
                  " comes twice");
    table.by_name_[fs::path(row[0]).filename().string()].push_back(table.rows_.size());
    table.rows_.push_back(
        {row[0], {one_line(row[1]), row.size() > 2 ? one_line(row[2]) : ""}, false});
  }
  return table;
}

const Said* CaptionTable::find(const fs::path& film) {
  const auto path = by_path_.find(plain_path(film));
  size_t row = 0;
  if (path != by_path_.end()) {
    row = path->second;
  } else {
    const auto name = by_name_.find(film.filename().string());
    if (name == by_name_.end() || name->second.size() != 1) return nullptr;
    row = name->second[0];
  }
  rows_[row].used = true;
  return &rows_[row].said;
}

std::vector<std::string> CaptionTable::unused() const {
  std::vector<std::string> files;
  for (const auto& row : rows_)
    if (!row.used) files.push_back(row.file);
  return files;
}

std::optional<std::string> sidecar_text(const fs::path& film) {
  std::error_code error;
  for (const auto& file : {fs::path(film) += ".txt", fs::path(film).replace_extension(".txt")})
    if (file != film && fs::is_regular_file(file, error))
      return one_line(io::read_text(file, kMostSidecar));
  return {};
}

}  // namespace lact::video
