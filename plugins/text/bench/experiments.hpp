#pragma once
// The published experiments, as sets of models that differ in a few keys of their configuration.

#include <plugins/text/model/config.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lact::text {

using Settings = std::vector<std::pair<std::string, std::string>>;

/// One model of an experiment.
struct SweepMember {
  std::string name;    ///< and its run directory's
  Settings overrides;  ///< keys of config.json
};

/// Every experiment has members that tell what its others gain: "none", which learns nothing while
/// it reads, trained like them.
struct SweepExperiment {
  std::string name, summary;
  std::vector<SweepMember> members;
  std::vector<int64_t> chunks;  ///< sizes to evaluate with; empty: as trained
};

/// "state", "rule", "function", "learn", "chunk", "chunk-at-evaluation", "window", "recall"
std::vector<std::string> sweep_names();

/// Options of lact-train text for models of the recall task: a small layer whose window does not
/// reach the facts, with constants that suit it.
Settings recall_settings();

/// An experiment with models like `base`, of which each member changes what is compared.
/// Errors   64 if there is none of that name
SweepExperiment sweep_experiment(const std::string& name, const Config& base);

}  // namespace lact::text
