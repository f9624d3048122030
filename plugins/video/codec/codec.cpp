#include "codec.hpp"

#include "wan_vae.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

/// Spreads below this (in units of [-1, 1]; 8 bits step by 0.008) are none: nothing is divided by
/// them.
constexpr double kLeastSpread = 1e-3;

/// [B, 3, F, H, W] in [0, 1] -> patches [B, F, 3 p p, H / p, W / p] in [-1, 1], colour first, as
/// pixel_unshuffle orders them.
Tensor to_patches(const Tensor& video, int64_t p) {
  if (video.dim() != 5 || video.size(1) != 3)
    throw Error(Exit::internal, "codec: expected [B, 3, F, H, W], found ", video.sizes());
  const int64_t B = video.size(0), F = video.size(2), h = video.size(3) / p, w = video.size(4) / p;
  if (h * p != video.size(3) || w * p != video.size(4) || h * w == 0)
    throw Error(Exit::usage, "frames of ", video.size(4), " x ", video.size(3),
                " do not fit the codec: both must be multiples of ", p);
  return (video * 2 - 1)
      .view({B, 3, F, h, p, w, p})
      .permute({0, 2, 1, 4, 6, 3, 5})
      .reshape({B, F, 3 * p * p, h, w});
}

/// The inverse of to_patches, clamped.
Tensor from_patches(const Tensor& patches, int64_t p) {
  const int64_t B = patches.size(0), F = patches.size(1), h = patches.size(3), w = patches.size(4);
  const auto video = patches.reshape({B, F, 3, p, p, h, w})
                         .permute({0, 2, 1, 5, 3, 6, 4})
                         .reshape({B, 3, F, h * p, w * p});
  return ((video + 1) / 2).clamp(0, 1);
}

/// Each latent pixel holds the factor x factor pixels it covers: nothing is lost.
class PatchCodec : public Codec {
 public:
  explicit PatchCodec(int64_t factor) : factor_(factor) {}
  int64_t channels() const override { return 3 * factor_ * factor_; }
  int64_t factor() const override { return factor_; }
  int64_t frames(int64_t latents) const override { return latents; }
  int64_t latents(int64_t frames) const override { return frames; }
  Tensor encode(const Tensor& video) const override { return to_patches(video, factor_); }
  Tensor decode(const Tensor& latent, DecoderMemory&) const override {
    if (latent.dim() != 5 || latent.size(2) != channels())
      throw Error(Exit::data, "codec: expected latents of ", channels(), " channels, found ",
                  latent.sizes());
    return from_patches(unproject(latent), factor_);
  }

 protected:
  virtual Tensor unproject(const Tensor& latent) const { return latent; }

 private:
  int64_t factor_;
};

/// z = V^T (x - mean) / spread.
class PcaCodec final : public PatchCodec {
 public:
  /// mean [3 p p], basis [c, 3 p p] of unit rows, scale [c].
  PcaCodec(int64_t factor, Tensor mean, Tensor basis, Tensor scale)
      : PatchCodec(factor),
        mean_(std::move(mean)),
        basis_(std::move(basis)),
        scale_(std::move(scale)) {}
  int64_t channels() const override { return scale_.size(0); }
  Tensor encode(const Tensor& video) const override {
    const auto x = PatchCodec::encode(video).movedim(2, -1);  // [B, F, h, w, 3 p p]
    const auto mean = mean_.to(x.options()), basis = basis_.to(x.options());
    return (at::matmul(x - mean, basis.t()) / scale_.to(x.options())).movedim(-1, 2);
  }
  io::NamedTensors tensors() const override {
    return {{"codec.mean", mean_}, {"codec.basis", basis_}, {"codec.scale", scale_}};
  }

 protected:
  Tensor unproject(const Tensor& latent) const override {
    const auto options = latent.options();
    const auto z = latent.movedim(2, -1) * scale_.to(options);
    return (at::matmul(z, basis_.to(options)) + mean_.to(options)).movedim(-1, 2);
  }

 private:
  Tensor mean_, basis_, scale_;
};

