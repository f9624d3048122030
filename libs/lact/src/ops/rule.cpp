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

Rule Rule::from_name(const std::string& name) {
  Rule rule;
  rule.momentum = name == "momentum" || name == "muon_momentum";
  rule.muon = name == "muon" || name == "muon_momentum";
  if (rule.name() != name)
    throw Error(Exit::usage, "update rule ", name,
                ": unknown; one of gd, momentum, muon, muon_momentum");
  return rule;
}

std::string Rule::name() const {
  if (muon) return momentum ? "muon_momentum" : "muon";
  return momentum ? "momentum" : "gd";
}

}  // namespace lact::ops
