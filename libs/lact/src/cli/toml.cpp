#include "toml.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace lact::cli {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

/// Byte offsets of places, which toml++ gives as lines and columns (from 1, in code points). Places
/// asked for in the order of the text cost one pass over it together.
class Places {
 public:
  explicit Places(std::string_view text) : text_(text), lines_{0} {
    for (size_t i = 0; i < text.size(); ++i)
      if (text[i] == '\n') lines_.push_back(i + 1);
  }

  size_t offset(const toml::source_position& place) {
    const size_t line = place.line - 1;
    if (line >= lines_.size()) return text_.size();
    if (line != line_ || place.column < column_) {
      line_ = line;
      column_ = 1;
      at_ = lines_[line];
    }
    for (; column_ < place.column && at_ < text_.size(); ++column_) {
      ++at_;
      while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xC0) == 0x80) ++at_;
    }
    return at_;
  }

 private:
  std::string_view text_;
  std::vector<size_t> lines_;  // where each begins
  size_t line_ = 0, column_ = 1, at_ = 0;
};

/// Takes digits off the front; false if there is none.
bool take_digits(std::string_view& text) {
  const size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(count);
  return count > 0;
}

bool take_any_of(std::string_view& text, std::string_view wanted) {
  const bool there = !text.empty() && wanted.find(text.front()) != wanted.npos;
  if (there) text.remove_prefix(1);
  return there;
}

/// [+-] digits without a leading zero, then . and digits, or e, a sign and digits, or both.
bool is_float(std::string_view text) {
  take_any_of(text, "+-");
  if (text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9') return false;
  if (!take_digits(text)) return false;
  const bool point = take_any_of(text, ".");
  if (point && !take_digits(text)) return false;
  const bool exponent = take_any_of(text, "eE");
  if (exponent) {
    take_any_of(text, "+-");
    if (!take_digits(text)) return false;
  }
  return text.empty() && (point || exponent);
}

bool is_integer(std::string_view text) {
  int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  return end.ec == std::errc() && std::to_string(value) == text;
}

/// A float as it was written ("3e-4" stays "3e-4"), so that text options lose nothing.
std::string float_text(const toml::value<double>& value, std::string_view text, Places& places) {
  const auto rest = text.substr(places.offset(value.source().begin));
  const std::string written(rest.substr(0, rest.find_first_of(" \t,]#\r\n")));
  if (is_float(written) && std::strtod(written.c_str(), nullptr) == value.get()) return written;
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value.get()).ptr};
}

struct TomlReader {
  const std::string& file;
  std::string_view text;
  Places& places;

  std::string where(const toml::node& node) const {
    return concat(file, ":", node.source().begin.line);
  }

  std::string scalar(const std::string& key, const toml::node& node) const {
    if (const auto* value = node.as_string()) return value->get();
    if (const auto* value = node.as_integer()) return std::to_string(value->get());
    if (const auto* value = node.as_boolean()) return value->get() ? "true" : "false";
    if (const auto* value = node.as_floating_point()) return float_text(*value, text, places);
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
  std::string text;
  char piece[1 << 14];
  while (input.read(piece, sizeof piece), input.gcount() > 0) {
    text.append(piece, static_cast<size_t>(input.gcount()));
    if (text.size() > kMaxBytes)
      throw Error(Exit::config, file, ": longer than ", kMaxBytes, " bytes");
  }
  std::vector<TomlItem> items;
  try {
    const toml::table table = toml::parse(text, file);
    Places places(text);
    const TomlReader reader{file, text, places};
    for (const auto& [key, node] : table) items.push_back(reader.item(std::string(key), node));
  } catch (const toml::parse_error& error) {
    const auto at = error.source().begin;
    throw Error(Exit::config, file, ":", at.line, ":", at.column, ": ",
                io::printable(error.description()));
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
