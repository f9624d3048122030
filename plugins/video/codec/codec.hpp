#pragma once
// Frames to latents and back. Source: spec/video 2, 8.1, 10.

#include <plugins/video/model/config.hpp>

#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lact::video {

/// What a decoder remembers between chunks (the Wan VAE's last frames); part of a film's state.
/// Empty at the start.
using DecoderMemory = std::map<std::string, at::Tensor>;

class Codec {
 public:
  virtual ~Codec() = default;
  virtual int64_t channels() const = 0;  ///< of a latent
  virtual int64_t factor() const = 0;    ///< pixels of a latent's side
  /// Frames that `latents` latent frames stand for from the start of a film: f, or 1 + 4 (f - 1).
  virtual int64_t frames(int64_t latents) const = 0;
  /// Latent frames of `frames` frames. Errors: 65 if no number of latents stands for them
  virtual int64_t latents(int64_t frames) const = 0;
  /// video [B, 3, F, H, W] in [0, 1], from the start of a film -> [B, f, c, h, w]
  virtual at::Tensor encode(const at::Tensor& video) const = 0;
  /// The same, of the next frames of a film, as many as stand for whole latents where those before
  /// end. `memory` is the encoder's, empty at the start. In pieces equal to all at once.
  virtual at::Tensor encode_next(const at::Tensor& video, DecoderMemory& /*memory*/) const {
    return encode(video);
  }
  /// The next latents [B, f, c, h, w] of a film -> [B, 3, F, H, W], clamped to [0, 1]. In pieces
  /// equal to all at once.
  virtual at::Tensor decode(const at::Tensor& latent, DecoderMemory& memory) const = 0;
  /// Tells apart codecs that are not in the model's file; empty for those that are.
  virtual std::string identity() const { return {}; }
  /// Names and shapes of a DecoderMemory of one film after `latents` latents of h x w.
  virtual std::map<std::string, std::vector<int64_t>> remembered(int64_t /*latents*/, int64_t /*h*/,
                                                                 int64_t /*w*/) const {
    return {};
  }
  /// Tensors that belong to the model's file ("codec.mean", ...): of "pca".
  virtual io::NamedTensors tensors() const { return {}; }
};

/// The codec of a model. "pca" takes its tensors from the model's checkpoint; "wan" its weights
/// from `vae`: a directory or file under official or diffusers' names. Errors   64 if `vae` is
/// needed and empty; 65 naming file and tensor
std::unique_ptr<Codec> open_codec(const CodecOptions& options, const io::Checkpoint* model,
                                  const std::filesystem::path& vae, at::Device device);

/// Mean and leading `channels` principal components of factor x factor x 3 patches of pixels in
/// [-1, 1] (spec/video 10): codec.mean [3 p p], codec.basis [channels, 3 p p] with unit rows,
/// codec.scale [channels], the spread along each row. Frames are added a few at a time.
class PcaFit {
 public:
  PcaFit(int64_t factor, int64_t channels);
  void add(const at::Tensor& video);  ///< [B, 3, F, H, W] in [0, 1]
  std::unique_ptr<Codec> finish() const;

 private:
  int64_t factor_, channels_;
  double count_ = 0;
  at::Tensor sum_, products_;
};

}  // namespace lact::video
