#pragma once
// How well views were rendered, and what two baselines would score: the nearest view, the mean
// colour.

#include <plugins/common/media/quality.hpp>
#include <plugins/views/camera/camera.hpp>

#include <ATen/core/Tensor.h>
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lact::views {

/// Of one view, or the mean of several. Source: spec/views 8.
struct Score {
  double psnr_pooled = 0;  ///< of the mean squared error over all views and pixels
  double psnr_mean = 0;    ///< the mean of each view's
  double ssim = 0;
  std::optional<double> lpips;  ///< where weights are given
  int64_t views = 0;
};

/// rendered, truth [T, 3, h, w] in [0, 1].
Score score(const at::Tensor& rendered, const at::Tensor& truth, const media::Lpips* lpips);
/// Every view alone.
std::vector<Score> score_each(const at::Tensor& rendered, const at::Tensor& truth,
                              const media::Lpips* lpips);
nlohmann::ordered_json to_json(const Score& score);
/// "psnr 24.10 dB (mean of views 24.31), ssim 0.8123, lpips 0.1200"
std::string to_line(const Score& score);

/// For each target the input image whose camera stands nearest (direction counts as distance):
/// [T, 3, h, w] of images [I, 3, h, w].
at::Tensor nearest_views(const std::vector<Camera>& context, const at::Tensor& images,
                         const std::vector<Camera>& targets);
/// The mean colour of all input pixels, `count` times.
at::Tensor mean_colour(const at::Tensor& images, int64_t count);

}  // namespace lact::views
