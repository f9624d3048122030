#pragma once
// The causal video VAE of Wan 2.1: 1 + 4 k frames <-> 1 + k latent frames of an eighth of the
// sides. Source: Wan 2.1 (wan/modules/vae.py); spec/video 8.1.

#include "codec.hpp"

#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::video {

/// Latents as the transformer sees them: (mu - mean) / std, per channel.
struct LatentScale {
  std::vector<double> mean, std;
  /// Of Wan 2.1's 16 channels.
  static LatentScale wan();
};

class Vae {
 public:
  /// Official names or those of diffusers' AutoencoderKLWan; widths and depths follow from shapes.
  /// Errors   65 naming `where`, tensor, expected, found
  static Vae load(const io::Checkpoint& file, const std::string& where, at::Device device,
                  at::ScalarType dtype = at::kFloat);

  static constexpr int64_t kFactor = 8;  ///< pixels of a latent's side
  static constexpr int64_t kFrames = 4;  ///< frames of a latent frame but the first
  int64_t channels() const;
  at::ScalarType dtype() const;
  const std::string& identity() const;  ///< of its tensors

  /// video [B, 3, 1 + 4 k, 8 h, 8 w] in [-1, 1] -> mu [B, 1 + k, c, h, w]. 1 frame, then 4 at a
  /// time: memory does not grow with the film but for the result.
  at::Tensor encode(const at::Tensor& video) const;
  /// The next frames of a film: 1 + 4 k at the start, where `memory` is empty, then 4 k. Pieces
  /// have the bits of the whole.
  at::Tensor encode(const at::Tensor& video, DecoderMemory& memory) const;
  /// The next latents [B, f, c, h, w] of a film -> [B, 3, F, 8 h, 8 w] in [-1, 1], F = 4 f or, at
  /// the start, where `memory` is empty, 1 + 4 (f - 1). One latent frame at a time, so that pieces
  /// have the bits of the whole. Errors: 65 if `memory` is of another film's size
  at::Tensor decode(const at::Tensor& latent, DecoderMemory& memory) const;

 private:
  struct Layers;
  std::shared_ptr<const Layers> layers_;
};

/// The codec of a Wan model. `where` is a file or directory of the VAE, or the directory of a whole
/// released model (Wan2.1_VAE.pth or vae/ in it). Mean and spread of the latents: `latents_mean`
/// and `latents_std` of a config.json beside the tensors or in their metadata, else Wan's own.
std::unique_ptr<Codec> open_wan_codec(const std::filesystem::path& where, at::Device device,
                                      at::ScalarType dtype = at::kFloat);

}  // namespace lact::video
