#include "config.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

using nn::Shapes;

constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kMostLayers = 1000;
constexpr int64_t kNarrow = 512;
constexpr int64_t kMostClasses = 100'000;
constexpr int64_t kByteRows = 257;  // one for each byte, and one for the end

/// Linear layer `name` of a list of shapes.
void add_linear(Shapes& shapes, const std::string& name, int64_t out, int64_t in) {
  shapes.push_back({name + ".weight", {out, in}});
  shapes.push_back({name + ".bias", {out}});
}

void add_attention(Shapes& shapes, const std::string& name, int64_t d) {
  for (const auto* one : {"q", "k", "v", "o"}) add_linear(shapes, concat(name, ".", one), d, d);
  shapes.push_back({name + ".norm_q.weight", {d}});
  shapes.push_back({name + ".norm_k.weight", {d}});
}

/// What LaCT adds to a self attention.
void add_fast(Shapes& shapes, const std::string& name, const Config& c) {
  const int64_t d = c.dim, heads = c.fast_heads(), k = c.fast_head_dim(), f = c.fast_hidden();
  shapes.push_back({name + ".w0", {heads, f, k}});
  shapes.push_back({name + ".w1", {heads, k, f}});
  shapes.push_back({name + ".w2", {heads, f, k}});
  shapes.push_back({name + ".qk_scale", {d, 2}});
  shapes.push_back({name + ".qk_offset", {d, 2}});
  add_linear(shapes, name + ".lr_proj", 3 * heads, d);
  shapes.push_back({name + ".output_norm.weight", {k}});
  if (c.fast->momentum) add_linear(shapes, name + ".momentum_proj.0", heads, d);
  if (c.fast->learnable_scale) add_linear(shapes, name + ".ttt_scale_proj", 1, d);
}

Config wan(int64_t dim, int64_t ffn_dim, int64_t heads, int64_t layers) {
  Config c;
  c.dim = dim;
  c.ffn_dim = ffn_dim;
  c.num_heads = heads;
  c.num_layers = layers;
  c.codec = {"wan", 8};
  c.condition = "umt5";
  c.width = 832;
  c.height = 480;
  return c;
}

/// A fast-weight layer trained from scratch on short chunks (spec/video 10).
FastOptions small_layer(int64_t head_dim) {
  FastOptions fast;
  fast.head_dim = head_dim;
  fast.base_lr = 0.02;
  return fast;
}

/// 16 x 16 pixels, chunks of 2 frames.
Config tiny() {
  Config c;
  c.dim = 96;
  c.ffn_dim = 256;
  c.num_heads = 4;
  c.num_layers = 3;
  c.in_dim = c.out_dim = 3;
  c.patch_size = {1, 4, 4};
  c.freq_dim = 64;
  c.text_dim = 16;
  c.text_len = 1;
  c.fast = small_layer(48);
  c.chunk_frames = 2;
  c.shift = c.sample_shift = 2;
  c.width = c.height = 16;
  return c;
}

/// 32 x 32 pixels, two by two in a latent, chunks of 4 frames.
Config small() {
  Config c;
  c.dim = 256;
  c.ffn_dim = 1024;
  c.num_heads = 4;
  c.num_layers = 8;
  c.in_dim = c.out_dim = 12;
  c.text_dim = 64;
  c.text_len = 4;
  c.fast = small_layer(128);
  c.chunk_frames = 4;
  c.codec = {"unshuffle", 2};
  c.shift = c.sample_shift = 2;
  c.width = c.height = 32;
  return c;
}

Config with_fast(Config c, int64_t head_dim, double inter_multi) {
  c.fast.emplace();
  c.fast->head_dim = head_dim;
  c.fast->inter_multi = inter_multi;
  return c;
}

}  // namespace

void CodecOptions::resolve() {
  if (type == "pixels") factor = 1;
  if (type == "wan") factor = 8;
}

int64_t CodecOptions::frames(int64_t latents) const {
  return type == "wan" ? 1 + 4 * (latents - 1) : latents;
}

bool Config::has_fast(int64_t block) const {
  return fast && block % attn_every_n_layers != attn_every_n_layers - 1;
}

int64_t Config::fast_head_dim() const {
  return fast && fast->head_dim >= 1 ? fast->head_dim : head_dim();
}

int64_t Config::fast_hidden() const {
  // A multiple that was a quotient of widths must give the width back.
  const double multi = fast ? fast->inter_multi : 0;
  return static_cast<int64_t>(static_cast<double>(fast_head_dim()) * multi * (1 + 1e-12));
}

