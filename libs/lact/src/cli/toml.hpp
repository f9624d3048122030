#pragma once
// The TOML that --config reads and --print-config writes: `key = value` lines, no tables.

#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace lact::cli {

struct TomlItem {
  std::string key;
  std::vector<std::string> values;  ///< as text: strings as they are, numbers as written
  bool list = false;
  int line = 0;
};

/// The file's items in the order of their lines.
/// Errors   78 naming file, line and what is wrong
std::vector<TomlItem> read_toml(std::istream& input, const std::string& file);

/// A value that read_toml gives back as the same text: bare if it is a plain number or truth value,
/// else a quoted string. Must be UTF-8.
std::string toml_value(std::string_view text);
std::string toml_list(const std::vector<std::string>& values);

bool is_utf8(std::string_view text);

}  // namespace lact::cli
