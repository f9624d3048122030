#include "rules/rules.hpp"

#include <lact/error.hpp>
#include <lact/ops/rule.hpp>

namespace lact::ops {

std::vector<std::array<double, 3>> NewtonSchulz::language_model() {
  return {{4.0848, -6.8946, 2.9270},
          {3.9505, -6.3029, 2.6377},
          {3.7418, -5.5913, 2.3037},
          {2.8769, -3.1427, 1.2046},
          {2.8366, -3.0525, 1.2012}};
}

std::vector<std::array<double, 3>> NewtonSchulz::keller_jordan() {
  return std::vector<std::array<double, 3>>(5, {3.4445, -4.7750, 2.0315});
}

namespace {

struct Entry {
  const char* name;
  bool momentum;
  const Transform* transform;
};

/// Every rule that can be named.
const std::vector<Entry>& rules() {
  static const std::vector<Entry> all = {
      {"gd", false, nullptr},
      {"momentum", true, nullptr},
      {"muon", false, newton_schulz()},
      {"muon_momentum", true, newton_schulz()},
  };
  return all;
}

std::string join(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words) line += (line.empty() ? "" : ", ") + word;
  return line;
}

}  // namespace

Learn learn_from(const std::string& word) {
  if (word == "all") return Learn::all;
  if (word == "last") return Learn::last;
  if (word == "none") return Learn::none;
  throw Error(Exit::usage, "learn ", word, ": unknown; one of all, last, none");
}

Rule Rule::from_name(const std::string& name) {
  for (const auto& entry : rules()) {
    if (entry.name != name) continue;
    Rule rule;
    rule.momentum = entry.momentum;
    rule.transform = entry.transform;
    return rule;
  }
  throw Error(Exit::usage, "update rule ", name, ": unknown; one of ", join(names()));
}

std::string Rule::name() const {
  for (const auto& entry : rules())
    if (entry.momentum == momentum && entry.transform == transform) return entry.name;
  throw Error(Exit::internal, "a rule without a name");
}

std::vector<std::string> Rule::names() {
  std::vector<std::string> all;
  for (const auto& entry : rules()) all.emplace_back(entry.name);
  return all;
}

}  // namespace lact::ops
