// Config to JSON and back: Wan's own keys, diffusers', the published layer's, and ours.
#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/json.hpp>

#include <algorithm>

namespace lact::video {
namespace {

using nlohmann::json;

/// A key that must be missing, or be one of these values.
void only(io::JsonObject& object, const char* key, const std::vector<json>& values,
          const std::string& expected) {
  const auto* value = object.find(key);
  if (value != nullptr && std::find(values.begin(), values.end(), *value) == values.end())
    object.refuse(key, expected);
}

FastOptions layer_from(const json& values, int64_t& chunk_frames, const std::string& what) {
  io::JsonObject reader(values, what);
  FastOptions fast;
  fast.qk_l2_norm = false;  // unless it is said: as the published program has it
  reader.read("fw_head_dim", fast.head_dim);
  reader.read("inter_multi", fast.inter_multi);
  reader.read("qk_l2_norm", fast.qk_l2_norm);
  reader.read("qkv_silu", fast.qkv_silu);
  reader.read("l2_norm_before_silu", fast.l2_norm_before_silu);
  reader.read("use_moun", fast.muon);
  reader.read("use_muon", fast.muon);
  reader.read("num_moun_iters", fast.muon_steps);
  reader.read("num_muon_iters", fast.muon_steps);
  reader.read("weight_norm", fast.weight_norm);
  reader.read("use_momentum", fast.momentum);
  reader.read("learnable_ttt_scale", fast.learnable_scale);
  reader.read("ttt_scale", fast.scale);
  reader.read("kv_cache_size", fast.kv_cache_size);
  reader.read("base_lr", fast.base_lr);
  const auto maybe = [&](const char* key, std::optional<double>& into) {
    if (reader.find(key) == nullptr) return;
    double value = 0;
    reader.read(key, value);
    into = value;
  };
  maybe("ttt_scale_bias", fast.scale_bias);
  maybe("momentum_bias", fast.momentum_bias);
  reader.read("w_init", fast.init, {"clean", "identity", "mup"});
  bool updates = true;
  reader.read("updates", updates);
  if (!updates) fast.learn = "none";
  reader.read("learn", fast.learn, {"all", "last", "none"});
  only(reader, "lr_dim", {1}, "1");
  reader.read("ar_window_f", chunk_frames);
  reader.ignore({"local_window_size", "update_every", "n_latent_f", "batch_size"});  // by the film
  reader.all_known();
  return fast;
}

nlohmann::ordered_json to_json(const FastOptions& fast) {
  nlohmann::ordered_json values = {{"fw_head_dim", fast.head_dim},
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
                                   {"updates", fast.learn != "none"}};
  if (fast.scale_bias) values["ttt_scale_bias"] = *fast.scale_bias;
  if (fast.momentum_bias) values["momentum_bias"] = *fast.momentum_bias;
  if (fast.learn == "last")
    values["learn"] = fast.learn;  // what states were made with says no more
  return values;
}

/// Sizes as Wan names them.
void read_wan(io::JsonObject& reader, Config& c) {
  reader.read("dim", c.dim);
  reader.read("num_heads", c.num_heads);
  reader.read("in_dim", c.in_dim);
  reader.read("out_dim", c.out_dim);
  reader.read("text_len", c.text_len);
  only(reader, "model_type", {"t2v", "lact_video"}, "t2v or lact_video");
  only(reader, "qk_norm", {true}, "true");
  only(reader, "window_size", {json{-1, -1}}, "[-1, -1]");
}

/// As diffusers does.
void read_diffusers(io::JsonObject& reader, Config& c) {
  int64_t width = 128;
  reader.read("attention_head_dim", width);
  reader.read("num_attention_heads", c.num_heads);
  const bool sound = width > 0 && width <= 1 << 20 && c.num_heads > 0 && c.num_heads <= 1 << 20;
  if (!sound) reader.refuse("num_attention_heads", "a number and a width of heads");
  c.dim = width * c.num_heads;
  reader.read("in_channels", c.in_dim);
  reader.read("out_channels", c.out_dim);
  only(reader, "qk_norm", {"rms_norm_across_heads"}, "rms_norm_across_heads");
  const std::string text_to_video = "null: only models from text to video are known";
  only(reader, "added_kv_proj_dim", {}, text_to_video);
  only(reader, "image_dim", {}, text_to_video);
  only(reader, "pos_embed_seq_len", {}, text_to_video);
  reader.ignore({"rope_max_seq_len"});
}

void read_patch(io::JsonObject& reader, Config& c) {
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
void read_ours(io::JsonObject& reader, Config& c, const std::string& what) {
  if (c.in_dim == 16 && c.text_dim == 4096) {  // Wan's, if nothing else is said
    c.codec = {"wan", 8};
    c.condition = "umt5";
  }
  if (const auto* codec = reader.find("codec")) {
    io::JsonObject inner(*codec, what + ": codec");
    c.codec = {};
    inner.read("type", c.codec.type, {"pixels", "unshuffle", "pca", "wan"});
    inner.read("factor", c.codec.factor);
    inner.all_known();
    c.codec.resolve();
  }
  reader.read("condition", c.condition, {"none", "class", "bytes", "umt5"});
  if (const auto* classes = reader.find("classes")) {
    if (!classes->is_array()) reader.refuse("classes", "a list of names");
    for (const auto& one : *classes) {
      if (!one.is_string()) reader.refuse("classes", "a list of names");
      c.classes.push_back(one.get<std::string>());
    }
  }
  reader.read("chunk_frames", c.chunk_frames);
  reader.read("shift", c.shift);
  if (c.shift > 0) c.sample_shift = c.shift;  // of a model that tells one, unless it tells both
  reader.read("sample_shift", c.sample_shift);
  reader.read("width", c.width);
  reader.read("height", c.height);
  reader.read("rate", c.rate);
}

}  // namespace

Config Config::from_json(const json& values, const std::string& what) {
  Config c;
  io::JsonObject reader(values, what);
  const bool diffusers = reader.has("num_attention_heads") || reader.has("attention_head_dim");
  if (diffusers)
    read_diffusers(reader, c);
  else
    read_wan(reader, c);
  reader.read("ffn_dim", c.ffn_dim);
  reader.read("num_layers", c.num_layers);
  reader.read("freq_dim", c.freq_dim);
  reader.read("text_dim", c.text_dim);
  reader.read("eps", c.eps);
  only(reader, "cross_attn_norm", {true}, "true");
  read_patch(reader, c);
  reader.read("attn_every_n_layers", c.attn_every_n_layers);
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
