#include "model_options.hpp"

#include <lact/error.hpp>

#include <algorithm>

namespace lact::video {
namespace {

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

void ModelOptions::declare(cli::Options options) {
  auto group = options.group("Model");
  group.add("--preset", preset_, "named configuration")
      .words(Config::presets())
      .initially("tiny")
      .renamed("nano", "tiny");
  group
      .add("--model-config", config_file_,
           "take the configuration from a config.json, or from the published program's YAML, in "
           "place of a preset")
      .value("FILE");
  declare_extras(group);
  declare_sizes(group);
  declare_layer(group);
}

void ModelOptions::declare_sizes(cli::Options options) {
  const auto size = [&](const char* name, std::optional<int64_t>& variable, const char* help) {
    options.add(name, variable, help).at_least(1);
  };
  size("--dim", dim_, "width of the model");
  size("--ffn-dim", ffn_dim_, "width of the feed-forward network");
  size("--num-heads", heads_, "attention heads; must divide --dim");
  size("--num-layers", layers_, "number of blocks");
  size("--freq-dim", freq_dim_, "width of the sinusoidal time embedding");
  size("--text-dim", text_dim_, "width of a prompt's rows");
  size("--text-len", text_len_, "rows of a prompt");
  size("--patch-size", patch_, "side of a token's patch in latent pixels");
  size("--patch-frames", patch_frames_, "latent frames per token");
}

void ModelOptions::declare_layer(cli::Options options) {
  options
      .add(
          "--learn", learn_,
          "matrices that an update changes: all, only the last (w1), or none: the fast weights are "
          "applied but learn nothing from the film, for comparison")
      .words({"all", "last", "none"});
  options.add("--use-fast-weights", fast_,
              "use fast weights; false: a plain Wan transformer, in which no chunk sees another");
  options.renamed("--fast-weights", "on", "--learn", "all");
  options.renamed("--fast-weights", "off", "--learn", "none");
  options.renamed("--fast-weights", "none", "--use-fast-weights", "false");
  options.add("--attn-every-n-layers", every_, "leave plain attention in every N-th block")
      .at_least(1);
  options.add("--fw-head-dim", fast_head_, "width of a head of fast weights; must divide --dim")
      .at_least(1);
  options.add("--inter-multi", inter_multi_,
              "hidden width of the fast weights as a multiple of their head's width");
  options.add("--qk-l2-norm", l2_norm_, "scale fast queries and keys to length 1");
  options.add("--qkv-silu", silu_, "apply SiLU to fast queries, keys and values");
  options.add("--l2-norm-before-silu", l2_first_, "scale to length 1 before SiLU, not after it");
  options.add("--use-muon", muon_, "orthogonalize each update");
  options.add("--num-muon-iters", muon_steps_, "Newton-Schulz steps per update").range(1, 100);
  options.add("--weight-norm", weight_norm_, "rescale rows of fast weights to their initial norms");
  options.add("--use-momentum", momentum_,
              "momentum of the updates, with a learned coefficient per token");
  options.add("--learnable-ttt-scale", learnable_,
              "scale the fast weights' output by a learned gate");
  options.add("--ttt-scale", scale_, "scale of the fast weights' output where it is not learned");
  options
      .add("--kv-cache-size", kv_cache_,
           "tokens of the preceding chunk that a chunk attends to; -1: all")
      .range(-1, 1 << 30);
  options.add("--ttt-scale-bias", scale_bias_,
              "initial bias of the learned gate (default: 1; 0 with --init-from of a model without "
              "fast weights, which then begins as it was)");
  options.add("--momentum-bias", momentum_bias_,
              "initial bias of the momentum coefficient, before its sigmoid");
  options.add("--base-lr", base_lr_, "inner learning rate before training");
  options.add("--w-init", init_, "initial fast weights").words({"clean", "identity", "mup"});
}

void ModelOptions::declare_extras(cli::Options options) {
  options.add("--chunk-frames", chunk_frames_, "latent frames per chunk").at_least(1);
  options.add("--codec", codec_, "codec that turns frames into latents")
      .words({"pixels", "unshuffle", "pca", "wan"});
  options
      .add("--codec-factor", factor_,
           "side of a latent in pixels, for the codecs unshuffle and pca")
      .range(int64_t{1}, kMostFactor);
  options.add("--codec-channels", channels_, "channels of a latent, for the codec pca").at_least(1);
  options.add("--condition", condition_, "condition that a clip is generated from")
      .words({"none", "class", "bytes", "umt5"});
  options
      .add("--shift", shift_,
           "shift of the training times towards noise; 0: by the number of tokens per chunk, as "
           "published")
      .range(0.0, 1000.0);
  options
      .add("--sample-shift", sample_shift_,
           "default time shift for sampling from this model; 0: by the number of tokens per chunk")
      .range(0.0, 1000.0);
}

bool ModelOptions::given() const {
  const auto any = [](const auto&... one) { return (one.has_value() || ...); };
  return !config_file_.empty() ||
         any(preset_, dim_, ffn_dim_, heads_, layers_, freq_dim_, text_dim_, text_len_, patch_,
             patch_frames_, chunk_frames_, every_, fast_head_, muon_steps_, kv_cache_, factor_,
             channels_, inter_multi_, scale_, scale_bias_, momentum_bias_, base_lr_, shift_,
             sample_shift_, l2_norm_, silu_, l2_first_, muon_, weight_norm_, momentum_, learnable_,
             init_, learn_, fast_, codec_, condition_);
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
  if (scale_bias_) layer.scale_bias = scale_bias_;
  if (momentum_bias_) layer.momentum_bias = momentum_bias_;
  change(layer.init, init_);
  change(layer.learn, learn_);
}

void ModelOptions::change_extras(Config& c) const {
  change(c.chunk_frames, chunk_frames_);
  change(c.codec.type, codec_);
  change(c.codec.factor, factor_);
  change(c.condition, condition_);
  change(c.shift, shift_);
  change(c.sample_shift, sample_shift_);
  if (!codec_ && !factor_ && !channels_) return;
  const bool pixels = c.codec.type == "pixels", wan = c.codec.type == "wan";
  if (factor_ && (pixels || wan))
    throw Error(Exit::usage, "--codec-factor: only for unshuffle and pca, not for ", c.codec.type);
  c.codec.resolve();
  const int64_t all = 3 * c.codec.factor * c.codec.factor;
  c.in_dim = c.codec.type == "pca" ? channels_.value_or(std::min<int64_t>(16, all))
             : wan                 ? 16
                                   : all;
  c.out_dim = c.in_dim;
}

Config ModelOptions::resolve(const Config* base) const {
  if (base != nullptr && preset_)
    throw Error(Exit::usage, "--preset and --init-from exclude each other");
  if (!config_file_.empty() && preset_)
    throw Error(Exit::usage, "--preset and --model-config exclude each other");
  const bool converts = base != nullptr && config_file_.empty();
  Config c = !config_file_.empty() ? Config::open(config_file_)
             : base != nullptr     ? *base
                                   : Config::preset(preset());
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
  change_extras(c);
  if (fast_ == false) {
    c.fast.reset();
  } else {
    if (!c.fast && (converts || fast_)) {  // as the released configuration converts it
      c.fast.emplace();
      c.fast->head_dim = default_fast_head(c.dim);
      c.attn_every_n_layers = every_.value_or(100);
    }
    if (c.fast) change_layer(*c.fast);
  }
  return c;
}

}  // namespace lact::video
