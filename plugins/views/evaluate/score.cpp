#include "score.hpp"

#include <plugins/views/camera/choose_views.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <limits>

namespace lact::views {
namespace {

using at::Tensor;

/// Images that LPIPS is computed on at a time: VGG's features of one of 512 x 512 take 200 MB.
constexpr int64_t kGroup = 4;

}  // namespace

std::vector<Score> score_each(const Tensor& rendered, const Tensor& truth,
                              const media::Lpips* lpips) {
  const at::NoGradGuard no_grad;
  std::vector<Score> all;
  for (int64_t first = 0; first < rendered.size(0); first += kGroup) {
    const auto a = rendered.slice(0, first, first + kGroup).to(at::kDouble);
    const auto b = truth.slice(0, first, first + kGroup).to(at::kDouble);
    const bool small = std::min(a.size(2), a.size(3)) < 11;  // no window fits
    const auto similar = small ? Tensor() : media::ssim(a, b).to(at::kCPU);
    Tensor far;
    if (lpips != nullptr) far = (*lpips)(a.to(at::kFloat), b.to(at::kFloat)).to(at::kCPU);
    for (int64_t i = 0; i < a.size(0); ++i) {
      Score one;
      one.psnr_pooled = one.psnr_mean = media::psnr(a[i], b[i]);
      one.ssim = small ? NAN : similar[i].item<double>();
      if (far.defined()) one.lpips = far[i].item<double>();
      one.views = 1;
      all.push_back(one);
    }
  }
  return all;
}

Score score(const Tensor& rendered, const Tensor& truth, const media::Lpips* lpips) {
  Score sum;
  for (const auto& one : score_each(rendered, truth, lpips)) {
    sum.psnr_mean += one.psnr_mean;
    sum.ssim += one.ssim;
    if (one.lpips) sum.lpips = sum.lpips.value_or(0) + *one.lpips;
    ++sum.views;
  }
  const auto count = static_cast<double>(std::max<int64_t>(sum.views, 1));
  sum.psnr_pooled = media::psnr(rendered.to(at::kDouble), truth.to(at::kDouble));
  sum.psnr_mean /= count;
  sum.ssim /= count;
  if (sum.lpips) *sum.lpips /= count;
  return sum;
}

nlohmann::ordered_json to_json(const Score& score) {
  nlohmann::ordered_json out = {
      {"psnr_pooled", score.psnr_pooled}, {"psnr_mean", score.psnr_mean}, {"ssim", score.ssim}};
  if (score.lpips) out["lpips"] = *score.lpips;
  out["views"] = score.views;
  return out;
}

std::string to_line(const Score& score) {
  char text[160];
  std::snprintf(text, sizeof text, "psnr %.2f dB pooled, %.2f mean of views, ssim %.4f",
                score.psnr_pooled, score.psnr_mean, score.ssim);
  std::string line = text;
  if (score.lpips) {
    std::snprintf(text, sizeof text, ", lpips %.4f", *score.lpips);
    line += text;
  }
  return line;
}

Tensor nearest_views(const std::vector<Camera>& context, const Tensor& images,
                     const std::vector<Camera>& targets) {
  const Viewpoints place(context);
  std::vector<Tensor> found;
  for (const auto& target : targets) {
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < context.size(); ++i) {
      const double far = Viewpoints::squared_distance(place(context[i]), place(target));
      if (far < least) least = far, best = i;
    }
    found.push_back(images[static_cast<int64_t>(best)]);
  }
  return at::stack(found);
}

Tensor mean_colour(const Tensor& images, int64_t count) {
  return images.mean({0, 2, 3})
      .view({1, 3, 1, 1})
      .expand({count, 3, images.size(2), images.size(3)});
}

}  // namespace lact::views
