#pragma once
// Layers of the causal video VAE, run over a film in pieces. Frames are [B, T, H, W, C], channels
// last, as CPUs convolve fastest. Source: Wan 2.1 (wan/modules/vae.py); spec/video 8.1.

#include "codec.hpp"
#include "wan_vae_file.hpp"

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace lact::video {

/// One piece of a film on its way through the layers.
struct VaePass {
  DecoderMemory& memory;  ///< last frames of the pieces before
  bool first;             ///< there are none
};

class VaeLayer {
 public:
  virtual ~VaeLayer() = default;
  virtual at::Tensor run(const at::Tensor& x, VaePass& pass) const = 0;
};
using VaeLayers = std::vector<std::unique_ptr<VaeLayer>>;

/// x / max(|x|, 1e-12) sqrt(C) gamma, then SiLU.
class VaeNorm {
 public:
  VaeNorm(VaeFile& file, const std::string& name, int64_t width);
  at::Tensor operator()(const at::Tensor& x) const;  ///< without SiLU
  at::Tensor silu(const at::Tensor& x) const;

 private:
  at::Tensor gamma_;
};

/// A convolution over time (3) and space (k x k, padded) that sees no later frame: two frames of
/// the pieces before stand in front.
class CausalConv {
 public:
  /// `out` of -1: as in the file.
  CausalConv(VaeFile& file, const std::string& name, int64_t in, int64_t out, int64_t k);
  int64_t width() const { return bias_.size(0); }
  at::Tensor operator()(const at::Tensor& x, VaePass& pass) const;

 private:
  std::string key_;
  at::Tensor weight_, bias_;  // [out, 3 in, k, k]
};

/// The layers below, made from the tensors that begin with `name`; `width` becomes the layer's
/// output width.
std::unique_ptr<VaeLayer> vae_residual(VaeFile& file, const std::string& name, int64_t& width);
std::unique_ptr<VaeLayer> vae_attention(VaeFile& file, const std::string& name, int64_t width);
/// Halves the sides; with a time_conv, of which `times` counts, also the frames after the first.
std::unique_ptr<VaeLayer> vae_down(VaeFile& file, const std::string& name, int64_t width,
                                   int64_t& times);
/// Doubles them.
std::unique_ptr<VaeLayer> vae_up(VaeFile& file, const std::string& name, int64_t& width,
                                 int64_t& times);

/// A 1 x 1 x 1 convolution.
class VaeLinear {
 public:
  VaeLinear(VaeFile& file, const std::string& name, int64_t in, int64_t out, int64_t rank);
  int64_t width() const { return bias_.size(0); }
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

}  // namespace lact::video