void Config::check(const std::string& what) const {
  const auto refuse = [&](const auto&... why) { throw Error(Exit::config, what, ": ", why...); };
  const auto size = [&](const char* key, int64_t value, int64_t most = kLargestSize) {
    if (value < 1 || value > most) refuse(key, ": must be 1 to ", most, ", not ", value);
  };
  const auto divides = [&](const char* key, int64_t part, const char* whole_key, int64_t whole) {
    if (whole % part != 0) refuse(whole_key, " ", whole, " is not divisible by ", key, " ", part);
  };
  size("dim", dim);
  size("ffn_dim", ffn_dim);
  size("num_heads", num_heads, dim);
  divides("num_heads", num_heads, "dim", dim);
  if (head_dim() % 2 != 0)
    refuse("num_heads: heads of even width can be rotated, not ", head_dim());
  size("num_layers", num_layers, kMostLayers);
  size("in_dim", in_dim, 1 << 16);
  if (out_dim != in_dim) refuse("out_dim: must be in_dim, ", in_dim, ", not ", out_dim);
  size("freq_dim", freq_dim);
  divides("2", 2, "freq_dim", freq_dim);
  size("text_dim", text_dim);
  size("text_len", text_len, 1 << 16);
  for (const int64_t one : patch_size) size("patch_size", one, 1024);
  if (!(eps > 0 && eps < 1)) refuse("eps: must be between 0 and 1, not ", eps);
  size("attn_every_n_layers", attn_every_n_layers);
  size("chunk_frames", chunk_frames, 1 << 16);
  divides("patch_size", patch_size[0], "chunk_frames", chunk_frames);
  if (fast) {
    if (fast->head_dim > dim) refuse("fw_head_dim: must be at most dim, not ", fast->head_dim);
    divides("fw_head_dim", fast_head_dim(), "dim", dim);
    if (!(fast->inter_multi > 0 && fast->inter_multi <= 1000) || fast_hidden() < 1)
      refuse("inter_multi: must be above 0 and at most 1000, not ", fast->inter_multi);
    if (fast->muon_steps < 0 || fast->muon_steps > 100)
      refuse("num_muon_iters: must be 0 to 100, not ", fast->muon_steps);
    if (!std::isfinite(fast->scale)) refuse("ttt_scale: must be a number");
    if (fast->kv_cache_size < -1)
      refuse("kv_cache_size: must be -1 or more, not ", fast->kv_cache_size);
    if (!(fast->base_lr > 0 && fast->base_lr < 1e4))
      refuse("base_lr: must be above 0, not ", fast->base_lr);
    const bool square = fast_hidden() == fast_head_dim() || fast_hidden() == 2 * fast_head_dim();
    if (fast->init == "identity" && !square)
      refuse("w_init: identity wants an inter_multi of 1 or 2, not ", fast->inter_multi);
  }
  if (codec.factor < 1 || codec.factor > kMostFactor)
    refuse("codec: factor: must be 1 to ", kMostFactor, ", not ", codec.factor);
  if (condition == "class" && classes.empty()) refuse("classes: condition class needs their names");
  if (static_cast<int64_t>(classes.size()) > kMostClasses)
    refuse("classes: at most ", kMostClasses, ", not ", classes.size());
  const auto shifts = [&](const char* key, double value) {
    if (!(value >= 0 && value <= 1000)) refuse(key, ": must be 0 to 1000, not ", value);
  };
  shifts("shift", shift);
  shifts("sample_shift", sample_shift);
  if (width < 0 || width > kLargestSize || height < 0 || height > kLargestSize)
    refuse("width, height: cannot be ", width, " x ", height);
  if (!(rate > 0 && rate <= 1e6)) refuse("rate: must be above 0, not ", rate);
}

std::vector<std::string> Config::presets() {
  return {"tiny", "small", "wan_1.3b", "wan_14b", "wan_t2v_1.3b", "wan_t2v_14b"};
}

Config Config::preset(const std::string& name) {
  const auto small_wan = wan(1536, 8960, 12, 30), large_wan = wan(5120, 13824, 40, 40);
  if (name == "tiny") return tiny();
  if (name == "small") return small();
  if (name == "wan_1.3b") return with_fast(small_wan, 768, 2);
  // Its layer was not released: 4 heads of 1280 x 1280 are the state of the paper, 0.75 dim^2.
  if (name == "wan_14b") return with_fast(large_wan, 1280, 1);
  if (name == "wan_t2v_1.3b") return small_wan;
  if (name == "wan_t2v_14b") return large_wan;
  std::string list;
  for (const auto& one : presets()) list += (list.empty() ? "" : ", ") + one;
  throw Error(Exit::usage, "--preset ", name, ": expected one of ", list);
}

std::string usual_dtype(const std::string& asked, const Config& config) {
  return asked == "auto" && config.dim < kNarrow ? "float32" : asked;
}

std::vector<int64_t> condition_shape(const Config& config) {
  if (config.condition == "class")
    return {static_cast<int64_t>(config.classes.size()) + 1, config.text_len, config.text_dim};
  if (config.condition == "bytes") return {kByteRows, config.text_dim};
  return {};
}

Shapes parameter_shapes(const Config& c) {
  const int64_t d = c.dim;
  const auto& patch = c.patch_size;
  Shapes shapes = {{"patch_embedding.weight", {d, c.in_dim, patch[0], patch[1], patch[2]}},
                   {"patch_embedding.bias", {d}}};
  add_linear(shapes, "text_embedding.0", d, c.text_dim);
  add_linear(shapes, "text_embedding.2", d, d);
  add_linear(shapes, "time_embedding.0", d, c.freq_dim);
  add_linear(shapes, "time_embedding.2", d, d);
  add_linear(shapes, "time_projection.1", 6 * d, d);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const auto block = concat("blocks.", i, ".");
    shapes.push_back({block + "modulation", {1, 6, d}});
    add_attention(shapes, block + "self_attn", d);
    if (c.has_fast(i)) add_fast(shapes, block + "self_attn", c);
    shapes.push_back({block + "norm3.weight", {d}});
    shapes.push_back({block + "norm3.bias", {d}});
    add_attention(shapes, block + "cross_attn", d);
    add_linear(shapes, block + "ffn.0", c.ffn_dim, d);
    add_linear(shapes, block + "ffn.2", d, c.ffn_dim);
  }
  shapes.push_back({"head.modulation", {1, 2, d}});
  add_linear(shapes, "head.head", patch[0] * patch[1] * patch[2] * c.out_dim, d);
  const auto table = condition_shape(c);
  if (!table.empty()) shapes.push_back({"condition.table", table});
  return shapes;
}

}  // namespace lact::video
