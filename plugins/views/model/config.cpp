#include "config.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lact::views {
namespace {

using nlohmann::json;
using Kind = Sublayer::Kind;
using nn::Shapes;

constexpr int64_t kLargestSize = 1 << 20;
constexpr int64_t kMostLayers = 1000;

const char* type_name(Kind kind) {
  switch (kind) {
    case Kind::attention:
      return "model.SelfAttention";
    case Kind::fast_weights:
      return "lact_ttt.FastWeightGluMLPMultihead";
    case Kind::mlp:
      return "model.MLP";
  }
  throw Error(Exit::internal, "an unknown sublayer");
}

/// Types are Python paths: the last component counts.
Kind kind_of(const std::string& type, const std::string& what) {
  const auto name = type.substr(type.rfind('.') + 1);
  for (const auto kind : {Kind::attention, Kind::fast_weights, Kind::mlp}) {
    const std::string full = type_name(kind);
    if (full.substr(full.rfind('.') + 1) == name) return kind;
  }
  throw Error(Exit::data, what, ": block_config: type: expected SelfAttention, ",
              "FastWeightGluMLPMultihead or MLP, found ", io::printable(type));
}

Sublayer sublayer_from(const json& values, const std::string& what) {
  io::JsonObject outer(values, what + ": block_config");
  Sublayer s;
  std::string type, length = "vl";
  outer.read("type", type);
  outer.read("length_dim", length, {"vl", "l"});
  s.kind = kind_of(type, what);
  s.per_view = length == "l";
  const json none = json::object();
  const auto* given = outer.find("params");
  io::JsonObject params(given == nullptr ? none : *given, concat(what, ": block_config: ", type));
  bool bias = false;
  params.read("bias", bias);
  if (bias) params.refuse("bias", "false");
  if (s.kind != Kind::mlp) params.read("head_dim", s.head_dim);
  if (s.kind == Kind::attention) {
    params.read("use_qk_norm", s.qk_norm);
    params.read("causal", s.causal);
    s.inter_multi = 0;
  } else {
    s.inter_multi = s.kind == Kind::mlp ? 4 : 1;
    params.read("inter_multi", s.inter_multi);
  }
  if (s.kind == Kind::fast_weights) {
    s.muon_steps = 0;
    params.read("base_lr", s.base_lr);
    params.read("muon_update_steps", s.muon_steps);
  }
  params.all_known();
  return s;
}

nlohmann::ordered_json to_json(const Sublayer& s) {
  nlohmann::ordered_json params;
  if (s.kind == Kind::attention) {
    params = {{"head_dim", s.head_dim}, {"use_qk_norm", s.qk_norm}};
    if (s.causal) params["causal"] = true;
  } else if (s.kind == Kind::fast_weights) {
    params = {{"head_dim", s.head_dim},
              {"inter_multi", s.inter_multi},
              {"base_lr", s.base_lr},
              {"muon_update_steps", s.muon_steps}};
  } else {
    params = {{"inter_multi", s.inter_multi}};
  }
  return {{"type", type_name(s.kind)}, {"length_dim", s.per_view ? "l" : "vl"}, {"params", params}};
}

/// Names and shapes of one sublayer, relative to "blocks.I.module_list.J.".
Shapes sublayer_shapes(const Config& c, const Sublayer& s) {
  const int64_t d = c.dim, heads = c.heads(s), hidden = c.hidden(s);
  Shapes shapes = {{"ln.weight", {d}}};
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    shapes.emplace_back(concat("f.", name), std::move(shape));
  };
  if (s.kind == Kind::mlp) {
    add("c_fc.weight", {hidden, d});
    add("c_proj.weight", {d, hidden});
    return shapes;
  }
  if (s.kind == Kind::fast_weights) {
    add("w0", {heads, s.head_dim, hidden});
    add("w1", {heads, hidden, s.head_dim});
    add("w2", {heads, s.head_dim, hidden});
  }
  add("to_qkv.weight", {3 * d, d});
  add("c_proj.weight", {d, d});
  if (s.kind == Kind::fast_weights) {
    add("lr_fc.weight", {3 * heads, d});
    add("lr_fc.bias", {3 * heads});
    add("o_norm.weight", {s.head_dim});
  } else if (s.qk_norm) {
    add("q_norm.weight", {s.head_dim});
    add("k_norm.weight", {s.head_dim});
  }
  return shapes;
}

Config with(int64_t patch, int64_t dim, int64_t layers, std::vector<Sublayer> block) {
  Config c;
  c.patch_size = patch;
  c.dim = dim;
  c.layers = layers;
  c.block = std::move(block);
  return c;
}

/// The shape of a tensor that a bare file must have.
std::vector<int64_t> shape_of(const io::Checkpoint& checkpoint, const std::string& name,
                              size_t dimensions) {
  if (!checkpoint.contains(name))
    throw Error(Exit::data, checkpoint.folder().string(), ": tensor ", name,
                " is missing: not a views model, and there is no config.json");
  const auto shape = checkpoint.entry(name).shape;
  if (shape.size() != dimensions)
    throw Error(Exit::data, checkpoint.folder().string(), ": tensor ", name, ": expected ",
                dimensions, " dimensions, found ", shape.size());
  return shape;
}

