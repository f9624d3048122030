#include "wan_vae.hpp"

#include "wan_vae_layers.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

bool is_sampler(const VaeFile& file, const std::string& name) {
  return file.has(name + ".resample.1.weight");
}

VaeLayers middle(VaeFile& file, const std::string& side, int64_t& width) {
  VaeLayers layers;
  layers.push_back(vae_residual(file, side + ".middle.0", width));
  layers.push_back(vae_attention(file, side + ".middle.1", width));
  layers.push_back(vae_residual(file, side + ".middle.2", width));
  return layers;
}

/// Residual blocks and samplers. Errors: 65 unless the samplers make 8 x 8 x 4 of one.
VaeLayers stages(VaeFile& file, const std::string& side, int64_t& width) {
  VaeLayers layers;
  int64_t samplers = 0, times = 0;
  for (const auto& name : file.samplers(side)) {
    samplers += is_sampler(file, name) ? 1 : 0;
    layers.push_back(!is_sampler(file, name) ? vae_residual(file, name, width)
                     : side == "encoder"     ? vae_down(file, name, width, times)
                                             : vae_up(file, name, width, times));
  }
  if (samplers != 3 || times != 2)
    file.refuse(side, ": expected 3 samplers, 2 of them with time_conv, found ", samplers, " and ",
                times);
  return layers;
}

/// Layers in the order of the data.
VaeLayers side_layers(VaeFile& file, const std::string& side, int64_t& width) {
  const bool encoder = side == "encoder";
  auto first = encoder ? stages(file, side, width) : middle(file, side, width);
  auto second = encoder ? middle(file, side, width) : stages(file, side, width);
  for (auto& layer : second) first.push_back(std::move(layer));
  return first;
}

/// Encoder or decoder: a convolution, layers, norm and a convolution.
struct Side {
  Side(VaeFile& file, const std::string& name, int64_t in, int64_t out)
      : first(file, name + ".conv1", in, -1, 3),
        width(first.width()),
        layers(side_layers(file, name, width)),
        norm(file, name + ".head.0", width),
        last(file, name + ".head.2", width, out, 3) {}

  Tensor run(Tensor x, VaePass& pass) const {
    x = first(x, pass);
    for (const auto& layer : layers) x = layer->run(x, pass);
    return last(norm.silu(x), pass);
  }

  CausalConv first;
  int64_t width;
  VaeLayers layers;
  VaeNorm norm;
  CausalConv last;
};

}  // namespace

struct Vae::Layers {
  Layers(VaeFile& file, at::ScalarType type)
      : dtype(type),
        encoder(file, "encoder", 3, -1),
        moments(file, "conv1", encoder.last.width(), encoder.last.width(), 5),
        channels(moments.width() / 2),
        latents(file, "conv2", channels, channels, 5),
        decoder(file, "decoder", channels, 3),
        identity(file.identity()) {}
  at::ScalarType dtype;
  Side encoder;
  VaeLinear moments;  // means and log variances
  int64_t channels;
  VaeLinear latents;
  Side decoder;
  std::string identity;  // last: of all before it
};

Vae Vae::load(const io::Checkpoint& checkpoint, const std::string& where, at::Device device,
              at::ScalarType dtype) {
  VaeFile file(checkpoint, where, device, dtype);
  Vae vae;
  vae.layers_ = std::make_shared<const Layers>(file, dtype);
  file.check_all_taken();
  return vae;
}

int64_t Vae::channels() const {
  return layers_->channels;
}

at::ScalarType Vae::dtype() const {
  return layers_->dtype;
}

const std::string& Vae::identity() const {
  return layers_->identity;
}

Tensor Vae::encode(const Tensor& video) const {
  DecoderMemory memory;
  return encode(video, memory);
}

Tensor Vae::encode(const Tensor& video, DecoderMemory& memory) const {
  const at::NoGradGuard no_grad;
  const int64_t frames = video.dim() == 5 ? video.size(2) : 0, rest = memory.empty() ? 1 : 0;
  if (video.dim() != 5 || video.size(1) != 3 || frames == 0 || frames % kFrames != rest ||
      video.size(3) % kFactor != 0 || video.size(4) % kFactor != 0)
    throw Error(Exit::internal, "VAE: expected [B, 3, ", rest, " + 4 k, 8 h, 8 w], found ",
                video.sizes());
  const auto x = video.permute({0, 2, 3, 4, 1}).to(layers_->dtype);
  std::vector<Tensor> all;
  for (int64_t begin = 0; begin < frames;) {
    VaePass pass{memory, memory.empty()};
    const auto end = begin + (pass.first ? 1 : kFrames);
    all.push_back(
        layers_->moments(layers_->encoder.run(x.slice(1, begin, end).contiguous(), pass)));
    begin = end;
  }
  return at::cat(all, 1).slice(-1, 0, channels()).permute({0, 1, 4, 2, 3}).contiguous();
}

Tensor Vae::decode(const Tensor& latent, DecoderMemory& memory) const {
  const at::NoGradGuard no_grad;
  if (latent.dim() != 5 || latent.size(2) != channels())
    throw Error(Exit::data, "VAE: expected latents of ", channels(), " channels, found ",
                latent.sizes());
  const auto x = latent.permute({0, 1, 3, 4, 2}).to(layers_->dtype);
  std::vector<Tensor> all;
  for (int64_t frame = 0; frame < x.size(1); ++frame) {
    VaePass pass{memory, memory.empty()};
    const auto piece = x.slice(1, frame, frame + 1).contiguous();
    all.push_back(layers_->decoder.run(layers_->latents(piece), pass));
  }
  return at::cat(all, 1).permute({0, 4, 1, 2, 3}).clamp(-1, 1).contiguous();
}

}  // namespace lact::video
