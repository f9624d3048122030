// A configuration in a file: ours or the published program's YAML, of which JSON is a part.
#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

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
    for (const auto& item : node)
      object[item.first.IsScalar() ? item.first.Scalar() : ""] = to_json(item.second, left);
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

/// A Python class, by its last name.
void take_class(json& values, const std::string& expected, const std::string& what) {
  const auto found = values.find("class_name");
  if (found == values.end()) return;
  const auto name = found->is_string() ? found->get<std::string>() : found->dump();
  if (name.substr(name.rfind('.') + 1) != expected)
    throw Error(Exit::data, what, ": class_name: expected ", expected, ", found ",
                io::printable(name));
  values.erase(found);
}

/// What the layer says again of the model, or has no choice in.
void take_repeated(json& layer, const json& model, const std::string& what) {
  for (const auto& [key, value] : {std::pair<const char*, json>{"dim", model.value("dim", json())},
                                   {"num_heads", model.value("num_heads", json())},
                                   {"qk_norm", true},
                                   {"o_norm", true}}) {
    const auto found = layer.find(key);
    if (found == layer.end()) continue;
    if (*found != value)
      throw Error(Exit::data, what, ": ", key, ": expected ", value.dump(), ", found ",
                  io::printable(found->dump()));
    layer.erase(found);
  }
}

}  // namespace

Config Config::open(const std::filesystem::path& file) {
  auto values = read_yaml(file);
  auto what = file.string();
  for (const char* key : {"model", "diffusion_config", "model_config"})
    if (values.is_object() && values.contains(key)) {
      values = json(values[key]);
      what += concat(": ", key);
    }
  if (!values.is_object() || !values.contains("dim"))
    throw Error(Exit::data, what,
                ": no configuration of a video model: dim is missing (and model_config, where the "
                "published files have it)");
  take_class(values, "WanModel", what);
  if (const auto found = values.find("efficient_attn_config"); found != values.end()) {
    if (found->is_array()) {
      if (found->size() != 1)
        throw Error(Exit::data, what, ": efficient_attn_config: expected one kind of layer, found ",
                    found->size());
      *found = json((*found)[0]);
    }
    const auto layer = what + ": efficient_attn_config";
    if (!found->is_object()) throw Error(Exit::data, layer, ": expected keys with values");
    take_class(*found, "ARFastWeightSwiGLU", layer);
    take_repeated(*found, values, layer);
  }
  return from_json(values, what);
}

}  // namespace lact::video
