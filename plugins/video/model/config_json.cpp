// Config to JSON and back: Wan's own keys, diffusers', the published layer's, and ours.
#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace lact::video {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

/// A value of a JSON object, with the object's key in errors. Null is as good as missing.
class Reader {
 public:
  Reader(const json& object, std::string what) : object_(object), what_(std::move(what)) {
    if (!object.is_object()) throw Error(Exit::data, what_, ": expected a JSON object");
  }
  const json* find(const char* key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool has(const char* key) const { return object_.contains(key); }
  void number(const char* key, double& into) {
    const auto* value = find(key);
    if (value == nullptr) return;
    if (value->is_string()) {  // YAML 1.1 reads 1e-06 as a word
      const auto text = value->get<std::string>();
      char* end = nullptr;
      into = std::strtod(text.c_str(), &end);
      if (text.empty() || *end != '\0' || !std::isfinite(into)) refuse(key, "a number");
    } else {
      if (!value->is_number()) refuse(key, "a number");
      into = value->get<double>();
    }
  }
  void number(const char* key, int64_t& into) {
    double wide = static_cast<double>(into);
    number(key, wide);
    if (wide != std::floor(wide) || std::abs(wide) > 1e15) refuse(key, "a whole number");
    into = static_cast<int64_t>(wide);
  }
  void flag(const char* key, bool& into) {
    const auto* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) refuse(key, "true or false");
    into = value->get<bool>();
  }
  void word(const char* key, std::string& into, const Words& words) {
    const auto* value = find(key);
    if (value == nullptr) return;
    const auto text = value->is_string() ? value->get<std::string>() : std::string();
    if (std::find(words.begin(), words.end(), text) == words.end()) {
      std::string list;
      for (const auto& one : words) list += (list.empty() ? "" : ", ") + one;
      refuse(key, words.size() > 1 ? "one of " + list : list);
    }
    into = text;
  }
  /// A key that says nothing that we would use.
  void ignore(std::initializer_list<const char*> keys) { known_.insert(keys.begin(), keys.end()); }
  /// A key that must be missing, or be one of these values.
  void only(const char* key, const std::vector<json>& values, const std::string& expected) {
    const auto* value = find(key);
    if (value != nullptr && std::find(values.begin(), values.end(), *value) == values.end())
      refuse(key, expected);
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected) const {
    const auto text = object_.at(key).dump(-1, ' ', true).substr(0, 80);
    throw Error(Exit::data, what_, ": ", key, ": expected ", expected, ", found ", text);
  }
  /// What no reader asked for changes the mathematics, and we would not know how. Names that begin
  /// with an underscore are remarks of the program that wrote the file.
  void all_known() const {
    for (const auto& [key, value] : object_.items())
      if (known_.count(key) == 0 && key.rfind('_', 0) != 0)
        throw Error(Exit::data, what_, ": ", io::printable(key), ": not known");
  }

 private:
  const json& object_;
  std::string what_;
  std::set<std::string> known_;
};

FastOptions layer_from(const json& values, int64_t& chunk_frames, const std::string& what) {
  Reader reader(values, what);
  FastOptions fast;
  fast.qk_l2_norm = false;  // unless it is said: as the published program has it
  reader.number("fw_head_dim", fast.head_dim);
  reader.number("inter_multi", fast.inter_multi);
  reader.flag("qk_l2_norm", fast.qk_l2_norm);
  reader.flag("qkv_silu", fast.qkv_silu);
  reader.flag("l2_norm_before_silu", fast.l2_norm_before_silu);
  reader.flag("use_moun", fast.muon);
  reader.flag("use_muon", fast.muon);
  reader.number("num_moun_iters", fast.muon_steps);
  reader.number("num_muon_iters", fast.muon_steps);
  reader.flag("weight_norm", fast.weight_norm);
  reader.flag("use_momentum", fast.momentum);
  reader.flag("learnable_ttt_scale", fast.learnable_scale);
  reader.number("ttt_scale", fast.scale);
  reader.number("kv_cache_size", fast.kv_cache_size);
  reader.number("base_lr", fast.base_lr);
  reader.word("w_init", fast.init, {"clean", "identity", "mup"});
  reader.flag("updates", fast.updates);
  reader.only("lr_dim", {1}, "1");
  reader.number("ar_window_f", chunk_frames);
  reader.ignore({"local_window_size", "update_every", "n_latent_f", "batch_size"});  // by the film
  reader.all_known();
  return fast;
}

nlohmann::ordered_json to_json(const FastOptions& fast) {
  return {{"fw_head_dim", fast.head_dim},
          {"inter_multi", fast.inter_multi},
          {"qk_l2_norm", fast.qk_l2_norm},
          {"qkv_silu", fast.qkv_silu},
          {"l2_norm_before_silu", fast.l2_norm_before_silu},
          {"use_muon", fast.muon},
          {"num_muon_iters", fast.muon_steps},
          {"weight_norm", fast.weight_norm},
          {"use_momentum", fast.momentum},
          {"learnable_ttt_scale", fast.learnable_scale},
          {"ttt_scale", fast.scale},
          {"kv_cache_size", fast.kv_cache_size},
          {"base_lr", fast.base_lr},
          {"w_init", fast.init},
          {"updates", fast.updates}};
}

