// What the names and shapes of a bare file tell of its model.
#include "config.hpp"
#include "model_place.hpp"
#include "names.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace lact::video {
namespace {

constexpr int64_t kMostLayers = 1000;
constexpr int64_t kPublishedHead = 128;  // of all released models

/// The tensors of a file, asked by official name.
class Shapes {
 public:
  explicit Shapes(const io::Checkpoint& file) : file_(file), names_(file) {}

  bool has(const std::string& name) const { return !names_.find(name).empty(); }
  const StoredNames& names() const { return names_; }
  std::vector<int64_t> of(const std::string& name, size_t dimensions) const {
    const auto stored = names_.find(name);
    if (stored.empty())
      refuse("tensor ", name,
             " is missing: not a Wan or LaCT video model, or give its config.json");
    const auto shape = file_.entry(stored).shape;
    if (shape.size() != dimensions)
      refuse("tensor ", name, ": expected ", dimensions, " dimensions, found ", shape.size());
    for (const int64_t n : shape)
      if (n < 1) refuse("tensor ", name, ": is empty");
    return shape;
  }
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw Error(Exit::data, file_name(file_), ": ", parts...);
  }

 private:
  const io::Checkpoint& file_;
  StoredNames names_;
};

/// Kinds of files for Wan that are no model from text to video, by what their names hold.
void refuse_other_kinds(const Shapes& file) {
  static const std::vector<std::pair<const char*, const char*>> kinds = {
      {".lora_", "a LoRA: merge it into its model"},
      {"lora_unet_", "a LoRA: merge it into its model"},
      {".scale_weight", "scaled fp8 weights: give the model in bfloat16 or float16"},
      {"scaled_fp8", "scaled fp8 weights: give the model in bfloat16 or float16"},
      {".comfy_quant", "quantized weights: give the model in bfloat16 or float16"},
      {"vace_", "a VACE model: only those from text to video are known"},
      {"img_emb.", "a model from images to video: only those from text to video are known"},
      {"k_img.", "a model from images to video: only those from text to video are known"},
      {"image_embedder.", "a model from images to video: only those from text to video are known"},
      {"control_adapter.", "a model with controls: only those from text to video are known"},
      {"ref_conv.", "a model with controls: only those from text to video are known"}};
  for (const auto& [official, stored] : file.names().all())
    for (const auto& [word, kind] : kinds)
      if (stored.find(word) != std::string::npos)
        file.refuse("tensor ", io::printable(stored), ": of ", kind);
}

FastOptions layer_of(const Shapes& file, int64_t block) {
  const auto name = concat("blocks.", block, ".self_attn.");
  const auto w0 = file.of(name + "w0", 3);
  FastOptions fast;
  fast.head_dim = w0[2];
  fast.inter_multi = static_cast<double>(w0[1]) / static_cast<double>(w0[2]);
  fast.momentum = file.has(name + "momentum_proj.0.weight");
  fast.learnable_scale = file.has(name + "ttt_scale_proj.weight");
  return fast;
}

Config inferred(const Shapes& file) {
  Config c;
  const auto patch = file.of("patch_embedding.weight", 5);
  c.dim = patch[0];
  c.in_dim = patch[1];
  std::copy(patch.begin() + 2, patch.end(), c.patch_size.begin());
  for (const int64_t one : c.patch_size)
    if (one > 1024) file.refuse("tensor patch_embedding.weight: patches of ", one);
  c.out_dim = file.of("head.head.weight", 2)[0] / (patch[2] * patch[3] * patch[4]);
  c.freq_dim = file.of("time_embedding.0.weight", 2)[1];
  c.text_dim = file.of("text_embedding.0.weight", 2)[1];
  c.ffn_dim = file.of("blocks.0.ffn.0.weight", 2)[0];
  if (c.dim % kPublishedHead != 0)
    file.refuse("its tensors do not tell the number of heads; give config.json");
  c.num_heads = c.dim / kPublishedHead;
  const auto modulation = [](int64_t i) { return concat("blocks.", i, ".modulation"); };
  for (c.num_layers = 0; c.num_layers < kMostLayers && file.has(modulation(c.num_layers));)
    ++c.num_layers;
  const bool released = c.text_dim == 4096;
  if (released && c.in_dim == 16 && c.out_dim == 16) {
    c.codec = {"wan", 8};
    c.condition = "umt5";
  } else if (released && (c.in_dim > 16 || c.out_dim != c.in_dim)) {
    file.refuse(
        "tensor patch_embedding.weight: has ", c.in_dim, " channels, as Wan's models ",
        c.in_dim == 48 && c.out_dim == 48 ? "with the VAE of Wan 2.2" : "of images or controls",
        ": only Wan 2.1's from text to video, of 16, is known");
  }
  if (!file.names().has_fast()) return c;
  c.fast = layer_of(file, 0);
  for (int64_t i = 0; i < c.num_layers && c.attn_every_n_layers == 100; ++i)
    if (!file.has(concat("blocks.", i, ".self_attn.w0"))) c.attn_every_n_layers = i + 1;
  return c;
}

/// Names and shapes must be those of the model, all of them and nothing else.
void compare(const Shapes& file, const Config& config) {
  std::map<std::string, std::vector<int64_t>> wanted;
  for (const auto& [name, shape] : parameter_shapes(config)) {
    wanted.emplace(name, shape);
    if (file.of(name, shape.size()) != shape)
      file.refuse("tensor ", name, ": its shape does not go with the others");
  }
  for (const auto& [name, stored] : file.names().all())
    if (wanted.count(name) == 0)
      file.refuse("tensor ", io::printable(stored), ": not one of a Wan or LaCT video model");
}

}  // namespace

Config Config::of(const io::Checkpoint& checkpoint) {
  const auto folder = checkpoint.folder();
  const Shapes file(checkpoint);
  refuse_other_kinds(file);
  if (!checkpoint.side_file("config.json").empty())
    return from_json(checkpoint.config(), (folder / "config.json").string());
  for (const auto& [key, value] : checkpoint.metadata())
    if (key == "config") {
      const auto what = folder.string() + ": metadata: config";
      auto c = from_json(io::parse_json(value, what), what);
      compare(file, c);
      return c;
    }
  auto c = inferred(file);
  try {
    c.check(folder.string());
  } catch (const Error& error) {
    throw Error(Exit::data, error.what());
  }
  compare(file, c);
  return c;
}

}  // namespace lact::video
