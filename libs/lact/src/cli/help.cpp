// --help in the form of GNU's programs: `-o, --output FILE   what it does (default: -)`.

#include "internal.hpp"

#include <CLI/App.hpp>
#include <CLI/Formatter.hpp>

#include <sstream>

namespace lact::cli {
namespace {

constexpr size_t kWidth = 80, kColumn = 26;

/// Words of `text` on lines of kWidth, the first one continuing at `used`.
std::string wrap(const std::string& text, size_t used) {
  std::istringstream words(text);
  std::string result;
  for (std::string word; words >> word;) {
    if (used > kColumn && used + 1 + word.size() > kWidth) {
      result += "\n" + std::string(kColumn, ' ');
      used = kColumn;
    } else if (used > kColumn) {
      result += ' ';
      ++used;
    }
    result += word;
    used += word.size();
  }
  return result;
}

/// The parts of "TYPE:VALIDATOR:VALIDATOR".
std::vector<std::string> types(const CLI::Option& option) {
  std::vector<std::string> parts;
  std::istringstream stream(option.get_type_name());
  for (std::string part; std::getline(stream, part, ':');) parts.push_back(part);
  return parts;
}

/// "1 to 64" of the validator "INT in [1 - 64]".
std::string range_of(const CLI::Option& option) {
  for (const auto& part : types(option)) {
    const auto open = part.find(" in ["), dash = part.find(" - "), close = part.rfind(']');
    if (open == std::string::npos || dash == std::string::npos || close < dash) continue;
    return part.substr(open + 5, dash - open - 5) + " to " +
           part.substr(dash + 3, close - dash - 3);
  }
  return "";
}

class GnuFormatter final : public CLI::Formatter {
 public:
  GnuFormatter() { column_width(kColumn); }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = "\n" + get_label("Usage") + ": " + name;
    for (const auto* option : app->get_options(
             [](const CLI::Option* o) { return !o->nonpositional() && !o->get_group().empty(); }))
      usage += " " + make_option_usage(option);
    return usage + " [OPTIONS]\n";
  }

  std::string make_option(const CLI::Option* option, bool positional) const override {
    std::string left = "  " + make_option_name(option, positional);
    if (!positional) left += make_option_opts(option);
    const auto text = make_option_desc(option);
    // A name that reaches the column pushes its text to the next line.
    if (left.size() + 2 > kColumn)
      return left + "\n" + std::string(kColumn, ' ') + wrap(text, kColumn) + "\n";
    return left + std::string(kColumn - left.size(), ' ') + wrap(text, kColumn) + "\n";
  }

  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    if (positional) return option->get_name(true);
    std::string names = option->get_snames().empty() ? "    " : "";
    for (const auto& name : option->get_snames()) names += "-" + name + ", ";
    for (const auto& name : option->get_lnames()) names += "--" + name + ", ";
    return names.substr(0, names.size() - 2);
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    if (!option->get_option_text().empty()) return " " + option->get_option_text();
    if (option->get_items_expected_max() == 0) return "";
    return " " + value_name(*option);
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    std::string text = option->get_description();
    const auto& initial = option->get_default_str();
    const auto range = range_of(*option);
    if (!range.empty() && text.find(" to ") == std::string::npos) text += "; " + range;
    if (option->get_items_expected_max() > 1) text += "; repeatable";
    if (option->get_required()) text += " (required)";
    if (!initial.empty() && initial != "[]" && option->get_items_expected_max() > 0)
      text += " (default: " + initial + ")";
    return text;
  }
};

}  // namespace

std::vector<std::string> choices(const CLI::Option& option) {
  std::vector<std::string> all;
  for (const auto& part : types(option)) {
    if (part.size() < 3 || part.front() != '{' || part.back() != '}') continue;
    std::istringstream stream(part.substr(1, part.size() - 2));
    for (std::string one; std::getline(stream, one, ',');) all.push_back(one);
  }
  return all;
}

std::string value_name(const CLI::Option& option) {
  std::string name = "VALUE";
  const auto parts = types(option);
  if (!parts.empty()) name = parts[0];
  if (name == "INT" || name == "UINT" || name == "FLOAT") name = "N";
  if (const auto all = choices(option); !all.empty()) {
    name.clear();
    for (const auto& one : all) name += (name.empty() ? "" : "|") + one;
  }
  for (const auto& part : parts)
    if (part == "FILE" || part == "DIR" || part == "PATH") name = part;
  return name;
}

std::shared_ptr<CLI::Formatter> help_formatter() {
  return std::make_shared<GnuFormatter>();
}

}  // namespace lact::cli