Config inferred(const io::Checkpoint& file) {
  Config c;
  c.muon_dtype = "bfloat16";  // as the published models are run
  const auto input = shape_of(file, "input_linear.weight", 2);
  c.dim = input[0];
  c.patch_size = std::llround(std::sqrt(static_cast<double>(input[1]) / 12));
  const auto exists = [&](int64_t block, int64_t sublayer) {
    return file.contains(concat("blocks.", block, ".module_list.", sublayer, ".ln.weight"));
  };
  for (c.layers = 0; exists(c.layers, 0) && c.layers < kMostLayers;) ++c.layers;
  for (int64_t j = 0; exists(0, j) && j < kMostLayers; ++j) {
    const auto prefix = concat("blocks.0.module_list.", j, ".f.");
    Sublayer s;
    if (file.contains(prefix + "w0")) {
      const auto w0 = shape_of(file, prefix + "w0", 3);
      s.kind = Kind::fast_weights;
      s.head_dim = w0[1];
      s.inter_multi = static_cast<double>(w0[2]) / static_cast<double>(std::max<int64_t>(w0[1], 1));
    } else if (file.contains(prefix + "c_fc.weight")) {
      s.inter_multi = static_cast<double>(shape_of(file, prefix + "c_fc.weight", 2)[0]) /
                      static_cast<double>(std::max<int64_t>(c.dim, 1));
    } else {
      s.kind = Kind::attention;
      s.per_view = true;
      s.inter_multi = 0;
      s.qk_norm = file.contains(prefix + "q_norm.weight");
      if (s.qk_norm) s.head_dim = shape_of(file, prefix + "q_norm.weight", 1)[0];
    }
    c.block.push_back(s);
  }
  return c;
}

/// [width, height]
void read_size(const json& size, Config& c, const io::JsonObject& reader) {
  const auto is_side = [](const json& one) {
    return one.is_number_integer() && one.get<int64_t>() >= 1 && one.get<int64_t>() <= kLargestSize;
  };
  if (!size.is_array() || size.size() != 2 || !is_side(size[0]) || !is_side(size[1]))
    reader.refuse("image_size", "width and height in pixels");
  c.width = size[0].get<int64_t>();
  c.height = size[1].get<int64_t>();
}

}  // namespace

int64_t Config::hidden(const Sublayer& s) const {
  const int64_t width = s.kind == Kind::fast_weights ? s.head_dim : dim;
  // A multiple that was a quotient of widths must give the width back.
  return static_cast<int64_t>(static_cast<double>(width) * s.inter_multi * (1 + 1e-12));
}

std::vector<Sublayer> Config::published_block(int64_t attention_head, int64_t fast_head,
                                              double inter_multi) {
  Sublayer attention, fast, mlp;
  attention.kind = Kind::attention;
  attention.per_view = true;
  attention.head_dim = attention_head;
  attention.inter_multi = 0;
  fast.kind = Kind::fast_weights;
  fast.head_dim = fast_head;
  fast.inter_multi = inter_multi;
  return {attention, fast, mlp};
}

Config Config::from_json(const json& values, const std::string& what) {
  Config c;
  io::JsonObject reader(values, what);
  std::string type = "lact_views";
  reader.read("model_type", type);
  if (type != "lact_views")
    throw Error(Exit::data, what, ": model_type: expected lact_views, found ", io::printable(type),
                ": not a model of views");
  reader.read("patch_size", c.patch_size);
  reader.read("dim", c.dim);
  reader.read("layers", c.layers);
  reader.read("muon_dtype", c.muon_dtype, {"auto", "bfloat16", "float32"});
  reader.read("learn", c.learn, {"all", "last", "none"});
  reader.read("normalize_poses", c.normalize_poses, {"none", "all", "context", "inputs"});
  if (c.normalize_poses == "inputs") c.normalize_poses = "context";  // its name before 0.1.0
  if (const auto* size = reader.find("image_size")) read_size(*size, c, reader);
  const auto* block = reader.find("block_config");
  if (block == nullptr || !block->is_array())
    throw Error(Exit::data, what, ": block_config: expected a list of sublayers");
  for (const auto& one : *block) c.block.push_back(sublayer_from(one, what));
  c.check(what);
  return c;
}

nlohmann::ordered_json Config::to_json() const {
  auto sublayers = nlohmann::ordered_json::array();
  for (const auto& s : block) sublayers.push_back(views::to_json(s));
  nlohmann::ordered_json values = {{"model_type", "lact_views"},
                                   {"patch_size", patch_size},
                                   {"dim", dim},
                                   {"layers", layers},
                                   {"block_config", sublayers},
                                   {"muon_dtype", muon_dtype},
                                   {"normalize_poses", normalize_poses}};
  if (learn != "all") values["learn"] = learn;
  if (width > 0 && height > 0) values["image_size"] = {width, height};
  return values;
}

