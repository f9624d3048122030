#pragma once
// config.json of the views model: the published YAML keys (spec/views 6), as JSON.

#include <lact/io/checkpoint.hpp>
#include <lact/nn/parameters.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lact::views {

/// One residual sublayer of a block, x + f(LayerNorm(x)).
struct Sublayer {
  enum class Kind { attention, fast_weights, mlp };
  Kind kind = Kind::mlp;
  bool per_view = false;   ///< length_dim "l": each view is a sequence of its own
  int64_t head_dim = 64;   ///< attention, fast weights
  double inter_multi = 4;  ///< hidden width in widths: fast weights, mlp
  bool qk_norm = true;     ///< attention
  bool causal = false;     ///< attention
  double base_lr = 0.01;   ///< fast weights: inner rate of a projection of zero
  int64_t muon_steps = 5;  ///< fast weights; 0: only the scaling
  bool operator==(const Sublayer&) const = default;
};

struct Config {
  int64_t patch_size = 8, dim = 768, layers = 24;
  std::vector<Sublayer> block;  ///< the same in every layer
  // Ours; published files do not say.
  std::string muon_dtype = "auto";       ///< "bfloat16" as released, "float32"; auto: the products'
  std::string learn = "all";             ///< "last": only w1 is updated; "none": nothing is
  std::string normalize_poses = "none";  ///< "all": over context and targets (scenes); "context"
  bool says_poses = true;                ///< false: a bare file, from which it cannot be told
  int64_t width = 0, height = 0;         ///< of the images it was trained on; 0: nobody says

  int64_t hidden(const Sublayer& s) const;  ///< of fast weights (per head) or mlp
  int64_t heads(const Sublayer& s) const { return dim / s.head_dim; }
  /// Attention per view, fast weights over all, mlp: what is released.
  static std::vector<Sublayer> published_block(int64_t attention_head, int64_t fast_head,
                                               double inter_multi);

  /// Errors   65 naming `what` and the key
  static Config from_json(const nlohmann::json& values, const std::string& what);
  nlohmann::ordered_json to_json() const;
  /// config.json beside the tensors, or else inferred from their names and shapes: what these do
  /// not tell (base_lr, Newton-Schulz steps, causal) is as published. Errors   65 if the names are
  /// of another model
  static Config of(const io::Checkpoint& checkpoint);
  /// What a bare file leaves open, by the name of a published checkpoint: obj_res512.pt,
  /// scene_res288x512.pt (height first). Another name says nothing.
  void heed_name(const std::filesystem::path& location);
  /// Errors   78 naming the keys: heads that do not divide, sizes out of range
  void check(const std::string& what) const;

  /// "tiny", "small" (ours), "lact_l14_d768_ttt2x", "lact_l24_d768_ttt2x", "lact_l24_d768_ttt4x".
  static Config preset(const std::string& name);
  static std::vector<std::string> presets();
};

/// Published names and shapes of all parameters, in the order of the specification's table.
nn::Shapes parameter_shapes(const Config& config);

}  // namespace lact::views
