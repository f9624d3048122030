#pragma once
// config.json of the language model: the published keys (spec/llm 9).

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::io {
class Checkpoint;
}

namespace lact::text {

/// The keys that change the mathematics, with the published defaults. `other` keeps the rest of a
/// file that was read, so that writing it back loses nothing.
struct Config {
  int64_t hidden_size = 2048;
  int64_t num_hidden_layers = 24;
  int64_t num_attn_heads = 32;
  int64_t num_lact_heads = 4;
  double inter_multi = 1;
  bool qkv_bias = false;
  bool attn_qk_norm = false;
  int64_t lact_chunk_size = 2048;
  bool use_muon = false;
  int64_t lr_dim = 1;
  bool qkv_silu = true;
  bool no_v_silu = false;
  bool learnable_ttt_scale = true;
  bool use_momentum = true;
  bool ttt_prenorm = false;
  bool ttt_nope = false;
  bool use_fused_kernel = false;
  bool fp32_states = false;
  int64_t w0_w2_low_rank = -1;
  double fw_init_gain = 0.5;
  std::optional<int64_t> window_size = 2048;  ///< none: full attention
  double rope_theta = 10000;
  std::optional<double> hidden_ratio = 4;
  std::optional<int64_t> intermediate_size;
  double initializer_range = 0.006;
  double norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  int64_t vocab_size = 32000;
  std::optional<int64_t> pad_token_id;
  std::optional<int64_t> bos_token_id = 1;
  std::optional<int64_t> eos_token_id = 2;
  int64_t max_position_embeddings = 2048;
  /// Ours: false switches the fast-weight path off (the comparison the method is measured against).
  bool use_fast_weights = true;
  // Ours too: what the published keys cannot say of the operator (ops/rule.hpp).
  std::string update_rule;                         ///< by name; empty: by use_muon, use_momentum
  std::string ns_coefficients = "language_model";  ///< or "keller_jordan" (views, video)
  int64_t ns_steps = 5;     ///< beyond the coefficients, the last is repeated; 0: only scaling
  bool ns_stacked = false;  ///< gate and up orthogonalized as one matrix
  std::string weight_norm = "on";      ///< "off", "detached"
  std::string learn = "all";           ///< "last": only down (w1) is updated; "none": nothing is
  std::string fast_weight = "swiglu";  ///< "linear": one matrix (w1), and one rate
  double base_lr = 1e-3;               ///< inner rate of a projection of zero
  double ttt_scale_bias = 0;           ///< initial bias of the learned output scale
  double momentum_bias = 0;            ///< initial bias of the momentum coefficient, before sigmoid

  /// All of a file that has a list of them; else empty.
  std::vector<int64_t> eos_token_ids;

  nlohmann::json other = nlohmann::json::object();

  int64_t attn_head_width() const { return hidden_size / num_attn_heads; }
  int64_t fast_width() const { return hidden_size / num_lact_heads; }
  int64_t fast_hidden() const {
    return static_cast<int64_t>(static_cast<double>(fast_width()) * inter_multi);
  }
  int64_t mlp_hidden() const;
  bool linear() const { return fast_weight == "linear"; }

  /// Errors   65 naming `what` and the key: a wrong type, a value that cannot work
  static Config from_json(const nlohmann::json& values, const std::string& what);
  /// That of a model's config.json, with a warning that names keys which nobody knows.
  static Config of(const io::Checkpoint& checkpoint);
  /// The same of a config.json alone. Errors: 66 if it is missing, 65 as above
  static Config open(const std::string& file);
  /// Everything, with model_type and architectures.
  nlohmann::json to_json() const;
  /// Errors   78 naming the keys: heads that do not divide, an odd head width, lr_dim that fits
  /// nothing
  void check(const std::string& what) const;

  /// "tiny" and "60m" (ours), "760m" and "3b" (as shipped). Errors: 64 with the list.
  static Config preset(const std::string& name);
  /// Every key with the kind of its value ("N", "true|false", "N|null"), in the order of the file.
  static std::vector<std::pair<std::string, std::string>> keys();

 private:
  static Config told(const nlohmann::json& values, const std::string& file);
};

/// The ids that a model's generation_config.json calls an end of text; none if it has no such file,
/// or that says nothing. Errors: 65 naming it
std::vector<int64_t> generation_ends(const io::Checkpoint& checkpoint);

}  // namespace lact::text
