#include "sampler_arguments.hpp"

#include <lact/error.hpp>
#include <lact/io/json.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>
#include <map>

namespace lact::text {
namespace {

using nlohmann::json;

constexpr const char* kSampler = "sampler.options";

}  // namespace

template <class Self, class Visit>
void SamplerArguments::each(Self& self, const Visit& visit) {
  visit("repeat-penalty", self.repeat_penalty_, &SamplerOptions::repeat_penalty);
  visit("repeat-last-n", self.repeat_last_n_, &SamplerOptions::repeat_last_n);
  visit("top-k", self.top_k_, &SamplerOptions::top_k);
  visit("typical", self.typical_, &SamplerOptions::typical);
  visit("top-p", self.top_p_, &SamplerOptions::top_p);
  visit("min-p", self.min_p_, &SamplerOptions::min_p);
  visit("temp", self.temp_, &SamplerOptions::temp);
}

void SamplerArguments::declare(cli::Options options) {
  const SamplerOptions usual;
  std::map<std::string, std::string> defaults;
  each(*this, [&](const char* name, const auto&, auto member) {
    defaults[name] = json(usual.*member).dump();
  });
  const auto add = [&](const char* name, auto& variable, const char* help) {
    return options.add(std::string("--") + name, variable, help).initially(defaults.at(name));
  };
  options
      .add("-l,--logit-bias", biases_,
           "add to a token's logit: ID+BIAS or ID-BIAS; ID-inf rules it out")
      .value("ID(+|-)BIAS");
  add("repeat-penalty", repeat_penalty_, "divide the logits of the last tokens; 1: off")
      .range(1e-3, 1e3);
  add("repeat-last-n", repeat_last_n_,
      "number of last tokens that the penalty applies to; 0: off, -1: all")
      .range(-1, 1 << 20);
  add("top-k", top_k_, "keep the K most likely tokens; 0: all")
      .range(int64_t{0}, int64_t{1} << 31)
      .value("K");
  add("typical", typical_, "keep tokens of typical surprise with total probability P; 1: all")
      .range(0.0, 1.0)
      .value("P");
  add("top-p", top_p_, "keep the most likely tokens with total probability P; 1: all")
      .range(0.0, 1.0)
      .value("P");
  add("min-p", min_p_,
      "keep tokens with at least P times the probability of the most likely one; 0: all")
      .range(0.0, 1.0)
      .value("P");
  add("temp", temp_, "temperature; 0: always the most likely token").range(0.0, 1e6).value("T");
}

SamplerOptions SamplerArguments::resolve(const io::State* state) const {
  json kept = json::object();
  const auto found =
      state == nullptr ? io::Metadata::const_iterator() : state->metadata.find(kSampler);
  if (state != nullptr && found != state->metadata.end())
    kept = io::parse_json(found->second, concat(state->name, ": ", kSampler));
  SamplerOptions sampler;
  try {
    each(*this, [&](const char* name, const auto& given, auto member) {
      auto& value = sampler.*member;
      value = given ? *given : kept.value(name, value);
    });
    auto biases = biases_;
    if (biases.empty()) biases = kept.value("logit-bias", biases);
    for (const auto& text : biases) sampler.logit_bias.push_back(parse_logit_bias(text));
  } catch (const json::exception& error) {
    throw Error(Exit::data, state->name, ": ", kSampler, ": ", error.what());
  }
  return sampler;
}

void SamplerArguments::save(const SamplerOptions& sampler, io::State& state) {
  const SamplerArguments names;
  json kept;
  each(names, [&](const char* name, const auto&, auto member) { kept[name] = sampler.*member; });
  for (const auto& [id, bias] : sampler.logit_bias) {
    char text[48];
    std::snprintf(text, sizeof text, "%lld%+.17g", static_cast<long long>(id), bias);
    kept["logit-bias"].push_back(text);
  }
  state.metadata[kSampler] = kept.dump();
}

}  // namespace lact::text
