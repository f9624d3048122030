#include "model_options.hpp"

#include <lact/error.hpp>

#include <CLI/CLI.hpp>

namespace lact::views {

void ModelOptions::declare(CLI::App& app) {
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group("Model");
  };
  const auto size = CLI::Range(int64_t{1}, int64_t{1} << 20, "POSITIVE");
  add("--preset", preset_, "named configuration (default: tiny)")
      ->check(CLI::IsMember(Config::presets()));
  add("--dim", dim_, "width of the model")->check(size);
  add("--layers", layers_, "blocks")->check(size);
  add("--patch-size", patch_, "pixels of a token's side")->check(size);
  add("--attention-head-dim", attention_head_, "width of an attention head; divides the model's")
      ->check(size);
  add("--fast-head-dim", fast_head_, "width of a head of fast weights; divides the model's")
      ->check(size);
  add("--inter-multi", inter_multi_, "hidden width of the fast weights, in widths of their head");
  add("--mlp-multi", mlp_multi_, "hidden width of the feed-forward network, in model widths");
  add("--base-lr", base_lr_, "inner rate of an untrained projection");
  add("--muon-update-steps", muon_steps_, "Newton-Schulz steps of an update; 0: only scaled")
      ->check(CLI::Range(int64_t{0}, int64_t{100}));
  add("--muon-dtype", muon_dtype_,
      "of Newton-Schulz: bfloat16 as in the published models, float32; auto: as the products")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
  add("--normalize-poses", normalize_,
      "scenes in a frame and scale of their own: by all views of a step (as published for scenes), "
      "by its inputs, or none (objects)")
      ->check(CLI::IsMember({"none", "all", "inputs"}));
}

bool ModelOptions::given() const {
  return !preset_.empty() || dim_ || layers_ || patch_ || attention_head_ || fast_head_ ||
         muon_steps_ || inter_multi_ || mlp_multi_ || base_lr_ || muon_dtype_ || normalize_;
}

Config ModelOptions::resolve(const Config* base) const {
  if (base != nullptr && !preset_.empty())
    throw Error(Exit::usage, "--preset and --init-from: only one of them says what the model is");
  Config c = base != nullptr ? *base : Config::preset(preset_.empty() ? "tiny" : preset_);
  if (patch_) c.patch_size = *patch_;
  if (layers_) c.layers = *layers_;
  if (muon_dtype_) c.muon_dtype = *muon_dtype_;
  if (normalize_) c.normalize_poses = *normalize_;
  if (dim_) {
    // One head stays one head.
    for (auto& s : c.block)
      if (s.kind == Sublayer::Kind::fast_weights && s.head_dim == c.dim) s.head_dim = *dim_;
    c.dim = *dim_;
  }
  for (auto& s : c.block) {
    if (s.kind == Sublayer::Kind::attention) s.head_dim = attention_head_.value_or(s.head_dim);
    if (s.kind == Sublayer::Kind::mlp) s.inter_multi = mlp_multi_.value_or(s.inter_multi);
    if (s.kind != Sublayer::Kind::fast_weights) continue;
    s.head_dim = fast_head_.value_or(s.head_dim);
    s.inter_multi = inter_multi_.value_or(s.inter_multi);
    s.base_lr = base_lr_.value_or(s.base_lr);
    s.muon_steps = muon_steps_.value_or(s.muon_steps);
  }
  c.check("model");
  return c;
}

}  // namespace lact::views
