#include "quality.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>

#include <cmath>

namespace lact::media {
namespace {

using at::Tensor;

constexpr int64_t kWindow = 11;
constexpr double kSigma = 1.5;
constexpr double kLeastError = 1e-10, kMostDecibels = 100;
constexpr double kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;  // of images in [0, 1]

void expect_same_shape(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes())
    throw Error(Exit::data, "images to compare: expected one shape, found ", a.sizes(), " and ",
                b.sizes());
}

void expect_images(const Tensor& a, int64_t least) {
  if (a.dim() != 4 || a.size(1) != 3 || a.size(2) < least || a.size(3) < least)
    throw Error(Exit::data, "images to compare: expected [N, 3, H, W] of at least ", least, " x ",
                least, " pixels, found ", a.sizes());
}

}  // namespace

double decibels(double squared_error) {
  return squared_error < kLeastError ? kMostDecibels : -10 * std::log10(squared_error);
}

double psnr(const Tensor& a, const Tensor& b) {
  expect_same_shape(a, b);
  const auto error = (a.to(at::kDouble) - b.to(at::kDouble)).square().mean();
  return decibels(error.item<double>());
}

Tensor ssim(const Tensor& a, const Tensor& b, bool biased) {
  expect_same_shape(a, b);
  expect_images(a, kWindow);
  const auto steps = at::arange(kWindow, a.options()) - (kWindow - 1) / 2;
  const auto bell = (steps.square() / (-2 * kSigma * kSigma)).exp();
  const auto weights = bell / bell.sum();
  const auto blur = [&](const Tensor& x) {  // windows inside the image, each channel by itself
    const auto planes = x.reshape({-1, 1, a.size(2), a.size(3)});
    return at::conv2d(at::conv2d(planes, weights.view({1, 1, -1, 1})), weights.view({1, 1, 1, -1}));
  };
  // The sample's variance is larger by n / (n - 1), n pixels of a window.
  constexpr double n = kWindow * kWindow;
  const double scale = biased ? 1 : n / (n - 1);
  const auto mean_a = blur(a), mean_b = blur(b);
  const auto of_a = scale * (blur(a * a) - mean_a * mean_a);
  const auto of_b = scale * (blur(b * b) - mean_b * mean_b);
  const auto both = scale * (blur(a * b) - mean_a * mean_b);
  const auto above = (2 * mean_a * mean_b + kC1) * (2 * both + kC2);
  const auto below = (mean_a.square() + mean_b.square() + kC1) * (of_a + of_b + kC2);
  return (above / below).reshape({a.size(0), -1}).mean(1);
}

}  // namespace lact::media
