#include "wan_vae.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

class WanCodec final : public Codec {
 public:
  WanCodec(Vae vae, const LatentScale& scale, at::Device device) : vae_(std::move(vae)) {
    const auto numbers = [&](const std::vector<double>& values) {
      return at::tensor(values, at::kDouble).to(device, vae_.dtype()).view({-1, 1, 1});
    };
    mean_ = numbers(scale.mean);
    std_ = numbers(scale.std);
    io::Xxh3 hash;
    hash.update(vae_.identity().data(), vae_.identity().size());
    for (const auto* values : {&scale.mean, &scale.std})
      hash.update(values->data(), values->size() * sizeof(double));
    identity_ = hash.digest();
  }
  int64_t channels() const override { return vae_.channels(); }
  int64_t factor() const override { return Vae::kFactor; }
  int64_t frames(int64_t latents) const override { return 1 + Vae::kFrames * (latents - 1); }
  int64_t latents(int64_t frames) const override {
    if (frames < 1 || frames % Vae::kFrames != 1)
      throw Error(Exit::data, "codec wan: expected 1 + 4 k frames (1, 5, 9, ...), found ", frames);
    return 1 + frames / Vae::kFrames;
  }
  Tensor encode(const Tensor& video) const override {
    latents(video.size(2));
    DecoderMemory memory;
    return encode_next(video, memory);
  }
  Tensor encode_next(const Tensor& video, DecoderMemory& memory) const override {
    if (video.size(3) % factor() != 0 || video.size(4) % factor() != 0)
      throw Error(Exit::usage, "frames of ", video.size(4), " x ", video.size(3),
                  " do not fit the codec: both must be multiples of ", factor());
    return (vae_.encode(video * 2 - 1, memory) - mean_) / std_;
  }
  Tensor decode(const Tensor& latent, DecoderMemory& memory) const override {
    if (latent.dim() != 5 || latent.size(2) != channels())
      throw Error(Exit::data, "codec wan: expected latents of ", channels(), " channels, found ",
                  latent.sizes());
    return (vae_.decode(latent.to(vae_.dtype()) * std_ + mean_, memory) + 1) / 2;
  }
  std::string identity() const override { return identity_; }
  std::map<std::string, std::vector<int64_t>> remembered(int64_t latents, int64_t h,
                                                         int64_t w) const override {
    if (latents < 1) return {};
    // What the decoder keeps of one pixel tells it; from the second latent on it stays the same.
    DecoderMemory memory;
    vae_.decode(at::zeros({1, std::min<int64_t>(latents, 2), channels(), 1, 1}, mean_.options()),
                memory);
    std::map<std::string, std::vector<int64_t>> all;
    for (const auto& [name, x] : memory)
      all[name] = {x.size(0), x.size(1), h * x.size(2), w * x.size(3), x.size(4)};
    return all;
  }

 private:
  Vae vae_;
  Tensor mean_, std_;  // [c, 1, 1]
  std::string identity_;
};

/// A list of as many numbers as there are channels; spreads are above 0.
std::vector<double> channel_numbers(const nlohmann::json& config, const char* key, int64_t channels,
                                    double above, const std::string& where) {
  const auto refuse = [&] {
    throw Error(Exit::data, where, ": config: ", key, ": expected ", channels, " numbers",
                above >= 0 ? " above 0" : "");
  };
  const auto found = config.find(key);
  if (found == config.end() || !found->is_array() ||
      static_cast<int64_t>(found->size()) != channels)
    refuse();
  std::vector<double> numbers;
  for (const auto& value : *found) {
    if (!value.is_number()) refuse();
    numbers.push_back(value.get<double>());
    if (!std::isfinite(numbers.back()) || (above >= 0 && numbers.back() <= above)) refuse();
  }
  return numbers;
}

/// config.json beside the tensors, or the one in their metadata, if it tells of latents.
nlohmann::json latent_config(const io::Checkpoint& file, const std::string& where) {
  nlohmann::json config;
  if (!file.side_file("config.json").empty()) config = file.config();
  if (config.is_object() && config.contains("latents_mean")) return config;
  const auto text = file.metadata().find("config");
  if (text != file.metadata().end()) config = io::parse_json(text->second, where + ": config");
  return config.is_object() && config.contains("latents_mean") ? config : nlohmann::json();
}

LatentScale scale_of(const io::Checkpoint& file, const std::string& where, int64_t channels) {
  const auto config = latent_config(file, where);
  if (config.is_object())
    return {channel_numbers(config, "latents_mean", channels, -1, where),
            channel_numbers(config, "latents_std", channels, 0, where)};
  auto wan = LatentScale::wan();
  if (static_cast<int64_t>(wan.mean.size()) == channels) return wan;
  throw Error(Exit::data, where, ": latents of ", channels,
              " channels: expected latents_mean and latents_std in a config.json beside it");
}

/// The VAE's own file or directory, within a released model's or not.
fs::path vae_place(const fs::path& where) {
  std::error_code error;
  for (const char* inside : {"Wan2.1_VAE.pth", "vae"})
    if (fs::is_directory(where, error) && fs::exists(where / inside, error)) return where / inside;
  return where;
}

}  // namespace

LatentScale LatentScale::wan() {
  return {{-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715,
           0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921},
          {2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652,
           1.5579, 1.6382, 1.1253, 2.8251, 1.9160}};
}

std::unique_ptr<Codec> open_wan_codec(const fs::path& where, at::Device device,
                                      at::ScalarType dtype) {
  const auto place = vae_place(where);
  const auto file = io::Checkpoint::open(place);
  auto vae = Vae::load(file, place.string(), device, dtype);
  const auto scale = scale_of(file, place.string(), vae.channels());
  return std::make_unique<WanCodec>(std::move(vae), scale, device);
}

}  // namespace lact::video
