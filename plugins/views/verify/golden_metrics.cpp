#include "golden_metrics.hpp"

#include <plugins/common/media/quality.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

namespace lact::views {
namespace {

using at::Tensor;
using verify::Dim;

verify::Computed metrics(verify::Golden& file) {
  Dim N("N"), channels("3", 3), H("H"), W("W");
  const auto a = file.input("in.a", {N, channels, H, W});
  const auto b = file.input("in.b", {N, channels, H, W});
  const auto scalar = [](double value) { return at::scalar_tensor(value, at::kDouble); };
  std::vector<Tensor> each;
  for (int64_t n = 0; n < N.size; ++n) each.push_back(scalar(media::psnr(a[n], b[n])));
  const auto psnr = at::stack(each);
  const media::Lpips lpips([&](const std::string& name, const std::vector<int64_t>& shape) {
    return file.input("param." + name, shape);
  });
  return {{"out.psnr_pooled", scalar(media::psnr(a, b))},
          {"out.psnr_per_image", psnr},
          {"out.psnr_mean", psnr.mean()},
          {"out.ssim", media::ssim(a, b).mean()},
          {"out.ssim_biased", media::ssim(a, b, /*biased=*/true).mean()},
          {"out.lpips", lpips(a, b)}};
}

}  // namespace

verify::GoldenKind metrics_kind() {
  return {"metrics", "in.a", metrics};
}

}  // namespace lact::views
