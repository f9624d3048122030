#pragma once
// The published experiments, as sets of models that differ in a few keys of their configuration.

#include <plugins/text/model/config.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lact::text {

/// One model of an experiment.
struct SweepMember {
  std::string name;                                            ///< and its run directory's
  std::vector<std::pair<std::string, std::string>> overrides;  ///< keys of config.json
};

struct SweepExperiment {
  std::string name, summary;
  std::vector<SweepMember> members;
  std::vector<int64_t> chunks;  ///< sizes to evaluate with; empty: as trained
};

/// "state", "rule", "function", "learn", "fast-weights", "chunk"
std::vector<std::string> sweep_names();

/// An experiment with models like `base`, of which each member changes what is compared.
/// Errors   64 if there is none of that name
SweepExperiment sweep_experiment(const std::string& name, const Config& base);

}  // namespace lact::text
