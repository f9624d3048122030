#include "model_options.hpp"

#include <lact/error.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>

namespace lact::video {
namespace {

template <class Value>
CLI::Option* add(CLI::App& app, const char* flag, Value& value, const char* text) {
  return app.add_option(flag, value, text)->group("Model");
}

CLI::Range size() {
  return CLI::Range(int64_t{1}, int64_t{1} << 20, "POSITIVE");
}

template <class Value>
void change(Value& value, const std::optional<Value>& given) {
  if (given) value = *given;
}

}  // namespace

int64_t default_fast_head(int64_t dim) {
  for (const int64_t width : {768, 1280})
    if (dim % width == 0) return width;
  return dim;
}

void ModelOptions::declare(CLI::App& app) {
  add(app, "--preset", preset_, "named configuration (default: nano)")
      ->check(CLI::IsMember(Config::presets()));
  declare_surroundings(app);
  declare_sizes(app);
  declare_layer(app);
}

void ModelOptions::declare_sizes(CLI::App& app) {
  add(app, "--dim", dim_, "width of the model")->check(size());
  add(app, "--ffn-dim", ffn_dim_, "width of the feed-forward network")->check(size());
  add(app, "--num-heads", heads_, "attention heads; they divide the width")->check(size());
  add(app, "--num-layers", layers_, "blocks")->check(size());
  add(app, "--freq-dim", freq_dim_, "width of the sinusoids that tell the time")->check(size());
  add(app, "--text-dim", text_dim_, "width of a prompt's rows")->check(size());
  add(app, "--text-len", text_len_, "rows of a prompt")->check(size());
  add(app, "--patch-size", patch_, "latent pixels of a token's side")->check(size());
  add(app, "--patch-frames", patch_frames_, "latent frames of a token")->check(size());
}

void ModelOptions::declare_layer(CLI::App& app) {
  add(app, "--fast-weights", fast_,
      "on; off: they never learn, the window alone at the same number of parameters; none: a plain "
      "Wan transformer, in which no chunk sees another")
      ->check(CLI::IsMember({"on", "off", "none"}));
  add(app, "--attn-every-n-layers", every_, "each n-th block keeps plain attention in its entry")
      ->check(size());
  add(app, "--fw-head-dim", fast_head_, "width of a head of fast weights; divides the model's")
      ->check(size());
  add(app, "--inter-multi", inter_multi_, "hidden width of the fast weights, in head widths");
  add(app, "--qk-l2-norm", l2_norm_, "fast queries and keys of length 1");
  add(app, "--qkv-silu", silu_, "silu on fast queries, keys and values");
  add(app, "--l2-norm-before-silu", l2_first_, "in this order");
  add(app, "--use-muon", muon_, "orthogonalize each update");
  add(app, "--num-muon-iters", muon_steps_, "Newton-Schulz steps of an update")
      ->check(CLI::Range(int64_t{1}, int64_t{100}));
  add(app, "--weight-norm", weight_norm_, "rows of fast weights keep their initial norms");
  add(app, "--use-momentum", momentum_, "momentum of the updates, learned per token");
  add(app, "--learnable-ttt-scale", learnable_, "a learned gate on what fast weights give");
  add(app, "--ttt-scale", scale_, "the factor where it is not learned");
  add(app, "--kv-cache-size", kv_cache_,
      "tokens of the chunk before that a chunk sees; -1: all of them")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 30));
  add(app, "--base-lr", base_lr_, "inner rate of an untrained projection");
  add(app, "--w-init", init_, "initial fast weights")
      ->check(CLI::IsMember({"clean", "identity", "mup"}));
}

void ModelOptions::declare_surroundings(CLI::App& app) {
  add(app, "--chunk-frames", chunk_frames_, "latent frames of a chunk")->check(size());
  add(app, "--codec", codec_, "what stands between frames and latents")
      ->check(CLI::IsMember({"pixels", "unshuffle", "pca", "wan"}));
  add(app, "--codec-factor", factor_, "pixels of a latent's side, of unshuffle and pca")
      ->check(CLI::Range(int64_t{1}, kMostFactor));
  add(app, "--codec-channels", channels_, "channels of a latent, of pca")->check(size());
  add(app, "--condition", condition_, "what a clip is made from")
      ->check(CLI::IsMember({"none", "class", "bytes", "umt5"}));
  add(app, "--shift", shift_,
      "of the times of training towards noise; 0: by the tokens of a chunk, as published")
      ->check(CLI::Range(0.0, 1000.0));
  add(app, "--sample-shift", sample_shift_,
      "what films of this model are made with if nothing else is said; 0: likewise")
      ->check(CLI::Range(0.0, 1000.0));
}

void ModelOptions::change_layer(FastOptions& layer) const {
  change(layer.head_dim, fast_head_);
  change(layer.inter_multi, inter_multi_);
  change(layer.qk_l2_norm, l2_norm_);
  change(layer.qkv_silu, silu_);
  change(layer.l2_norm_before_silu, l2_first_);
  change(layer.muon, muon_);
  change(layer.muon_steps, muon_steps_);
  change(layer.weight_norm, weight_norm_);
  change(layer.momentum, momentum_);
  change(layer.learnable_scale, learnable_);
  change(layer.scale, scale_);
  change(layer.kv_cache_size, kv_cache_);
  change(layer.base_lr, base_lr_);
  change(layer.init, init_);
  if (fast_) layer.updates = *fast_ == "on";
}

void ModelOptions::change_surroundings(Config& c) const {
  change(c.chunk_frames, chunk_frames_);
  change(c.codec.type, codec_);
  change(c.codec.factor, factor_);
  change(c.condition, condition_);
  change(c.shift, shift_);
  change(c.sample_shift, sample_shift_);
  if (!codec_ && !factor_ && !channels_) return;
  const bool pixels = c.codec.type == "pixels", wan = c.codec.type == "wan";
  if (factor_ && (pixels || wan))
    throw Error(Exit::usage, "--codec-factor: of unshuffle and pca; ", c.codec.type,
                " has its own");
  c.codec.settle();
  const int64_t all = 3 * c.codec.factor * c.codec.factor;
  c.in_dim = c.codec.type == "pca" ? channels_.value_or(std::min<int64_t>(16, all))
             : wan                 ? 16
                                   : all;
  c.out_dim = c.in_dim;
}

Config ModelOptions::resolve(const Config* base) const {
  if (base != nullptr && !preset_.empty())
    throw Error(Exit::usage, "--preset and --init-from: only one of them says what the model is");
  Config c = base != nullptr ? *base : Config::preset(preset());
  change(c.ffn_dim, ffn_dim_);
  change(c.num_heads, heads_);
  change(c.num_layers, layers_);
  change(c.freq_dim, freq_dim_);
  change(c.text_dim, text_dim_);
  change(c.text_len, text_len_);
  change(c.attn_every_n_layers, every_);
  if (patch_) c.patch_size[1] = c.patch_size[2] = *patch_;
  change(c.patch_size[0], patch_frames_);
  change(c.dim, dim_);
  change_surroundings(c);
  if (fast_ == "none") {
    c.fast.reset();
  } else {
    if (!c.fast && (base != nullptr || fast_)) {  // as the released configuration converts it
      c.fast.emplace();
      c.fast->head_dim = default_fast_head(c.dim);
      c.attn_every_n_layers = every_.value_or(100);
    }
    if (c.fast) change_layer(*c.fast);
  }
  return c;
}

}  // namespace lact::video
