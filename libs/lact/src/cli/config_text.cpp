// --print-config: every option as TOML that --config reads back to the same values.

#include "internal.hpp"
#include "toml.hpp"

#include <CLI/App.hpp>

#include <algorithm>
#include <sstream>

namespace lact::cli {
namespace {

/// The text of a flag's value so that reading it gives the stored result again: `!--no-x` turns it.
std::string flag_text(const CLI::Option& option, const std::string& key) {
  const auto& results = option.results();
  if (results.size() > 1) {  // -v -v: counted
    int64_t sum = 0;
    for (const auto& one : results) sum += CLI::detail::to_flag_value(one);
    return std::to_string(std::max<int64_t>(sum, 0));
  }
  for (const char* text : {"true", "false"})
    if (option.get_flag_value(key, text) == results.front()) return text;
  return results.front();
}

/// The bound variable as it stands now; false if there is none or it cannot be read.
bool current_default(CLI::Option& option, std::string& text) {
  const auto before = option.get_default_str();
  const std::string untouched("\x01");
  option.default_str(untouched);
  option.capture_default_str();
  text = option.get_default_str();
  option.default_str(before);
  return text != untouched && !text.empty();
}

/// CLI11 prints numbers with six digits: fewer mean that nothing was cut off.
bool is_exact(const std::string& text) {
  size_t digits = 0;
  bool fraction = false, leading = true;
  for (const char c : text) {
    if (c == 'e') break;
    fraction = fraction || c == '.';
    leading = leading && (c == '0' || c == '.' || c == '-');
    if (!leading && c >= '0' && c <= '9') ++digits;
  }
  return digits < 6 || (!fraction && text.find('e') == std::string::npos);
}

/// "[a,b]", as CLI11 prints a vector.
std::vector<std::string> split_list(std::string text) {
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  std::vector<std::string> values;
  std::istringstream stream(text);
  for (std::string value; std::getline(stream, value, ',');) values.push_back(value);
  return values;
}

/// CLI11 reads a truth value back as a number.
std::string truth(const CLI::Option& option, const std::string& text) {
  if (option.get_type_name() != "true|false" || (text != "0" && text != "1")) return text;
  return text == "1" ? "true" : "false";
}

std::string entry(CLI::Option& option, bool told) {
  const auto key = option.get_single_name();
  const bool flag = option.get_items_expected_max() == 0;
  const bool list = option.get_items_expected_max() > 1;
  if (option.count() > 0) {
    if (flag) return key + " = " + flag_text(option, key);
    // CLI11 2.4 puts a word of its own behind a lone "{}" when it reduces.
    const auto values =
        list ? option.reduced_results() : std::vector<std::string>{option.results().back()};
    if (!std::all_of(values.begin(), values.end(), [](const auto& v) { return is_utf8(v); }))
      return "# " + key + " is not UTF-8 and cannot be written here";
    return key + " = " + (list ? toml_list(values) : toml_value(values[0]));
  }
  if (flag) return "# " + key + " = false";
  std::string text;
  if (told && !option.get_default_str().empty())
    return "# " + key + " = " + toml_value(option.get_default_str());
  // A list without elements: "[]" of CLI11 2.3, "{}" of 2.4.
  if (!current_default(option, text) || text == "[]" || (list && text == "{}"))
    return "# " + key + " =";
  text = truth(option, text);
  const auto value = list ? toml_list(split_list(text)) : toml_value(text);
  return (is_exact(text) && is_utf8(text) ? "" : "# ") + key + " = " + value;
}

}  // namespace

std::string config_text(CLI::App& app, const std::string& title,
                        const std::set<const CLI::Option*>& told) {
  const auto options = named_options(app);
  std::vector<std::string> groups;
  for (const auto* option : options)
    if (std::count(groups.begin(), groups.end(), option->get_group()) == 0)
      groups.push_back(option->get_group());
  std::string text = "# " + title + "\n";
  for (const auto& group : groups) {
    std::string lines;
    for (auto* option : options)
      if (option->get_group() == group && option->get_configurable())
        lines += entry(*option, told.count(option) > 0) + "\n";
    if (!lines.empty()) text += "\n# " + (group.empty() ? "Other options" : group) + "\n" + lines;
  }
  return text;
}

}  // namespace lact::cli
