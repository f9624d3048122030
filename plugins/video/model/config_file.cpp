// A configuration in a file: ours or the published program's YAML, of which JSON is a part.
#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>
#include <lact/log.hpp>

#include <yaml-cpp/yaml.h>

#include <charconv>
#include <filesystem>

namespace lact::video {
namespace {

using nlohmann::json;

constexpr uint64_t kMostBytes = 1 << 20;
constexpr int kMostNodes = 100'000;  // an alias of an alias of an alias could be endless

json scalar(const YAML::Node& node) {
  const auto& text = node.Scalar();
  if (node.Tag() == "!") return text;  // in quotes
  for (const char* word : {"true", "True", "TRUE"})
    if (text == word) return true;
  for (const char* word : {"false", "False", "FALSE"})
    if (text == word) return false;
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  double number = 0;
  if (const auto read = std::from_chars(text.data(), end, whole);
      read.ec == std::errc() && read.ptr == end)
    return whole;
  if (const auto read = std::from_chars(text.data(), end, number);
      read.ec == std::errc() && read.ptr == end)
    return number;
  return text;
}

json to_json(const YAML::Node& node, int& left) {
  if (--left < 0) throw Error(Exit::data, "more than ", kMostNodes, " values");
  if (node.IsMap()) {
    auto object = json::object();
    for (const auto& item : node) {
      const auto key = item.first.IsScalar() ? item.first.Scalar() : "";
      if (object.contains(key))
        throw Error(Exit::data, "line ", item.first.Mark().line + 1, ": key '", io::printable(key),
                    "' comes twice");
      object[key] = to_json(item.second, left);
    }
    return object;
  }
  if (node.IsSequence()) {
    auto list = json::array();
    for (const auto& item : node) list.push_back(to_json(item, left));
    return list;
  }
  return node.IsScalar() ? scalar(node) : json();
}

json read_yaml(const std::filesystem::path& file) {
  const auto text = io::read_text(file, kMostBytes);
  try {
    int left = kMostNodes;
    return to_json(YAML::Load(text), left);
  } catch (const YAML::Exception& error) {
    throw Error(Exit::data, file.string(), ":", error.mark.line + 1, ": no YAML: ", error.msg);
  } catch (const Error& error) {
    throw Error(Exit::data, file.string(), ": ", error.what());
  }
}

/// A Python class, by its last name; false: none is named.
bool take_class(json& values, const std::string& expected, const std::string& what) {
  const auto found = values.find("class_name");
  if (found == values.end()) return false;
  const auto name = found->is_string() ? found->get<std::string>() : found->dump();
  if (name.substr(name.rfind('.') + 1) != expected)
    throw Error(Exit::data, what, ": class_name: expected ", expected, ", found ",
                io::printable(name));
  values.erase(found);
  return true;
}

/// What the layer says again of the model, or has no choice in.
void take_repeated(json& layer, const json& model, const std::string& what) {
  for (const auto& [key, value] : {std::pair<const char*, json>{"dim", model.value("dim", json())},
                                   {"num_heads", model.value("num_heads", json())},
                                   {"eps", model.value("eps", json(Config().eps))},
                                   {"qk_norm", true},
                                   {"o_norm", true},
                                   {"window_size", json{-1, -1}},
                                   {"no_time_rope", false},
                                   {"lr_parameterization", "mamba"}}) {
    const auto found = layer.find(key);
    if (found == layer.end()) continue;
    if (*found != value)
      throw Error(Exit::data, what, ": ", key, ": expected ", value.dump(), ", found ",
                  io::printable(found->dump()));
    layer.erase(found);
  }
}

void take_layer(json& model, const std::string& what) {
  const auto found = model.find("efficient_attn_config");
  if (found == model.end() || found->is_null()) return;
  if (found->is_array()) {
    if (found->size() != 1)
      throw Error(Exit::data, what, ": efficient_attn_config: expected one kind of layer, found ",
                  found->size());
    *found = json((*found)[0]);
  }
  const auto layer = what + ": efficient_attn_config";
  if (!found->is_object()) throw Error(Exit::data, layer, ": expected keys with values");
  take_class(*found, "ARFastWeightSwiGLU", layer);
  take_repeated(*found, model, layer);
}

/// What training and sampling have options for here.
constexpr std::initializer_list<const char*> kOptions = {"generator_ckpt",
                                                         "drop_text_prob",
                                                         "num_repeat",
                                                         "sample_solver",
                                                         "sampling_steps",
                                                         "guide_scale",
                                                         "lr",
                                                         "weight_decay",
                                                         "max_fwdbwd_passes",
                                                         "warmup",
                                                         "grad_accum_steps",
                                                         "batch_size_per_gpu",
                                                         "train",
                                                         "dataset_train"};

/// What is ours to keep with a model stands around it there: shifts of the times, frames of a
/// chunk. The loss has one form here.
void take_around(const json& around, json& model, const std::string& what) {
  io::JsonObject reader(around, what);
  bool by_tokens = false, weighting = true;
  double shift = 3, sample_shift = 3, deviation = 1;
  std::string method, loss;
  reader.read("adjust_timestep_shift", by_tokens);
  reader.read("timestep_shift", shift);
  reader.read("sample_timestep_shift", sample_shift);
  reader.read("timestep_sample_method", method, {"uniform"});
  reader.read("denoising_loss_type", loss, {"flow"});
  reader.read("logit_normal_weighting", weighting);
  reader.read("logit_normal_weighting_std", deviation);
  if (!weighting) reader.refuse("logit_normal_weighting", "true, the only weighting here");
  if (deviation != 1) reader.refuse("logit_normal_weighting_std", "1, the only one here");
  if (shift <= 0) shift = 1;  // none
  model.emplace("shift", by_tokens ? 0 : shift);
  model.emplace("sample_shift", sample_shift);
  if (reader.has("ar_window_size")) {
    int64_t frames = 0;
    reader.read("ar_window_size", frames);
    const auto layer = model.find("efficient_attn_config");
    if (layer == model.end() || !layer->is_object())
      model.emplace("chunk_frames", frames);
    else if (const auto own = layer->value("ar_window_f", json(Config().chunk_frames));
             own != frames)
      reader.refuse("ar_window_size", io::printable(own.dump()) + ", as ar_window_f");
  }
  reader.ignore({"class_name", "diffusion_config", "text_encoder_config", "vae_config",
                 "frame_independent_noise", "num_train_timestep", "mixed_precision"});
  reader.ignore(kOptions);
  reader.all_known();
}

/// Whoever wrote training down may think that it was taken.
void tell_unread(const json& all, const std::string& file) {
  const auto model = all.value("model", json::object());
  std::string keys;
  for (const json& level : {model.value("diffusion_config", json()), model, all})
    for (const char* key : kOptions)
      if (level.contains(key) && level[key] != false) keys += concat(keys.empty() ? "" : ", ", key);
  if (!keys.empty())
    log::info(file, ": the model is taken; options stand for what else it says: ", keys);
}

}  // namespace

Config Config::open(const std::filesystem::path& file) {
  const auto all = read_yaml(file);
  auto what = file.string();
  auto values = all;
  for (const char* key : {"model", "diffusion_config", "model_config"})
    if (values.is_object() && values.contains(key)) {
      values = json(values[key]);
      what += concat(": ", key);
    }
  if (!values.is_object() || !values.contains("dim"))
    throw Error(Exit::data, what,
                ": no configuration of a video model: dim is missing (and model_config, where the "
                "published files have it)");
  if (take_class(values, "WanModel", what)) {  // whose defaults are not ours
    const json theirs = {
        {"ffn_dim", 8192}, {"num_heads", 16}, {"num_layers", 32}, {"attn_every_n_layers", 1}};
    values.insert(theirs.begin(), theirs.end());
  }
  take_layer(values, what);
  if (all.contains("model")) take_around(all["model"], values, file.string() + ": model");
  auto config = from_json(values, what);
  tell_unread(all, file.string());
  return config;
}

}  // namespace lact::video
