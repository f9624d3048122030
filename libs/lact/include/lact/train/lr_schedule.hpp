#pragma once
// The outer learning rate as a pure function of the step.

#include <cstdint>
#include <string>

namespace lact::train {

/// Linear warm-up to `peak`, then a descent to `min_ratio * peak` over what is left of the run, or
/// (wsd: warm-up, stable, decay) over its end.
struct LrSchedule {
  enum class Shape { cosine, linear, constant, wsd };

  Shape shape = Shape::cosine;
  double peak = 1e-3;
  double min_ratio = 0.1;      ///< of the peak, at the end; `constant` has no descent
  int64_t warmup_steps = 0;    ///< step s of them has rate peak * (s + 1) / warmup_steps
  int64_t total_steps = 1000;  ///< the descent would end at this step, which is never taken
  /// As the published code for views: warm-up step s has rate peak * s / warmup_steps, and beyond
  /// the end a cosine goes on as one.
  bool from_zero = false;
  double decay_ratio = 0.2;  ///< wsd: the share of the steps over which the rate falls linearly

  /// The rate of the step that has `step` steps before it.
  double at(int64_t step) const;

  /// "cosine", "linear", "constant", "wsd". Errors: 64 with the list.
  static Shape shape_from(const std::string& name);
};

}  // namespace lact::train
