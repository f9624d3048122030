#include "model_options.hpp"

#include <lact/error.hpp>

namespace lact::views {

void ModelOptions::declare(cli::Options options) {
  auto group = options.group("Model");
  const auto size = [&](const char* name, std::optional<int64_t>& variable, const char* help) {
    group.add(name, variable, help).at_least(1);
  };
  group.add("--preset", preset_, "named configuration").words(Config::presets()).initially("tiny");
  size("--dim", dim_, "width of the model");
  size("--layers", layers_, "number of blocks");
  size("--patch-size", patch_, "side of a token's patch in pixels");
  size("--attention-head-dim", attention_head_, "width of an attention head; must divide --dim");
  size("--fast-head-dim", fast_head_, "width of a head of fast weights; must divide --dim");
  group.add("--inter-multi", inter_multi_,
            "hidden width of the fast weights as a multiple of their head's width");
  group.add("--mlp-multi", mlp_multi_,
            "hidden width of the feed-forward network as a multiple of --dim");
  group.add("--base-lr", base_lr_, "inner learning rate before training");
  group.add("--muon-update-steps", muon_steps_, "Newton-Schulz steps per update; 0: only scale")
      .range(0, 100);
  group
      .add("--muon-dtype", muon_dtype_,
           "number type of Newton-Schulz; auto: that of the products; published models: bfloat16")
      .words({"auto", "bfloat16", "float32"});
  group
      .add(
          "--learn", learn_,
          "matrices that an update changes: all, only the last (w1), or none: the fast weights are "
          "applied but learn nothing from the context, for comparison")
      .words({"all", "last", "none"});
  group
      .add("--normalize-poses", normalize_,
           "put each scene into a frame and scale of its own: over all views of a step (as "
           "published for scenes), over its context views, or not at all (objects)")
      .words({"none", "all", "context"})
      .renamed("inputs", "context");
}

bool ModelOptions::given() const {
  return preset_ || dim_ || layers_ || patch_ || attention_head_ || fast_head_ || muon_steps_ ||
         inter_multi_ || mlp_multi_ || base_lr_ || muon_dtype_ || normalize_ || learn_;
}

Config ModelOptions::resolve(const Config* base) const {
  if (base != nullptr && preset_)
    throw Error(Exit::usage, "--preset and --init-from exclude each other");
  Config c = base != nullptr ? *base : Config::preset(preset_.value_or("tiny"));
  if (patch_) c.patch_size = *patch_;
  if (layers_) c.layers = *layers_;
  if (muon_dtype_) c.muon_dtype = *muon_dtype_;
  if (learn_) c.learn = *learn_;
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
