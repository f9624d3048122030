#include "experiments.hpp"

#include <lact/error.hpp>
#include <lact/ops/rule.hpp>

#include <algorithm>
#include <functional>

namespace lact::text {
namespace {

const SweepMember kControl{"none", {{"learn", "none"}}};

SweepExperiment with_control(SweepExperiment experiment) {
  experiment.members.push_back(kControl);
  return experiment;
}

/// A member that changes one key, and its own control: what a larger model that learns nothing
/// gains is not memory.
void add_with_control(SweepExperiment& all, const std::string& value_name,
                      const std::pair<std::string, std::string>& key) {
  all.members.push_back({concat(all.name, "-", value_name), {key}});
  all.members.push_back({"none-" + value_name, {key, {"learn", "none"}}});
}

/// A quarter to four times the usual chunk.
std::vector<int64_t> chunks_around(const Config& base) {
  const int64_t c = base.lact_chunk_size;
  return {std::max<int64_t>(1, c / 4), std::max<int64_t>(1, c / 2), c, 2 * c, 4 * c};
}

/// Three matrices of D x F a head are 3 inter_multi / heads squares of the model's width.
SweepExperiment state(const Config& base) {
  SweepExperiment all{"state", "size of the fast weights, in squares of the model's width"};
  for (const double size : {0.5, 1.0, 2.0, 4.0, 8.0}) {
    const double multiple = size * static_cast<double>(base.num_lact_heads) / 3;
    add_with_control(all, concat(size), {"inter_multi", concat(multiple)});
  }
  return all;
}

SweepExperiment rule(const Config&) {
  SweepExperiment all{"rule", "update rules"};
  for (const auto& name : ops::Rule::names())
    all.members.push_back({name, {{"update_rule", name}}});
  return with_control(all);
}

/// One member for each value of a key, with its name.
SweepExperiment values(const char* name, const char* summary, const char* key,
                       const std::vector<std::pair<const char*, const char*>>& members) {
  SweepExperiment all{name, summary};
  for (const auto& [member, value] : members) all.members.push_back({member, {{key, value}}});
  return all;
}

SweepExperiment function(const Config&) {
  auto all = values("function", "function of the fast weights", "fast_weight",
                    {{"linear", "linear"}, {"swiglu", "swiglu"}});
  all.members.push_back({"none-linear", {{"fast_weight", "linear"}, {"learn", "none"}}});
  return with_control(all);
}
SweepExperiment learn(const Config&) {
  auto all = values("learn", "updates of all fast weights, of the last matrix alone, of none",
                    "learn", {{"all", "all"}, {"last", "last"}});
  all = with_control(all);
  all.members.push_back({"window", {{"use_fast_weights", "false"}}});
  return all;
}

SweepExperiment chunk(const Config& base) {
  SweepExperiment all{"chunk", "chunks of other sizes, trained"};
  for (const int64_t size : chunks_around(base))
    all.members.push_back({concat("chunk-", size), {{"lact_chunk_size", std::to_string(size)}}});
  return with_control(all);
}
SweepExperiment chunk_at_evaluation(const Config& base) {
  return {"chunk-at-evaluation",
          "other chunks at evaluation than in training",
          {{concat("chunk-", base.lact_chunk_size), {}}},
          chunks_around(base)};
}
SweepExperiment window(const Config& base) {
  SweepExperiment all{"window", "windows of other sizes, with learning and without"};
  const int64_t w = base.window_size.value_or(256);
  for (const int64_t size : {std::max<int64_t>(1, w / 16), std::max<int64_t>(1, w / 4), w}) {
    add_with_control(all, std::to_string(size), {"window_size", std::to_string(size)});
  }
  return all;
}

SweepExperiment recall(const Config&) {
  SweepExperiment all{"recall", "what is remembered of facts beyond the window"};
  all.members = {{"window", {{"use_fast_weights", "false"}}},
                 kControl,
                 {"gd", {{"update_rule", "gd"}}},
                 {"momentum", {{"update_rule", "momentum"}}},
                 {"muon", {{"update_rule", "muon"}}},
                 {"last", {{"update_rule", "gd"}, {"learn", "last"}}},
                 {"linear", {{"update_rule", "gd"}, {"fast_weight", "linear"}}},
                 {"attention", {{"use_fast_weights", "false"}, {"window_size", "null"}}}};
  return all;
}

using Make = SweepExperiment (*)(const Config&);
const std::vector<std::pair<std::string, Make>>& experiments() {
  static const std::vector<std::pair<std::string, Make>> all = {
      {"state", state},   {"rule", rule},    {"function", function},
      {"learn", learn},   {"chunk", chunk},  {"chunk-at-evaluation", chunk_at_evaluation},
      {"window", window}, {"recall", recall}};
  return all;
}

}  // namespace

std::vector<std::string> sweep_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : experiments()) names.push_back(name);
  return names;
}

Settings recall_settings() {
  return {{"hidden_size", "64"},
          {"num_hidden_layers", "1"},
          {"num_attn_heads", "2"},
          {"num_lact_heads", "1"},
          {"intermediate_size", "192"},
          {"w0_w2_low_rank", "-1"},
          {"lact_chunk_size", "16"},
          {"window_size", "8"},
          {"rope_theta", "10000"},
          {"ttt_nope", "true"},
          {"initializer_range", "0.125"},
          {"base_lr", "1"},
          {"ttt_scale_bias", "1"},
          {"tie_word_embeddings", "false"},
          {"rows", "documents"},
          {"batch_size", "32"},
          {"lr", "0.005"},
          {"schedule", "linear"},
          {"min_lr_ratio", "0"},
          {"warmup_steps", "50"},
          {"weight_decay", "0"},
          {"steps", "500"},
          {"eval_every", "0"},
          {"save_every", "0"},
          {"dtype", "float32"}};
}

SweepExperiment sweep_experiment(const std::string& name, const Config& base) {
  for (const auto& [known, make] : experiments())
    if (known == name) return make(base);
  throw Error(Exit::usage, "no experiment ", name);
}

}  // namespace lact::text
