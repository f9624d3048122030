#include "model_options.hpp"

#include <lact/error.hpp>

#include <algorithm>

namespace lact::text {
namespace {

std::string flag(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

const std::map<std::string, std::string>& descriptions() {
  static const std::map<std::string, std::string> table = {
      {"vocab_size", "rows of the embedding (default with --data: the tokenizer's pieces)"},
      {"hidden_size", "width of the model"},
      {"num_hidden_layers", "number of blocks"},
      {"num_attn_heads", "attention heads; must divide the width into even parts"},
      {"num_lact_heads", "heads of fast weights; must divide the width"},
      {"inter_multi", "hidden width of the fast weights as a multiple of their head's width"},
      {"hidden_ratio",
       "width of the feed-forward network as a multiple of 2/3 of the model's width, rounded up to "
       "256"},
      {"intermediate_size", "exact width of the feed-forward network"},
      {"lact_chunk_size", "tokens per chunk: tokens that share one update"},
      {"window_size", "tokens that a query attends to, itself included; null: all before it"},
      {"use_muon", "orthogonalize each update"},
      {"use_momentum", "momentum of the updates, with a learned coefficient per token"},
      {"ttt_prenorm", "accumulate weights that are not normalized, and apply a normalized copy"},
      {"ttt_nope", "leave fast queries and keys without rotary embedding"},
      {"use_fused_kernel", "use the arithmetic of the published fused kernels"},
      {"fp32_states", "keep initial fast weights in float32"},
      {"lr_dim", "channels of a token's inner learning rate: 1, or the width of a head"},
      {"learnable_ttt_scale",
       "scale the fast weights' output by a learned factor per token and head"},
      {"qkv_bias", "add a bias to the shared projection"},
      {"attn_qk_norm", "normalize the queries and keys of the attention"},
      {"qkv_silu", "apply SiLU to fast queries, keys and values"},
      {"no_v_silu", "leave values without SiLU (with --qkv-silu)"},
      {"w0_w2_low_rank", "rank of the initial gate and up matrices; -1: full"},
      {"fw_init_gain", "scale of initial fast weights of low rank"},
      {"rope_theta", "base of the rotary embedding"},
      {"max_position_embeddings", "recorded only: nothing limits the length"},
      {"initializer_range", "standard deviation of initial weights"},
      {"norm_eps", "epsilon of the block norms"},
      {"tie_word_embeddings", "use the embedding as output head"},
      {"pad_token_id", "id whose embedding is not trained"},
      {"bos_token_id", "id that begins a document"},
      {"eos_token_id", "id that ends a document"},
      {"use_fast_weights", "use fast weights; false: window attention alone, for comparison"},
      {"update_rule", "update rule by name; overrides --use-muon and --use-momentum"},
      {"ns_coefficients", "Newton-Schulz coefficients"},
      {"ns_steps", "Newton-Schulz steps; 0: only scale to norm 1"},
      {"ns_stacked", "orthogonalize gate and up as one matrix"},
      {"weight_norm",
       "rescale rows of fast weights to their initial norms; detached: with norms that are "
       "constants of the gradient"},
      {"learn",
       "matrices that an update changes: all, only the last (down), or none: the fast weights are "
       "applied but learn nothing while reading, for comparison"},
      {"fast_weight", "function of the fast weights; linear: one matrix, as in linear attention"},
      {"base_lr", "inner learning rate before training"},
      {"ttt_scale_bias", "initial bias of the learned factor of --learnable-ttt-scale"},
      {"momentum_bias", "initial bias of the momentum coefficient, before its sigmoid"},
  };
  return table;
}

/// Whether the key's value is a word, not JSON.
bool is_word(const std::string& key) {
  for (const auto& [name, kind] : Config::keys())
    if (name == key) return kind != "true|false" && kind != "N" && kind != "N|null";
  return false;
}

}  // namespace

void ModelOptions::declare(cli::Options options) {
  auto group = options.group("Model");
  group.add("--preset", preset_, "model size: tiny trains in minutes on a CPU")
      .words({"tiny", "60m", "760m", "3b"});
  group
      .add("--model-config", config_file_,
           "take the configuration from a config.json, as the published ones are, in place of a "
           "preset")
      .value("FILE");
  for (const auto& [key, kind] : Config::keys())
    group.add(flag(key), values_[key], descriptions().at(key)).value(kind);
}

bool ModelOptions::given(const std::string& key) const {
  const auto found = values_.find(key);
  return (found != values_.end() && !found->second.empty()) || !config_file_.empty();
}

Config ModelOptions::resolve(const Config* base) const {
  if (base != nullptr && !config_file_.empty())
    throw Error(Exit::usage, "--model-config: --init-from has a configuration of its own");
  const auto start = base != nullptr        ? *base
                     : config_file_.empty() ? Config::preset(preset_)
                                            : Config::open(config_file_);
  auto values = start.to_json();
  for (const auto& [key, text] : values_) {
    if (text.empty()) continue;
    values[key] = is_word(key) ? nlohmann::json(text)
                               : nlohmann::json::parse(text == "none" ? "null" : text, nullptr,
                                                       /*exceptions=*/false);
    if (values[key].is_discarded() || values[key].is_structured())
      throw Error(Exit::usage, flag(key), ": expected a number, true, false or null, found ", text);
  }
  return Config::from_json(values, "model options");
}

}  // namespace lact::text