/// Sizes as Wan names them.
void read_wan(Reader& reader, Config& c) {
  reader.number("dim", c.dim);
  reader.number("num_heads", c.num_heads);
  reader.number("in_dim", c.in_dim);
  reader.number("out_dim", c.out_dim);
  reader.number("text_len", c.text_len);
  reader.only("model_type", {"t2v", "lact_video"}, "t2v or lact_video");
  reader.only("qk_norm", {true}, "true");
  reader.only("window_size", {json{-1, -1}}, "[-1, -1]");
}

/// As diffusers does.
void read_diffusers(Reader& reader, Config& c) {
  int64_t width = 128;
  reader.number("attention_head_dim", width);
  reader.number("num_attention_heads", c.num_heads);
  const bool sound = width > 0 && width <= 1 << 20 && c.num_heads > 0 && c.num_heads <= 1 << 20;
  if (!sound) reader.refuse("num_attention_heads", "a number and a width of heads");
  c.dim = width * c.num_heads;
  reader.number("in_channels", c.in_dim);
  reader.number("out_channels", c.out_dim);
  reader.only("qk_norm", {"rms_norm_across_heads"}, "rms_norm_across_heads");
  const std::string text_to_video = "null: only models from text to video are known";
  reader.only("added_kv_proj_dim", {}, text_to_video);
  reader.only("image_dim", {}, text_to_video);
  reader.only("pos_embed_seq_len", {}, text_to_video);
  reader.ignore({"rope_max_seq_len"});
}

void read_patch(Reader& reader, Config& c) {
  const auto* value = reader.find("patch_size");
  if (value == nullptr) return;
  if (!value->is_array() || value->size() != 3) reader.refuse("patch_size", "three sizes");
  for (size_t i = 0; i < 3; ++i) {
    const auto& one = value->at(i);
    if (!one.is_number_integer() || one < 1 || one > 1024)
      reader.refuse("patch_size", "three sizes");
    c.patch_size[i] = one.get<int64_t>();
  }
}

/// What stands around the transformer.
void read_ours(Reader& reader, Config& c, const std::string& what) {
  if (c.in_dim == 16 && c.text_dim == 4096) {  // Wan's, if nothing else is said
    c.codec = {"wan", 8};
    c.condition = "umt5";
  }
  if (const auto* codec = reader.find("codec")) {
    Reader inner(*codec, what + ": codec");
    c.codec = {};
    inner.word("type", c.codec.type, {"pixels", "unshuffle", "pca", "wan"});
    inner.number("factor", c.codec.factor);
    inner.all_known();
    c.codec.settle();
  }
  reader.word("condition", c.condition, {"none", "class", "bytes", "umt5"});
  if (const auto* classes = reader.find("classes")) {
    if (!classes->is_array()) reader.refuse("classes", "a list of names");
    for (const auto& one : *classes) {
      if (!one.is_string()) reader.refuse("classes", "a list of names");
      c.classes.push_back(one.get<std::string>());
    }
  }
  reader.number("chunk_frames", c.chunk_frames);
  reader.number("shift", c.shift);
  if (c.shift > 0) c.sample_shift = c.shift;  // of a model that tells one, unless it tells both
  reader.number("sample_shift", c.sample_shift);
  reader.number("width", c.width);
  reader.number("height", c.height);
  reader.number("rate", c.rate);
}

}  // namespace

Config Config::from_json(const json& values, const std::string& what) {
  Config c;
  Reader reader(values, what);
  const bool diffusers = reader.has("num_attention_heads") || reader.has("attention_head_dim");
  if (diffusers)
    read_diffusers(reader, c);
  else
    read_wan(reader, c);
  reader.number("ffn_dim", c.ffn_dim);
  reader.number("num_layers", c.num_layers);
  reader.number("freq_dim", c.freq_dim);
  reader.number("text_dim", c.text_dim);
  reader.number("eps", c.eps);
  reader.only("cross_attn_norm", {true}, "true");
  read_patch(reader, c);
  reader.number("attn_every_n_layers", c.attn_every_n_layers);
  if (const auto* layer = reader.find("efficient_attn_config"))
    c.fast = layer_from(*layer, c.chunk_frames, what + ": efficient_attn_config");
  read_ours(reader, c, what);
  reader.all_known();
  try {
    c.check(what);
  } catch (const Error& error) {
    throw Error(Exit::data, error.what());
  }
  return c;
}

nlohmann::ordered_json Config::to_json() const {
  nlohmann::ordered_json values = {{"model_type", "lact_video"},
                                   {"dim", dim},
                                   {"ffn_dim", ffn_dim},
                                   {"num_heads", num_heads},
                                   {"num_layers", num_layers},
                                   {"in_dim", in_dim},
                                   {"out_dim", out_dim},
                                   {"freq_dim", freq_dim},
                                   {"text_dim", text_dim},
                                   {"text_len", text_len},
                                   {"patch_size", patch_size},
                                   {"eps", eps},
                                   {"attn_every_n_layers", attn_every_n_layers}};
  if (fast) values["efficient_attn_config"] = video::to_json(*fast);
  values["chunk_frames"] = chunk_frames;
  values["codec"] = {{"type", codec.type}, {"factor", codec.factor}};
  values["condition"] = condition;
  if (!classes.empty()) values["classes"] = classes;
  values["shift"] = shift;
  values["sample_shift"] = sample_shift;
  values["width"] = width;
  values["height"] = height;
  values["rate"] = rate;
  return values;
}

}  // namespace lact::video
