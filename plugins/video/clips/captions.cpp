#include "captions.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <sstream>
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

namespace {

std::string lower(std::string text) {
  for (auto& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// Which field of a row is what; -1: none.
struct Columns {
  int file = 0, caption = 1, label = 2;
  size_t fields = 0;  // of a heading, which rows may leave out at their end, or of each row; 0: not
                      // known yet
  bool named = false;
};

/// What tables of this kind call their columns: ours, Hugging Face's folders, DiffSynth-Studio,
/// musubi-tuner, finetrainers.
Columns columns_of(const std::vector<std::string>& heading) {
  const auto find = [&](std::initializer_list<const char*> names) {
    for (size_t i = 0; i < heading.size(); ++i)
      for (const char* name : names)
        if (lower(one_line(heading[i])) == name) return static_cast<int>(i);
    return -1;
  };
  Columns columns{
      find({"file", "file_name", "filename", "file_path", "filepath", "path", "video", "video_path",
            "video_file", "film", "media"}),
      find({"caption", "text", "prompt", "description", "cap", "captions", "texts", "prompts"}),
      find({"label", "class", "category", "tag"}), heading.size(), true};
  columns.named = columns.file >= 0 && columns.caption >= 0;
  return columns.named ? columns : Columns();
}

/// An object of a table in JSON, as file, caption and label.
std::vector<std::string> row_of(const nlohmann::json& object, const std::string& where) {
  if (!object.is_object()) throw Error(Exit::data, where, ": expected a JSON object");
  std::vector<std::string> heading, row;
  for (const auto& [key, value] : object.items()) {
    const auto& one = value.is_array() && !value.empty() ? value.front() : value;
    if (!one.is_string()) continue;
    heading.push_back(key);
    row.push_back(one.get<std::string>());
  }
  const auto columns = columns_of(heading);
  if (!columns.named)
    throw Error(Exit::data, where,
                ": expected the keys file (or file_name, video) and caption (or text, prompt)");
  const auto at = [&](int i) { return i < 0 ? std::string() : row[static_cast<size_t>(i)]; };
  return {at(columns.file), at(columns.caption), at(columns.label)};
}

/// A list of objects, or an object on each line.
std::vector<std::vector<std::string>> parse_json_table(const std::string& text,
                                                       const std::string& name) {
  std::vector<std::vector<std::string>> rows;
  if (text.starts_with('[')) {
    for (const auto& object : io::parse_json(text, name))
      rows.push_back(row_of(object, concat(name, ": row ", rows.size() + 1)));
    return rows;
  }
  std::istringstream in(text);
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const auto where = concat(name, ":", ++number);
    if (!one_line(line).empty()) rows.push_back(row_of(io::parse_json(line, where), where));
  }
  return rows;
}

/// Whether what should be a label is the caption's rest, behind a comma that nobody quoted. A
/// caption that has a comma was quoted; where blanks follow all commas, they say nothing.
bool is_torn(const std::vector<std::string>& row, const Columns& columns) {
  if (columns.label < columns.caption || static_cast<size_t>(columns.label) >= row.size())
    return false;
  const auto& caption = row[static_cast<size_t>(columns.caption)];
  return row[static_cast<size_t>(columns.caption) + 1].starts_with(' ') &&
         !caption.starts_with(' ') && caption.find(',') == std::string::npos;
}

/// A comma in a caption that nobody quoted makes a field too many.
void check_fields(const std::vector<std::string>& row, Columns& columns, const std::string& where) {
  const auto least = static_cast<size_t>(std::max(columns.file, columns.caption)) + 1;
  const bool sound = columns.named        ? row.size() >= least && row.size() <= columns.fields
                     : columns.fields > 0 ? row.size() == columns.fields
                                          : row.size() == 2 || row.size() == 3;
  const bool torn = sound && is_torn(row, columns);
  if (!sound || torn)
    throw Error(Exit::data, where, ": expected ",
                columns.fields == 0       ? "file, caption and perhaps label"
                : !columns.named          ? concat(columns.fields, " fields, as before")
                : least == columns.fields ? concat(least, " fields")
                                          : concat(least, " to ", columns.fields, " fields"),
                ", found ", row.size(),
                torn ? " fields, the one behind the caption with a blank in front" : " fields",
                "; a caption with commas stands in quotes");
  if (!columns.named) columns.fields = row.size();
}

}  // namespace

CaptionTable CaptionTable::read(const fs::path& file) {
  return parse(io::read_text(file, kMostTable), file);
}

CaptionTable CaptionTable::parse(const std::string& text, const fs::path& file) {
  CaptionTable table;
  const auto first = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  const bool json =
      first != std::string::npos &&
      (text[first] == '{' || (text[first] == '[' && lower(file.extension().string()) == ".json"));
  auto rows =
      json ? parse_json_table(text.substr(first), file.string()) : parse_csv(text, file.string());
  auto columns = rows.empty() || json ? Columns() : columns_of(rows[0]);
  if (!rows.empty() && !json && !columns.named && lower(rows[0][0]) == "file") {  // and our order
    columns.named = true;
    columns.fields = std::clamp<size_t>(rows[0].size(), 2, 3);
  }
  for (size_t i = columns.named ? 1 : 0; i < rows.size(); ++i) {
    const auto& row = rows[i];
    const auto where = concat(file.string(), ": row ", i + 1, " (", io::printable(row[0]), ")");
    if (!json) check_fields(row, columns, where);
    const auto at = [&](int k) {
      return k < 0 || static_cast<size_t>(k) >= row.size() ? std::string()
                                                           : row[static_cast<size_t>(k)];
    };
    const auto name = at(columns.file);
    const auto path = plain_path(file.parent_path() / name);
    if (!table.by_path_.emplace(path, table.rows_.size()).second)
      throw Error(Exit::data, where, ": ", io::printable(name), " comes twice");
    table.by_name_[fs::path(name).filename().string()].push_back(table.rows_.size());
    table.rows_.push_back(
        {name, {one_line(at(columns.caption)), one_line(at(columns.label))}, false});
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
