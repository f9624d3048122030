// Golden files of what stands around Wan's transformer. Their weights lie beside them, under both
// namings; where several are there, all must give the same bits.

#include "golden.hpp"

#include <plugins/video/codec/wan_vae.hpp>
#include <plugins/video/condition/umt5.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kLongest = 1 << 20;  // positions apart

at::ScalarType arithmetic(const Golden& file) {
  return file.settings().dtype == at::kDouble ? at::kDouble : at::kFloat;
}

/// Computes with each of the files that lie beside the case; nothing if there is none.
Computed with_each(Golden& file, const std::vector<const char*>& names,
                   const std::function<Computed(const fs::path&)>& compute) {
  Computed first;
  std::string first_name;
  for (const char* name : names) {
    const auto path = file.file().path().parent_path() / name;
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    auto results = compute(path);
    if (first.empty()) {
      first = std::move(results);
      first_name = name;
      continue;
    }
    for (const auto& [tensor, value] : results)
      if (!value.equal(first.at(tensor)))
        file.refuse(tensor, ": ", name, " gives other numbers than ", first_name);
  }
  return first;
}

/// A list of numbers in the case's config, one for each channel of a latent.
Tensor per_channel(const Golden& file, const char* key, const Vae& vae) {
  const auto& config = file.option("config");
  const auto found = config.is_object() ? config.find(key) : config.end();
  std::vector<double> numbers;
  if (config.is_object() && found != config.end() && found->is_array())
    for (const auto& value : *found)
      if (value.is_number()) numbers.push_back(value.get<double>());
  if (static_cast<int64_t>(numbers.size()) != vae.channels())
    file.refuse("case: config: ", key, ": expected ", vae.channels(), " numbers");
  return at::tensor(numbers, at::kDouble).to(file.settings().device, vae.dtype()).view({-1, 1, 1});
}

Computed vae(Golden& file) {
  Dim B("B"), rgb("3", 3), F("F"), H("H"), W("W"), c("c"), f("f"), h("h"), w("w");
  const auto video = file.input("in.video", {B, rgb, F, H, W});
  const auto latent = file.input("in.latent", {B, c, f, h, w}).transpose(1, 2);
  if (F.size % Vae::kFrames != 1 || H.size % Vae::kFactor != 0 || W.size % Vae::kFactor != 0)
    file.refuse("in.video: expected 1 + 4 k frames and sides that are multiples of 8");
  return with_each(file, {"vae_tiny_diffusers.safetensors", "vae_tiny_official.pth"},
                   [&](const fs::path& path) -> Computed {
                     const auto net = Vae::load(io::Checkpoint::open(path), path.string(),
                                                file.settings().device, arithmetic(file));
                     if (net.channels() != c.size)
                       file.refuse("in.latent: expected ", net.channels(), " channels");
                     const auto mean = per_channel(file, "latents_mean", net),
                                std = per_channel(file, "latents_std", net);
                     const auto mu = net.encode(video * 2 - 1);
                     const auto z = (mu - mean) / std;
                     DecoderMemory first, second;
                     return {{"out.mu", mu.transpose(1, 2)},
                             {"out.latent", z.transpose(1, 2)},
                             {"out.reconstruction", net.decode(z * std + mean, first)},
                             {"out.decoded", net.decode(latent * std + mean, second)}};
                   });
}

/// The encoder of one file. The files in bfloat16 hold other weights, rounded: they are no golden
/// values here, but the tests compare them with the rounded ones of the others.
Computed umt5(Golden& file) {
  Dim B("B"), L("L"), P("P");
  const auto ids = file.integers("in.ids", {B, L}, 0, INT32_MAX);
  const auto mask = file.integers("in.mask", {B, L}, 0, 1);
  const auto relative = file.integers("out.relative_position", {P}, -kLongest, kLongest);
  auto results = with_each(file, {"umt5_tiny_official.safetensors", "umt5_tiny_hf.safetensors"},
                           [&](const fs::path& path) -> Computed {
                             const auto net = Umt5::load(io::Checkpoint::open(path), path.string(),
                                                         file.settings().device, arithmetic(file));
                             if (ids.max().item<int64_t>() >= net.vocabulary())
                               file.refuse("in.ids: expected ids below ", net.vocabulary());
                             return {{"out.embedding", net.encode(ids, mask)}};
                           });
  results["out.relative_position"] = relative;
  results["out.bucket"] = umt5_bucket(relative);
  return results;
}

}  // namespace

std::vector<verify::GoldenKind> wan_kinds() {
  return {{"vae", "in.video", vae}, {"umt5", "in.ids", umt5}};
}

}  // namespace lact::video
