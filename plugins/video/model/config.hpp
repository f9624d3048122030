#pragma once
// config.json of the video model: Wan's keys, the published `efficient_attn_config`, and ours for
// what stands around the transformer. Source: spec/video 4, 5.1, 10.

#include <lact/io/checkpoint.hpp>
#include <lact/nn/parameters.hpp>

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::video {

/// `efficient_attn_config`: the layer of window attention and fast weights. Defaults are the
/// released ones.
struct FastOptions {
  int64_t head_dim = 768;  ///< fw_head_dim; below 1: the attention's head width
  double inter_multi = 2;
  bool qk_l2_norm = true, qkv_silu = false, l2_norm_before_silu = true;
  bool muon = false;  ///< use_muon, use_moun
  int64_t muon_steps = 5;
  bool weight_norm = true, momentum = false;
  bool learnable_scale = true;  ///< learnable_ttt_scale
  double scale = 1;             ///< ttt_scale, where it is not learned
  int64_t kv_cache_size =
      -1;  ///< tokens of the finished chunk before that a noisy one sees; -1: all
  double base_lr = 0.001;
  /// Ours, of first values alone: the bias of the learned gate (none: 1 from scratch, 0 in a Wan
  /// that gets fast weights), and of the momentum coefficient before its sigmoid.
  std::optional<double> scale_bias, momentum_bias;
  std::string init = "clean";  ///< w_init: "clean", "identity", "mup"
  std::string learn = "all";   ///< ours: "last": only w1 is updated; "none": nothing is
  bool operator==(const FastOptions&) const = default;
};

/// Largest `factor` of a CodecOptions.
constexpr int64_t kMostFactor = 32;

/// What stands between frames and latents.
struct CodecOptions {
  std::string type = "pixels";  ///< "pixels", "unshuffle", "pca", "wan"
  int64_t factor = 1;           ///< pixels of a latent's side: a choice of unshuffle and pca
  /// Gives pixels and wan the factor that they have.
  void resolve();
  /// As Codec::frames, whose tensors need not be here.
  int64_t frames(int64_t latents) const;
  bool operator==(const CodecOptions&) const = default;
};

struct Config {
  int64_t dim = 1536, ffn_dim = 8960, num_heads = 12, num_layers = 30;
  int64_t in_dim = 16, out_dim = 16, freq_dim = 256, text_dim = 4096, text_len = 512;
  std::array<int64_t, 3> patch_size{1, 2, 2};
  double eps = 1e-6;
  std::optional<FastOptions> fast;    ///< none: plain Wan, no entry sees another
  int64_t attn_every_n_layers = 100;  ///< blocks i with i % n == n - 1 keep plain full attention
  int64_t chunk_frames = 3;           ///< latent frames of a chunk (ar_window_f)

  // Ours.
  CodecOptions codec;
  std::string condition = "none";    ///< "none", "class", "bytes", "umt5"
  std::vector<std::string> classes;  ///< names, of condition "class"
  double shift = 0;         ///< of times in training; 0: by the tokens of a chunk (spec/video 6)
  double sample_shift = 3;  ///< of times in sampling, unless told otherwise; 0: likewise
  int64_t width = 0, height = 0;  ///< pixels of the frames it was trained on; 0: unknown
  double rate = 16;               ///< frames per second

  bool has_fast(int64_t block) const;
  int64_t head_dim() const { return dim / num_heads; }
  int64_t fast_head_dim() const;
  int64_t fast_heads() const { return dim / fast_head_dim(); }
  int64_t fast_hidden() const;

  /// Errors   65 naming `what` and the key
  static Config from_json(const nlohmann::json& values, const std::string& what);
  /// A config.json, or the published program's YAML, of which model_config is taken, the shifts of
  /// the times and the frames of a chunk.
  /// Errors   65 naming the file, the line or key; 66
  static Config open(const std::filesystem::path& file);
  nlohmann::ordered_json to_json() const;
  /// config.json beside the tensors (ours, Wan's or diffusers'), or else inferred from their names
  /// and shapes: what these do not tell is as published. Errors   65 if the names are of another
  /// model
  static Config of(const io::Checkpoint& checkpoint);
  /// Errors   78 naming the keys: heads that do not divide, sizes out of range
  void check(const std::string& what) const;

  /// "tiny", "small" (spec/video 10); with fast weights "wan_1.3b", as published, and "wan_14b",
  /// whose layer was not (see there); without "wan_t2v_1.3b", "wan_t2v_14b". Errors   64
  static Config preset(const std::string& name);
  static std::vector<std::string> presets();
};

/// What --dtype means: products of narrow models gain nothing from bfloat16 and lose digits, so
/// that "auto" is float32 for them.
std::string usual_dtype(const std::string& asked, const Config& config);

/// Shape of `condition.table`: "class" [classes + 1, text_len, text_dim], the last for "no class";
/// "bytes" [257, text_dim], a row for each byte and one for the end; empty for the others.
std::vector<int64_t> condition_shape(const Config& config);

/// Official names and shapes of all parameters in the order of the specification's table; with
/// condition "class" or "bytes" also `condition.table`, with codec "pca" the buffers `codec.mean`,
/// `codec.basis`, `codec.scale` are not among them (see codec.hpp).
nn::Shapes parameter_shapes(const Config& config);

}  // namespace lact::video
