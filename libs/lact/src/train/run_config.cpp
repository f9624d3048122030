#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/train/run_config.hpp>

#include <toml++/toml.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>
#include <string_view>

namespace lact::train {
namespace {

/// May differ when a run goes on: they do not touch what a step computes from the same state.
/// Length and skipping do, and are here because a run that ended needs them changed to go on. Data
/// are known by their content (Task::data_identity), wherever they lie now.
const std::set<std::string> kFree = {
    "steps",
    "log-every",
    "eval-every",
    "eval-batches",
    "save-every",
    "keep",
    "async-mode",
    "skip-norm",
    "skip-above",
    "skip-above-from",
    "max-skips",
    "recompute",
    "export",
    "export-dtype",
    "data",
    "init-from",
    "model-config",
    "data-parallel-shard-degree",
    "context-parallel-degree",
    "comm-init-timeout-seconds",
    "comm-train-timeout-seconds",
    "comm-interface",
};

/// What runs trained with before there was a choice: a run.toml without the key is of that time.
constexpr const char* kOptimizer = "optimizer";
constexpr const char* kOptimizerBefore = "adamw";

toml::table parse(const std::string& text, const std::string& what) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error(Exit::data, what, ": line ", error.source().begin.line, ": ",
                io::printable(error.description()));
  }
}

std::string literal(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_floating_point()) {
    char shortest[32];
    return {shortest, std::to_chars(shortest, shortest + sizeof shortest, number->get()).ptr};
  }
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  return out.str();
}

/// 1e-3 is 0.001, 1 is 1.0, and a path is what it names from here: earlier runs kept relative ones.
bool same_value(const std::string& a, const std::string& b) {
  double x = 0, y = 0;
  const auto number = [](const std::string& text, double& value) {
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    return end.ec == std::errc() && end.ptr == text.data() + text.size();
  };
  const auto absolute = [](const std::string& path) {
    std::error_code error;
    return std::filesystem::absolute(path, error).lexically_normal();
  };
  return a == b || (number(a, x) && number(b, y) && x == y) ||
         (!a.empty() && !b.empty() && absolute(a) == absolute(b));
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// `-o DIR`, `-oDIR`, `--output DIR`, `--output=DIR`; the last one counts.
std::string output_of(const std::vector<std::string>& words) {
  std::string output;
  for (size_t i = 0; i < words.size(); ++i) {
    const auto& word = words[i];
    if ((word == "-o" || word == "--output") && i + 1 < words.size())
      output = words[++i];
    else if (word.rfind("--output=", 0) == 0)
      output = word.substr(9);
    else if (word.rfind("-o", 0) == 0 && word.size() > 2)
      output = word.substr(word[2] == '=' ? 3 : 2);
  }
  return output;
}

}  // namespace

std::string edit_config(const std::string& toml, const std::map<std::string, std::string>& values,
                        const std::string& what) {
  const auto table = parse(toml, what);
  auto lines = split_lines(toml);
  std::vector<bool> dropped(lines.size(), false);
  std::string added;
  for (const auto& [key, value] : values) {
    const auto line = value.empty() ? std::string() : concat(key, " = ", value);
    const auto found = table.find(key);
    if (found == table.end()) {
      if (!line.empty()) added += line + "\n";
      continue;
    }
    // A value may span lines: the first gives its place to the new one.
    const size_t first = found->first.source().begin.line - 1;
    const size_t last = std::max<size_t>(found->second.source().end.line, first + 1) - 1;
    for (size_t i = first; i <= last; ++i) dropped.at(i) = true;
    if (!line.empty()) {
      lines[first] = line;
      dropped[first] = false;
    }
  }
  std::string result = added;  // in front: a key after a [table] would belong to it
  for (size_t i = 0; i < lines.size(); ++i)
    if (!dropped[i]) result += lines[i] + "\n";
  return result;
}

std::string config_value(const std::string& toml, const std::string& key, const std::string& what) {
  const auto table = parse(toml, what);
  const auto found = table.find(key);
  return found == table.end() ? "" : literal(found->second);
}

std::string translated(const std::string& toml, const std::vector<cli::Renamed>& renamed,
                       const std::string& what) {
  auto text = toml;
  for (const auto& one : renamed) {
    const auto table = parse(text, what);
    const auto found = table.find(one.key);
    if (found == table.end()) continue;
    const bool word = found->second.is_string();
    auto value = literal(found->second);
    if (!one.value.empty() && value != one.value) continue;
    if (!one.value.empty()) value = one.value_now;
    const auto quoted = word ? nlohmann::json(value).dump() : value;
    if (one.now.empty())
      text = edit_config(text, {{one.key, quoted}}, what);
    else
      text = edit_config(text, {{one.key, ""}, {one.now, quoted}}, what);
  }
  return text;
}

std::vector<std::string> contradictions(const std::string& stored, const std::string& given) {
  const auto before = parse(stored, "run.toml"), now = parse(given, "options");
  const auto show = [](const toml::table& table, std::string_view key) {
    const auto found = table.find(key);
    return found == table.end() ? std::string("(not set)") : literal(found->second);
  };
  std::set<std::string> keys;
  for (const auto* table : {&before, &now})
    for (const auto& [key, node] : *table) keys.emplace(key.str());
  std::vector<std::string> lines;
  for (const auto& key : keys) {
    // Of an option that did not exist when the run began, the file has no line, not even a comment.
    const bool older =
        !before.contains(key) && stored.find(concat("# ", key, " =")) == std::string::npos;
    if (kFree.count(key) || older) continue;
    const auto a = show(before, key), b = show(now, key);
    if (!same_value(a, b)) lines.push_back(concat(key, ": ", a, " in the run, ", b, " now"));
  }
  return lines;
}

void use_run_config(std::vector<std::string>& words) {
  const auto is_config = [](const std::string& word) {
    return word == "--config" || word.rfind("--config=", 0) == 0;
  };
  if (std::find(words.begin(), words.end(), "--resume") == words.end()) return;
  if (std::any_of(words.begin(), words.end(), is_config)) return;
  const auto output = output_of(words);
  if (output.empty()) return;
  const auto file = std::filesystem::path(output) / "run.toml";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return;
  std::vector<std::string> before = {"--config", file.string()};
  if (config_value(io::read_text(file), kOptimizer, file.string()).empty())
    before.push_back(concat("--", kOptimizer, "=", kOptimizerBefore));
  words.insert(words.begin(), before.begin(), before.end());
}

}  // namespace lact::train
