#include "model_options.hpp"

#include <lact/error.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>

namespace lact::text {
namespace {

std::string flag(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

const std::map<std::string, std::string>& descriptions() {
  static const std::map<std::string, std::string> table = {
      {"vocab_size", "rows of the embedding; default with --data: the tokenizer's"},
      {"hidden_size", "width of the model"},
      {"num_hidden_layers", "blocks"},
      {"num_attn_heads", "attention heads; must divide the width into even parts"},
      {"num_lact_heads", "fast-weight heads; must divide the width"},
      {"inter_multi", "hidden width of the fast weights, in widths of their head"},
      {"hidden_ratio", "width of the feed-forward network, in model widths times 3/2"},
      {"intermediate_size", "width of the feed-forward network, exactly"},
      {"lact_chunk_size", "tokens that share one update"},
      {"window_size", "tokens a query sees, itself included; null: all before it"},
      {"use_muon", "orthogonalize each update"},
      {"use_momentum", "per-token momentum of the updates"},
      {"ttt_prenorm", "accumulate unnormalised weights, read a normalised copy"},
      {"ttt_nope", "no rotary embedding on fast queries and keys"},
      {"use_fused_kernel", "the arithmetic of the published fused kernels"},
      {"fp32_states", "initial fast weights in float32"},
      {"lr_dim", "channels of a token's inner rate: 1, or a head's width"},
      {"learnable_ttt_scale", "learned output scale per token and head"},
      {"qkv_bias", "bias of the shared projection"},
      {"attn_qk_norm", "normalise queries and keys"},
      {"qkv_silu", "silu on fast queries, keys and values"},
      {"no_v_silu", "but not on values"},
      {"w0_w2_low_rank", "rank of the initial gate and up; -1: full"},
      {"fw_init_gain", "scale of the low-rank initial weights"},
      {"rope_theta", "base of the rotary embedding"},
      {"max_position_embeddings", "recorded only: nothing limits the length"},
      {"initializer_range", "standard deviation of initial weights"},
      {"norm_eps", "epsilon of the block norms"},
      {"tie_word_embeddings", "use the embedding as output head"},
      {"pad_token_id", "whose embedding learns nothing"},
      {"bos_token_id", "begins a document"},
      {"eos_token_id", "ends a document"},
      {"use_fast_weights", "false: window attention alone (the comparison)"},
      {"update_rule",
       "how fast weights are updated, by name; stands above --use-muon and --use-momentum"},
      {"ns_coefficients", "of orthogonalization"},
      {"ns_steps", "of orthogonalization; 0: only scaled to norm 1"},
      {"ns_stacked", "orthogonalize gate and up as one matrix"},
      {"weight_norm",
       "rows of fast weights keep their initial norms; detached: these are constants"},
      {"learn", "last: only the last matrix learns, gate and up stay"},
      {"fast_weight", "linear: one matrix (the comparison)"},
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

void ConfigOptions::declare(CLI::App& app) {
  app.add_option("--preset", preset_, "model size: tiny (CPU minutes), 60m, 760m, 3b")
      ->check(CLI::IsMember({"tiny", "60m", "760m", "3b"}))
      ->capture_default_str()
      ->group("Model");
  for (const auto& [key, kind] : Config::keys())
    app.add_option(flag(key), values_[key], descriptions().at(key))
        ->type_name(kind)
        ->group("Model");
}

bool ConfigOptions::given(const std::string& key) const {
  const auto found = values_.find(key);
  return found != values_.end() && !found->second.empty();
}

Config ConfigOptions::resolve(const Config* base) const {
  auto values = (base != nullptr ? *base : Config::preset(preset_)).to_json();
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
