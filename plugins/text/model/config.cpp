#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>
#include <lact/log.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <variant>

namespace lact::text {
namespace {

using nlohmann::json;
using Member = std::variant<int64_t Config::*, double Config::*, bool Config::*,
                            std::optional<int64_t> Config::*, std::optional<double> Config::*,
                            std::string Config::*>;

/// The published keys, in the order of the published files.
const std::vector<std::pair<std::string, Member>>& fields() {
  static const std::vector<std::pair<std::string, Member>> table = {
      {"vocab_size", &Config::vocab_size},
      {"hidden_size", &Config::hidden_size},
      {"num_hidden_layers", &Config::num_hidden_layers},
      {"num_attn_heads", &Config::num_attn_heads},
      {"num_lact_heads", &Config::num_lact_heads},
      {"inter_multi", &Config::inter_multi},
      {"hidden_ratio", &Config::hidden_ratio},
      {"intermediate_size", &Config::intermediate_size},
      {"lact_chunk_size", &Config::lact_chunk_size},
      {"window_size", &Config::window_size},
      {"use_muon", &Config::use_muon},
      {"use_momentum", &Config::use_momentum},
      {"ttt_prenorm", &Config::ttt_prenorm},
      {"ttt_nope", &Config::ttt_nope},
      {"use_fused_kernel", &Config::use_fused_kernel},
      {"fp32_states", &Config::fp32_states},
      {"lr_dim", &Config::lr_dim},
      {"learnable_ttt_scale", &Config::learnable_ttt_scale},
      {"qkv_bias", &Config::qkv_bias},
      {"attn_qk_norm", &Config::attn_qk_norm},
      {"qkv_silu", &Config::qkv_silu},
      {"no_v_silu", &Config::no_v_silu},
      {"w0_w2_low_rank", &Config::w0_w2_low_rank},
      {"fw_init_gain", &Config::fw_init_gain},
      {"rope_theta", &Config::rope_theta},
      {"max_position_embeddings", &Config::max_position_embeddings},
      {"initializer_range", &Config::initializer_range},
      {"norm_eps", &Config::norm_eps},
      {"tie_word_embeddings", &Config::tie_word_embeddings},
      {"pad_token_id", &Config::pad_token_id},
      {"bos_token_id", &Config::bos_token_id},
      {"eos_token_id", &Config::eos_token_id},
      {"use_fast_weights", &Config::use_fast_weights},
      {"update_rule", &Config::update_rule},
      {"ns_coefficients", &Config::ns_coefficients},
      {"ns_steps", &Config::ns_steps},
      {"ns_stacked", &Config::ns_stacked},
      {"weight_norm", &Config::weight_norm},
      {"learn", &Config::learn},
      {"fast_weight", &Config::fast_weight},
      {"base_lr", &Config::base_lr},
      {"ttt_scale_bias", &Config::ttt_scale_bias},
      {"momentum_bias", &Config::momentum_bias},
  };
  return table;
}

/// Keys that the published configuration and transformers have beside those, and that change
/// nothing of what a model computes, or are checked.
const std::set<std::string> kOfOthers = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_bias",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "elementwise_affine",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "fuse_cross_entropy",
    "fuse_norm",
    "fuse_swiglu",
    "hidden_act",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "last_layer_fuse_norm",
    "length_penalty",
    "lr_parameterization",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "ttt_loss_type",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

/// Where ours begin: published readers need not see them while they say nothing.
constexpr const char* kFirstOfOurs = "use_fast_weights";

/// The words that a key can be.
const std::map<std::string, std::vector<std::string>>& words() {
  static const std::map<std::string, std::vector<std::string>> table = {
      {"ns_coefficients", {"language_model", "keller_jordan"}},
      {"weight_norm", {"on", "off", "detached"}},
      {"learn", {"all", "last", "none"}},
      {"fast_weight", {"swiglu", "linear"}},
  };
  return table;
}

std::string joined(const std::vector<std::string>& all) {
  std::string line;
  for (const auto& word : all) line += (line.empty() ? "" : "|") + word;
  return line;
}

/// Widths and counts: the product of two, in bytes, is a number that exists.
constexpr int64_t kLargestSize = int64_t{1} << 28;
constexpr int64_t kMostLayers = 10000;
/// Of a width to another.
constexpr double kLargestRatio = 1e4;

/// A value in a message: ASCII, and not all of a long one.
std::string shown(const json& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/true).substr(0, 80);
}

/// A key that may be null, which means that there is none.
template <class T>
void read(io::JsonObject& values, const std::string& key, std::optional<T>& into) {
  into.reset();
  T value{};
  if (values.find(key) == nullptr) return;
  values.read(key, value);
  into = value;
}
template <class T>
void read(io::JsonObject& values, const std::string& key, T& into) {
  if (values.find(key) == nullptr) values.refuse(key, "a value");
  values.read(key, into);
}

template <class T>
json write(const T& value) {
  return value;
}
template <class T>
json write(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

/// An id, or a list of ids.
std::vector<int64_t> token_ids(const json& ids, const std::string& what) {
  const auto all = ids.is_array() ? ids : json::array({ids});
  std::vector<int64_t> list;
  for (const auto& id : all) {
    if (!id.is_number_integer())
      throw Error(Exit::data, what, ": eos_token_id: expected token ids");
    list.push_back(id.get<int64_t>());
  }
  if (list.empty()) throw Error(Exit::data, what, ": eos_token_id: an empty list");
  return list;
}

}  // namespace

int64_t Config::mlp_hidden() const {
  if (intermediate_size) return *intermediate_size;
  const auto wide =
      static_cast<int64_t>(static_cast<double>(hidden_size) * hidden_ratio.value_or(4) * 2 / 3);
  return 256 * ((wide + 255) / 256);
}

Config Config::from_json(const json& values, const std::string& what) {
  Config config;
  config.other = values;
  auto single = values;
  if (const auto ids = values.find("eos_token_id"); ids != values.end() && ids->is_array()) {
    config.eos_token_ids = token_ids(*ids, what);
    single["eos_token_id"] = config.eos_token_ids.at(0);
  }
  io::JsonObject object(single, what);
  for (const auto& [key, member] : fields()) {
    if (!object.has(key)) continue;
    std::visit([&, &key = key](auto field) { read(object, key, config.*field); }, member);
    config.other.erase(key);
  }
  config.check(what);
  return config;
}

Config Config::told(const json& values, const std::string& file) {
  auto config = from_json(values, file);
  std::string unknown;
  for (const auto& [key, value] : config.other.items())
    if (kOfOthers.count(key) == 0) unknown += (unknown.empty() ? "" : ", ") + io::printable(key);
  if (!unknown.empty()) log::warning(file, ": not known and without effect: ", unknown);
  return config;
}

Config Config::of(const io::Checkpoint& checkpoint) {
  return told(checkpoint.config(), (checkpoint.folder() / "config.json").string());
}

Config Config::open(const std::string& file) {
  const auto values = io::parse_json(io::read_text(file), file);
  if (!values.is_object() || !values.contains("hidden_size"))
    throw Error(Exit::data, file, ": no config.json of a language model: it has no hidden_size");
  return told(values, file);
}

std::vector<int64_t> generation_ends(const io::Checkpoint& checkpoint) {
  const auto file = checkpoint.side_file("generation_config.json");
  if (file.empty()) return {};
  const auto values = io::parse_json(io::read_text(file), file.string());
  const bool said = values.is_object() && values.contains("eos_token_id");
  if (!said || values["eos_token_id"].is_null()) return {};
  return token_ids(values["eos_token_id"], file.string());
}

json Config::to_json() const {
  json out = other;
  out["model_type"] = "lact_swiglu";
  out["architectures"] = {"LaCTForCausalLM"};
  if (!out.contains("hidden_act")) out["hidden_act"] = "swish";
  if (!out.contains("lr_parameterization")) out["lr_parameterization"] = "mamba";
  const Config plain;
  bool ours = false;
  for (const auto& [key, member] : fields()) {
    ours = ours || key == kFirstOfOurs;
    std::visit(
        [&, &key = key](auto field) {
          if (!ours || this->*field != plain.*field) out[key] = write(this->*field);
        },
        member);
  }
  if (!eos_token_ids.empty()) out["eos_token_id"] = eos_token_ids;
  return out;
}

std::vector<std::pair<std::string, std::string>> Config::keys() {
  std::vector<std::pair<std::string, std::string>> names;
  for (const auto& [key, member] : fields()) {
    const bool yes_no = std::holds_alternative<bool Config::*>(member);
    const bool text = std::holds_alternative<std::string Config::*>(member);
    const bool number = std::holds_alternative<int64_t Config::*>(member) ||
                        std::holds_alternative<double Config::*>(member);
    const auto choice = words().find(key);
    const std::string word = choice == words().end() ? "NAME" : joined(choice->second);
    names.emplace_back(key, text ? word : yes_no ? "true|false" : number ? "N" : "N|null");
  }
  return names;
}

void Config::check(const std::string& what) const {
  const auto refuse = [&](const auto&... why) { throw Error(Exit::config, what, ": ", why...); };
  const auto positive = [&](const char* key, int64_t value) {
    if (value < 1) refuse(key, ": must be at least 1, not ", value);
  };
  const auto size = [&](const char* key, int64_t value, int64_t largest = kLargestSize) {
    positive(key, value);
    if (value > largest) refuse(key, ": must be at most ", largest, ", not ", value);
  };
  const auto is = [&](const char* key, const char* only) {
    const auto found = other.find(key);
    if (found != other.end() && !found->is_null() && *found != only)
      refuse(key, ": only \"", only, "\" exists, not ", shown(*found));
  };
  size("vocab_size", vocab_size);
  size("hidden_size", hidden_size);
  size("num_hidden_layers", num_hidden_layers, kMostLayers);
  size("num_attn_heads", num_attn_heads);
  size("num_lact_heads", num_lact_heads);
  positive("lact_chunk_size", lact_chunk_size);
  size("lr_dim", lr_dim);
  if (window_size) positive("window_size", *window_size);
  if (intermediate_size) size("intermediate_size", *intermediate_size);
  if (w0_w2_low_rank > kLargestSize) size("w0_w2_low_rank", w0_w2_low_rank);
  if (hidden_ratio && !(*hidden_ratio > 0 && *hidden_ratio <= kLargestRatio))
    refuse("hidden_ratio: must be above 0 and at most ", kLargestRatio, ", not ", *hidden_ratio);
  if (hidden_size % num_attn_heads != 0)
    refuse("hidden_size ", hidden_size, " is not divisible by num_attn_heads ", num_attn_heads);
  if (hidden_size % num_lact_heads != 0)
    refuse("hidden_size ", hidden_size, " is not divisible by num_lact_heads ", num_lact_heads);
  if (attn_head_width() % 2 != 0)
    refuse("the attention head width ", attn_head_width(),
           " (hidden_size / num_attn_heads) is odd; ", "the rotary embedding needs an even one");
  if (!(inter_multi <= kLargestRatio))
    refuse("inter_multi: must be at most ", kLargestRatio, ", not ", inter_multi);
  if (!(inter_multi > 0) || fast_hidden() < 1)
    refuse("inter_multi ", inter_multi, " leaves the fast weights no hidden width");
  if (lr_dim > 1 && (lr_dim != fast_width() || lr_dim != fast_hidden()))
    refuse("lr_dim ", lr_dim, " must be 1, or the width ", fast_width(), " and the hidden width ",
           fast_hidden(), " of a fast-weight head");
  if (lr_dim > 1 && use_fused_kernel) refuse("use_fused_kernel takes lr_dim 1 only, not ", lr_dim);
  for (const auto& [key, member] : fields()) {
    const auto choice = words().find(key);
    if (choice == words().end()) continue;
    const auto& word = this->*std::get<std::string Config::*>(member);
    if (std::find(choice->second.begin(), choice->second.end(), word) == choice->second.end())
      refuse(key, ": must be one of ", joined(choice->second), ", not ", shown(word));
  }
  constexpr int64_t kMostSteps = 100;
  if (ns_steps < 0 || ns_steps > kMostSteps)
    refuse("ns_steps: must be 0 to ", kMostSteps, ", not ", ns_steps);
  if (linear() && (lr_dim > 1 || learn == "last"))
    refuse("fast_weight linear takes lr_dim 1 and learn all or none: it has one matrix");
  if (!(base_lr > 0 && base_lr < 1e4)) refuse("base_lr: must be above 0, not ", base_lr);
  if (!(norm_eps > 0)) refuse("norm_eps: must be above 0");
  if (!(rope_theta > 0)) refuse("rope_theta: must be above 0");
  is("hidden_act", "swish");
  is("lr_parameterization", "mamba");
  is("ttt_loss_type", "dot_product");
  is("model_type", "lact_swiglu");
}

Config Config::preset(const std::string& name) {
  Config c;
  c.w0_w2_low_rank = 32;
  c.initializer_range = 0.02;
  c.rope_theta = 1e6;
  c.max_position_embeddings = 32768;
  if (name == "tiny") {
    c.hidden_size = 192;
    c.initializer_range = 0.072;  // about 1 / sqrt(192): 0.02 suits a width of 1536
    c.num_hidden_layers = 4;
    c.num_attn_heads = 3;
    c.num_lact_heads = 1;
    c.lact_chunk_size = 256;
    c.window_size = 256;
    c.w0_w2_low_rank = 16;
    c.intermediate_size = 512;
    c.vocab_size = 2048;
    c.tie_word_embeddings = true;
    c.max_position_embeddings = 1024;
  } else if (name == "60m") {
    c.hidden_size = 512;
    c.initializer_range = 0.044;
    c.num_hidden_layers = 10;
    c.num_attn_heads = 8;
    c.num_lact_heads = 2;
    c.lact_chunk_size = 1024;
    c.window_size = 1024;
    c.max_position_embeddings = 8192;
  } else if (name == "760m") {
    c.hidden_size = 1536;
    c.num_attn_heads = 24;
  } else if (name == "3b") {
    c.hidden_size = 3072;
    c.num_attn_heads = 24;
    c.use_muon = true;
  } else {
    throw Error(Exit::usage, "preset ", name, ": unknown; one of tiny, 60m, 760m, 3b");
  }
  c.check("preset " + name);
  return c;
}

}  // namespace lact::text
