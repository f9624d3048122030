#include <lact/train/step_rule.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace lact::train {
namespace {

std::string format(const char* form, double a, double b, double c = 0) {
  char text[160];
  std::snprintf(text, sizeof text, form, a, b, c);
  return text;
}

}  // namespace

StepRule::Fault StepRule::fault(int64_t step, double loss, double norm, double median) const {
  if (!std::isfinite(loss)) return {"the loss is not finite"};
  if (!std::isfinite(norm)) return {"a gradient is not finite"};
  if (step < from_step) return {};
  if (skip_above > 0 && step >= skip_above_from && norm > skip_above)
    return {format("the gradient norm %.4g is more than %g", norm, skip_above)};
  if (skip_norm > 0 && step >= warmup_steps && median > 0 && norm > skip_norm * median)
    return {format("the gradient norm %.4g is more than %g times the median %.4g", norm, skip_norm,
                   median),
            /*by_median=*/true};
  return {};
}

double StepRule::factor(int64_t step, double norm) const {
  return max_norm > 0 && step >= from_step ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
}

}  // namespace lact::train