Config Config::of(const io::Checkpoint& checkpoint) {
  const auto file = checkpoint.folder() / "config.json";
  if (!checkpoint.side_file("config.json").empty())
    return from_json(checkpoint.config(), file.string());
  auto c = inferred(checkpoint);
  // Those of four times the width are all of scenes.
  const auto of_scenes = preset("lact_l24_d768_ttt4x");
  c.says_poses =
      c.dim == of_scenes.dim && c.layers == of_scenes.layers && c.block == of_scenes.block;
  if (c.says_poses) c.normalize_poses = "all";
  try {
    c.check(checkpoint.folder().string());
    for (const auto& [name, shape] : parameter_shapes(c))
      if (shape_of(checkpoint, name, shape.size()) != shape)
        throw Error(Exit::data, checkpoint.folder().string(), ": tensor ", name,
                    ": its shape does not go with the others");
  } catch (const Error& error) {
    throw Error(Exit::data, error.what());
  }
  return c;
}

void Config::heed_name(const std::filesystem::path& location) {
  const auto name = location.filename().string();
  int high = 0, wide = 0;
  const bool object = std::sscanf(name.c_str(), "obj_res%5d", &high) == 1;
  const bool scene = std::sscanf(name.c_str(), "scene_res%5dx%5d", &high, &wide) == 2;
  if (!object && !scene) return;
  if (!says_poses) normalize_poses = scene ? "all" : "none";
  says_poses = true;
  if (width > 0) return;
  height = std::max(0, high);
  width = std::max(0, object ? high : wide);
}

void Config::check(const std::string& what) const {
  const auto refuse = [&](const auto&... why) { throw Error(Exit::config, what, ": ", why...); };
  const auto size = [&](const char* key, int64_t value, int64_t most = kLargestSize) {
    if (value < 1 || value > most) refuse(key, ": must be 1 to ", most, ", not ", value);
  };
  size("patch_size", patch_size, 1024);
  size("dim", dim);
  size("layers", layers, kMostLayers);
  if (block.empty() || block.size() > 100) refuse("block_config: expected 1 to 100 sublayers");
  for (const auto& s : block) {
    // What is rendered must know the context by the fast weights alone.
    if (s.kind == Kind::attention && !s.per_view)
      refuse("block_config: attention: length_dim: only \"l\", within a view, exists");
    if (s.kind == Kind::fast_weights && s.per_view)
      refuse("block_config: fast weights: length_dim: only \"vl\", over all views, exists");
    if (s.kind != Kind::mlp) {
      size("head_dim", s.head_dim);
      if (dim % s.head_dim != 0) refuse("dim ", dim, " is not divisible by head_dim ", s.head_dim);
    }
    if (s.kind == Kind::attention) continue;
    if (!(s.inter_multi > 0 && s.inter_multi <= 1000) || hidden(s) < 1)
      refuse("inter_multi: must be above 0 and at most 1000, not ", s.inter_multi);
    if (!(s.base_lr > 0 && s.base_lr < 1e4)) refuse("base_lr: must be above 0, not ", s.base_lr);
    if (s.muon_steps < 0 || s.muon_steps > 100)
      refuse("muon_update_steps: must be 0 to 100, not ", s.muon_steps);
  }
}

std::vector<std::string> Config::presets() {
  return {"tiny", "small", "lact_l14_d768_ttt2x", "lact_l24_d768_ttt2x", "lact_l24_d768_ttt4x"};
}

Config Config::preset(const std::string& name) {
  if (name == "tiny") return with(8, 192, 6, published_block(64, 192, 2));
  if (name == "small") return with(8, 384, 12, published_block(64, 384, 2));
  if (name == "lact_l14_d768_ttt2x") return with(8, 768, 14, published_block(64, 768, 2));
  if (name == "lact_l24_d768_ttt2x") return with(8, 768, 24, published_block(64, 768, 2));
  if (name == "lact_l24_d768_ttt4x") return with(8, 768, 24, published_block(64, 768, 4));
  std::string list;
  for (const auto& one : presets()) list += (list.empty() ? "" : ", ") + one;
  throw Error(Exit::usage, "--preset ", name, ": expected one of ", list);
}

Shapes parameter_shapes(const Config& c) {
  const int64_t patch = c.patch_size * c.patch_size;
  Shapes shapes = {{"input_linear.weight", {c.dim, 12 * patch}},
                   {"input_layernorm.weight", {c.dim}}};
  for (int64_t i = 0; i < c.layers; ++i)
    for (size_t j = 0; j < c.block.size(); ++j)
      for (const auto& [name, shape] : sublayer_shapes(c, c.block[j]))
        shapes.emplace_back(concat("blocks.", i, ".module_list.", j, ".", name), shape);
  shapes.push_back({"image_token_decoder.0.weight", {c.dim}});
  shapes.push_back({"image_token_decoder.1.weight", {3 * patch, c.dim}});
  return shapes;
}

}  // namespace lact::views
