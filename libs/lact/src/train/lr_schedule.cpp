#include <lact/error.hpp>
#include <lact/train/lr_schedule.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lact::train {

double LrSchedule::at(int64_t step) const {
  if (step < warmup_steps)
    return peak * static_cast<double>(from_zero ? step : step + 1) /
           static_cast<double>(warmup_steps);
  const double left = static_cast<double>(std::max<int64_t>(total_steps - warmup_steps, 1));
  double progress = static_cast<double>(step - warmup_steps) / left;
  if (!from_zero) progress = std::min(1.0, progress);
  double height = 1;  // 1 at the peak, 0 at the end
  if (shape == Shape::cosine) height = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  if (shape == Shape::linear) height = std::max(0.0, 1 - progress);
  if (shape == Shape::wsd) {
    const double rest = static_cast<double>(total_steps - step) / static_cast<double>(total_steps);
    height = std::clamp(rest / decay_ratio, 0.0, 1.0);
  }
  return peak * (min_ratio + (1 - min_ratio) * height);
}

LrSchedule::Shape LrSchedule::shape_from(const std::string& name) {
  if (name == "cosine") return Shape::cosine;
  if (name == "linear") return Shape::linear;
  if (name == "constant") return Shape::constant;
  if (name == "wsd") return Shape::wsd;
  throw Error(Exit::usage, "--schedule: expected cosine, linear, constant or wsd, found ", name);
}

}  // namespace lact::train
