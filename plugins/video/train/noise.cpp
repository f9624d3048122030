#include "noise.hpp"

#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>

namespace lact::video {

at::Tensor normal_noise(Random random, at::IntArrayRef shape) {
  const auto noise = at::empty(shape, at::kFloat);
  auto* out = noise.mutable_data_ptr<float>();
  const int64_t count = noise.numel();
  for (int64_t i = 0; i < count; i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double angle = 2 * std::numbers::pi * random.uniform();
    out[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < count) out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return noise;
}

}  // namespace lact::video
