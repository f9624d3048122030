#include "toml.hpp"

#include <lact/error.hpp>

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>
#include <regex>

namespace lact::cli {
namespace {

/// Byte offset of a column (1-based, counted in code points, as toml++ does).
size_t byte_offset(std::string_view line, size_t column) {
  size_t at = 0;
  for (size_t passed = 1; passed < column && at < line.size(); ++passed) {
    ++at;
    while (at < line.size() && (static_cast<unsigned char>(line[at]) & 0xC0) == 0x80) ++at;
  }
  return at;
}

std::string_view line_of(std::string_view text, size_t number) {
  size_t begin = 0;
  for (size_t i = 1; i < number && begin != std::string_view::npos; ++i) {
    begin = text.find('\n', begin);
    if (begin != std::string_view::npos) ++begin;
  }
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find('\n', begin) - begin);
}

bool is_float(std::string_view text) {
  static const std::regex form(R"([+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)");
  return std::regex_match(text.begin(), text.end(), form) &&
         text.find_first_of(".eE") != std::string_view::npos;
}

bool is_integer(std::string_view text) {
  int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  return end.ec == std::errc() && std::to_string(value) == text;
}

/// A float as it was written ("3e-4" stays "3e-4"), so that text options lose nothing.
std::string float_text(const toml::value<double>& value, std::string_view text) {
  const auto where = value.source().begin;
  const auto line = line_of(text, where.line);
  const size_t begin = byte_offset(line, where.column);
  const size_t end = std::min(line.find_first_of(" \t,]#\r", begin), line.size());
  const std::string written(line.substr(begin, end - begin));
  if (is_float(written) && std::strtod(written.c_str(), nullptr) == value.get()) return written;
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value.get()).ptr};
}

struct Reader {
  const std::string& file;
  std::string_view text;

  std::string where(const toml::node& node) const {
    return concat(file, ":", node.source().begin.line);
  }

  std::string scalar(const std::string& key, const toml::node& node) const {
    if (const auto* value = node.as_string()) return value->get();
    if (const auto* value = node.as_integer()) return std::to_string(value->get());
    if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
    if (const auto* value = node.as_floating_point()) return float_text(*value, text);
    throw Error(Exit::config, where(node), ": ", key,
                ": expected a string, number, truth value or list of these, found a ",
                node.is_table()   ? "table"
                : node.is_array() ? "list of lists"
                                  : "date or time");
  }

  TomlItem item(const std::string& key, const toml::node& node) const {
    TomlItem item{key, {}, node.is_array(), static_cast<int>(node.source().begin.line)};
    if (const auto* list = node.as_array())
      for (const auto& element : *list) item.values.push_back(scalar(key, element));
    else
      item.values.push_back(scalar(key, node));
    return item;
  }
};

}  // namespace

std::vector<TomlItem> read_toml(std::istream& input, const std::string& file) {
  const std::string text{std::istreambuf_iterator<char>(input), {}};
  std::vector<TomlItem> items;
  try {
    const toml::table table = toml::parse(text, file);
    const Reader reader{file, text};
    for (const auto& [key, node] : table) items.push_back(reader.item(std::string(key), node));
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    throw Error(Exit::config, file, ":", at.line, ":", at.column, ": ", error.description());
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return items;
}

std::string toml_value(std::string_view text) {
  if (text == "true" || text == "false" || is_integer(text) || is_float(text))
    return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      constexpr char kDigits[] = "0123456789ABCDEF";
      quoted += {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string toml_list(const std::vector<std::string>& values) {
  std::string list = "[";
  for (const auto& value : values) list += (list.size() > 1 ? ", " : "") + toml_value(value);
  return list + "]";
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t i) {
      return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    const unsigned lead = byte(0);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0) return false;
    for (size_t i = 1; i < length; ++i)
      if ((byte(i) & 0xC0) != 0x80) return false;
    // Overlong forms, surrogates, beyond U+10FFFF: told by the second byte.
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
        (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F))
      return false;
    at += length;
  }
  return true;
}

}  // namespace lact::cli
