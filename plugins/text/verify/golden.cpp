#include "golden.hpp"

#include <plugins/text/model/model.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lact::text {
namespace {

using at::Tensor;
using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kIgnored = -100;  // a label that is not scored

Config config_of(const Golden& file) {
  return Config::from_json(file.option("config"), file.name() + ": case: config");
}

// --- golden files --------------------------------------------------------------------------------

Computed layer(Golden& file) {
  const auto options = layer_options(config_of(file), file.settings().dtype);
  const auto parameters = file.parameters(nn::lact_layer_shapes(options));
  Dim B("B"), L("L"), d("hidden_size", options.width);
  const auto x = file.input("x", {B, L, d}).to(file.settings().dtype);
  std::map<std::string, Tensor> taps;
  const auto y =
      nn::lact_layer(options, parameters, x, nn::whole_rows(B.size, L.size, x.device()), &taps);
  Computed out{{"out", y}};
  for (const auto& [name, tap] : taps) out["tap." + name] = tap;
  if (file.has("probe")) file.gradients((y * file.probe("probe", {B, L, d})).sum(), out);
  return out;
}

LanguageModel model_of(Golden& file, const Config& config) {
  LanguageModel model(config, file.parameters(parameter_shapes(config)));
  model.set_compute_dtype(file.settings().dtype);
  return model;
}

Computed model(Golden& file) {
  const auto config = config_of(file);
  const auto whole = model_of(file, config);
  Dim B("B"), L("L");
  const auto ids = file.integers("input_ids", {B, L}, 0, config.vocab_size - 1);
  const auto labels = file.integers("labels", {B, L}, kIgnored, config.vocab_size - 1);
  if (((labels < 0) & (labels != kIgnored)).any().item<bool>())
    file.refuse("tensor labels: expected tokens, or ", kIgnored, " where none is scored");
  if (L.size < 2) file.refuse("tensor input_ids: expected at least 2 tokens, found ", L.size);
  const auto loss = whole.loss(ids, labels);
  Computed out{{"logits", whole.forward(ids)}, {"loss", loss.view({1})}};
  file.gradients(loss, out);
  return out;
}

/// How many tokens each call receives; together all that there are.
std::vector<int64_t> feeds_of(const Golden& file, int64_t length) {
  std::vector<int64_t> feeds;
  int64_t sum = 0;
  for (const auto& one : file.option("feeds")) {
    feeds.push_back(one.is_number_integer() ? one.get<int64_t>() : 0);
    if (feeds.back() < 1 || feeds.back() > length - sum)
      file.refuse("case: feeds: expected numbers of tokens that add up to ", length, ", found ",
                  one.dump());
    sum += feeds.back();
  }
  if (sum != length) file.refuse("case: feeds: expected ", length, " tokens, found ", sum);
  return feeds;
}

Computed stream(Golden& file) {
  const auto config = config_of(file);
  const auto whole = model_of(file, config);
  Dim B("B"), L("L");
  const auto ids = file.integers("input_ids", {B, L}, 0, config.vocab_size - 1);
  auto reading = whole.start(B.size);
  std::vector<Tensor> logits;
  int64_t begin = 0;
  for (const int64_t feed : feeds_of(file, L.size)) {
    logits.push_back(whole.feed(reading, ids.slice(1, begin, begin + feed), /*all=*/true));
    begin += feed;
  }
  Computed out{{"logits", at::cat(logits, 1)}};
  for (size_t i = 0; i < reading.layers.size(); ++i) {
    const auto put = [&](const char* part, const ops::FastWeights& w) {
      const auto name = concat("final.", i, ".", part);
      if (!w.down.defined()) return;
      out[name + "0"] = w.gate;
      out[name + "1"] = w.down;
      out[name + "2"] = w.up;
    };
    put("w", reading.layers[i].fast.w);
    put("main", reading.layers[i].fast.main);
    put("m", reading.layers[i].fast.momentum);
  }
  return out;
}

// --- checks --------------------------------------------------------------------------------------

constexpr int64_t kLength = 45, kBorder = 19;

/// Small, with windows and chunks that kLength tokens cross, in float64.
LanguageModel small_model(const verify::Settings& settings) {
  Config c;
  c.hidden_size = 32;
  c.num_hidden_layers = 2;
  c.num_attn_heads = 4;
  c.num_lact_heads = 2;
  c.lact_chunk_size = 8;
  c.window_size = 6;
  c.w0_w2_low_rank = 4;
  c.intermediate_size = 48;
  c.initializer_range = 0.3;
  c.vocab_size = 61;
  c.use_muon = true;
  auto model = LanguageModel::fresh(c, 5, settings.device);
  for (auto& [name, parameter] : model.parameters()) parameter.set_data(parameter.to(at::kDouble));
  model.set_compute_dtype(at::kDouble);
  return model;
}

/// Some tokens of the small model's 61.
Tensor some_tokens(int64_t factor, const verify::Settings& settings) {
  const auto numbers = at::arange(kLength, at::kLong);
  return (numbers * numbers * factor + 3).remainder(61).view({1, -1}).to(settings.device);
}

verify::Seen streamed(const verify::Settings& settings) {
  const at::NoGradGuard no_graph;
  const auto model = small_model(settings);
  const auto ids = some_tokens(7, settings);
  const auto want = model.forward(ids);
  double worst = 0;
  for (const int64_t group : {1, 7}) {
    auto reading = model.start(1);
    std::vector<Tensor> logits;
    for (int64_t t = 0; t < kLength; t += group)
      logits.push_back(model.feed(reading, ids.slice(1, t, std::min(t + group, kLength)), true));
    const double error =
        ((at::cat(logits, 1) - want).abs().max() / want.abs().max()).item<double>();
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  // Newton-Schulz multiplies float64's rounding where a chunk is narrower than a head.
  return {worst, 1e-9, ""};
}

verify::Seen documents(const verify::Settings& settings) {
  const at::NoGradGuard no_graph;
  const auto model = small_model(settings);
  auto numbers = at::zeros({1, kLength}, at::kLong);
  numbers.slice(1, kBorder).fill_(1);
  const auto ids = some_tokens(7, settings), other = ids.clone();
  other.slice(1, 0, kBorder).copy_(some_tokens(11, settings).slice(1, 0, kBorder));
  const auto second = [&](const Tensor& row) {
    return model.forward(row, numbers, Reset::all).slice(1, kBorder);
  };
  const double leaked = (second(ids) - second(other)).abs().max().item<double>();
  return {std::isfinite(leaked) ? leaked : INFINITY, 0, ""};
}

}  // namespace

std::vector<verify::GoldenKind> golden_kinds() {
  return {{"layer", "qkv.weight", layer},
          {"model", "input_ids", model},
          {"stream", "input_ids", stream}};
}

std::vector<verify::Check> model_checks() {
  return {{"a language model fed in pieces equals the whole", streamed},
          {"nothing leaks across documents of a language model", documents}};
}

}  // namespace lact::text
