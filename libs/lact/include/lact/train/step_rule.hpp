#pragma once
// Which steps are taken, and with gradients of which length.

#include <cstdint>
#include <string>

namespace lact::train {

struct StepRule {
  double max_norm = 1.0;  ///< gradients are clipped to it; 0: not
  double skip_norm = 0;   ///< times the running median of norms: a larger one is skipped; 0: off
  double skip_above = 0;  ///< a larger norm is skipped; 0: off
  int64_t skip_above_from = 0;  ///< steps finished before that
  int64_t from_step = 0;        ///< steps finished before norms count; not finite is always skipped
  int64_t warmup_steps = 0;     ///< steps finished before the median counts

  /// Skips by the median that may follow one another: after them it is outdated.
  static constexpr int64_t kPatience = 3;

  /// Why a step must not be taken.
  struct Fault {
    std::string why;         ///< "": it may
    bool by_median = false;  ///< only in comparison with the steps before
  };
  /// Of a step with `step` before it. `median` 0: not known yet.
  Fault fault(int64_t step, double loss, double norm, double median) const;
  /// What gradients are multiplied with: min(1, max_norm / (norm + 1e-6)).
  double factor(int64_t step, double norm) const;
};

}  // namespace lact::train
