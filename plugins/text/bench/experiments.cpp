#include "experiments.hpp"

#include <lact/error.hpp>
#include <lact/ops/rule.hpp>

#include <algorithm>
#include <functional>

namespace lact::text {
namespace {

/// Three matrices of D x F a head are 3 inter_multi / heads squares of the model's width.
SweepExperiment state(const Config& base) {
  SweepExperiment all{"state", "size of the fast weights, in squares of the model's width", {}, {}};
  for (const double size : {0.75, 1.5, 3.0, 6.0}) {
    const double multiple = size * static_cast<double>(base.num_lact_heads) / 3;
    all.members.push_back({concat("state-", size), {{"inter_multi", concat(multiple)}}});
  }
  return all;
}

SweepExperiment rule(const Config&) {
  SweepExperiment all{"rule", "update rules", {}, {}};
  for (const auto& name : ops::Rule::names())
    all.members.push_back({name, {{"update_rule", name}}});
  return all;
}

/// One member for each value of a key, with its name.
SweepExperiment values(const char* name, const char* summary, const char* key,
                       const std::vector<std::pair<const char*, const char*>>& members) {
  SweepExperiment all{name, summary, {}, {}};
  for (const auto& [member, value] : members) all.members.push_back({member, {{key, value}}});
  return all;
}

SweepExperiment function(const Config&) {
  return values("function", "function of the fast weights", "fast_weight",
                {{"linear", "linear"}, {"swiglu", "swiglu"}});
}
SweepExperiment learn(const Config&) {
  return values("learn", "updates of all fast weights, or of the last matrix alone", "learn",
                {{"all", "all"}, {"last", "last"}});
}
SweepExperiment fast_weights(const Config&) {
  return values("fast-weights", "with fast weights, or the window's attention alone",
                "use_fast_weights", {{"on", "true"}, {"off", "false"}});
}

SweepExperiment chunk(const Config& base) {
  const int64_t c = base.lact_chunk_size;
  return {"chunk",
          "other chunks at evaluation than in training",
          {{concat("chunk-", c), {}}},
          {std::max<int64_t>(1, c / 4), std::max<int64_t>(1, c / 2), c, 2 * c, 4 * c}};
}

using Make = SweepExperiment (*)(const Config&);
const std::vector<std::pair<std::string, Make>>& experiments() {
  static const std::vector<std::pair<std::string, Make>> all = {{"state", state},
                                                                {"rule", rule},
                                                                {"function", function},
                                                                {"learn", learn},
                                                                {"fast-weights", fast_weights},
                                                                {"chunk", chunk}};
  return all;
}

}  // namespace

std::vector<std::string> sweep_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : experiments()) names.push_back(name);
  return names;
}

SweepExperiment sweep_experiment(const std::string& name, const Config& base) {
  for (const auto& [known, make] : experiments())
    if (known == name) return make(base);
  throw Error(Exit::usage, "no experiment ", name);
}

}  // namespace lact::text