/// A tensor of the model's file in float32, finite and of this shape; -1 fits any size above 0.
Tensor codec_tensor(const io::Checkpoint& model, const std::string& name,
                    const std::vector<int64_t>& shape) {
  const auto where = model.folder().string();
  if (!model.contains(name))
    throw Error(Exit::data, where, ": tensor ", name, ", which codec pca needs, is missing");
  const auto tensor = model.tensor(name);
  bool fits = tensor.dim() == static_cast<int64_t>(shape.size()) && tensor.is_floating_point();
  for (size_t i = 0; fits && i < shape.size(); ++i) {
    const int64_t size = tensor.sizes()[i];
    fits = shape[i] < 0 ? size > 0 : size == shape[i];
  }
  if (!fits)
    throw Error(Exit::data, where, ": tensor ", name, ": expected numbers of shape ",
                at::IntArrayRef(shape), ", found ", tensor.dtype().name(), " ", tensor.sizes());
  if (!tensor.isfinite().all().item<bool>())
    throw Error(Exit::data, where, ": tensor ", name, " is not finite");
  return tensor.to(at::kFloat).clone();
}

std::unique_ptr<Codec> open_pca(const io::Checkpoint& model, int64_t factor, at::Device device) {
  const int64_t patch = 3 * factor * factor;
  const auto basis = codec_tensor(model, "codec.basis", {-1, patch});
  const auto mean = codec_tensor(model, "codec.mean", {patch});
  const auto scale = codec_tensor(model, "codec.scale", {basis.size(0)});
  if (!(scale > 0).all().item<bool>())
    throw Error(Exit::data, model.folder().string(),
                ": tensor codec.scale: expected numbers above 0");
  return std::make_unique<PcaCodec>(factor, mean.to(device), basis.to(device), scale.to(device));
}

}  // namespace

std::unique_ptr<Codec> open_codec(const CodecOptions& options, const io::Checkpoint* model,
                                  const std::filesystem::path& vae, at::Device device) {
  if (options.factor < 1 || options.factor > kMostFactor)
    throw Error(Exit::config, "codec: expected a factor of 1 to ", kMostFactor, ", found ",
                options.factor);
  if (options.type == "pixels") return std::make_unique<PatchCodec>(1);
  if (options.type == "unshuffle") return std::make_unique<PatchCodec>(options.factor);
  if (options.type == "pca") {
    if (model == nullptr)
      throw Error(Exit::usage, "codec pca belongs to a model, whose file holds its tensors");
    return open_pca(*model, options.factor, device);
  }
  if (options.type == "wan") {
    if (vae.empty()) throw Error(Exit::usage, "codec wan: its VAE is not given; see --vae");
    return open_wan_codec(vae, device);
  }
  throw Error(Exit::config, "codec: expected pixels, unshuffle, pca or wan, found ", options.type);
}

PcaFit::PcaFit(int64_t factor, int64_t channels) : factor_(factor), channels_(channels) {
  const int64_t patch = 3 * factor * factor;
  if (factor < 1 || factor > kMostFactor || channels < 1 || channels > patch)
    throw Error(Exit::config, "codec pca: expected a factor of 1 to ", kMostFactor, " and at most ",
                patch, " channels, found ", factor, " and ", channels);
  sum_ = at::zeros({patch}, at::kDouble);
  products_ = at::zeros({patch, patch}, at::kDouble);
}

void PcaFit::add(const Tensor& video) {
  const auto patches = to_patches(video, factor_).movedim(2, -1).flatten(0, -2);
  const auto x = patches.to(at::kCPU).to(at::kDouble);  // [patches, 3 p p]
  count_ += static_cast<double>(x.size(0));
  sum_ += x.sum(0);
  products_ += at::matmul(x.t(), x);
}

std::unique_ptr<Codec> PcaFit::finish() const {
  if (count_ == 0) throw Error(Exit::data, "codec pca: there are no frames to fit it to");
  const auto mean = sum_ / count_;
  const auto covariance = products_ / count_ - mean.unsqueeze(1) * mean.unsqueeze(0);
  const auto [values, vectors] = at::linalg_eigh(covariance);  // ascending; columns
  auto basis = vectors.t().flip(0).slice(0, 0, channels_);
  // Eigenvectors have no sign of their own: the largest number of each is positive.
  basis = basis * basis.gather(1, basis.abs().argmax(1, true)).sign();
  const auto spread = values.flip(0).slice(0, 0, channels_).clamp_min(0).sqrt();
  const auto store = [](const Tensor& x) { return x.to(at::kFloat).contiguous(); };
  return std::make_unique<PcaCodec>(factor_, store(mean), store(basis),
                                    store(spread.clamp_min(kLeastSpread)));
}

}  // namespace lact::video
