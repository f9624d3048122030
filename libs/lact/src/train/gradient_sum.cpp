#include <lact/train/gradient_sum.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace lact::train {

using at::Tensor;

GradientSum::GradientSum(ReduceOrder order, const dist::Group& group,
                         std::vector<Parameter> parameters)
    : order_(order), group_(group), parameters_(std::move(parameters)) {
  for (const auto& parameter : parameters_) numbers_ += parameter.tensor.numel();
}

Tensor GradientSum::taken() {
  const at::NoGradGuard no_grad;
  // Sums over processes are made in the host's memory, whatever the device.
  Tensor flat = at::zeros({numbers_}, at::kFloat);
  int64_t place = 0;
  for (auto& parameter : parameters_) {
    auto& gradient = parameter.tensor.mutable_grad();
    const int64_t count = parameter.tensor.numel();
    if (gradient.defined()) flat.narrow(0, place, count).copy_(gradient.view(-1));
    gradient = Tensor();
    place += count;
  }
  return flat;
}

void GradientSum::micro_done() {
  if (order_ != ReduceOrder::fixed) return;
  Tensor sum = taken();
  size_t level = 0;
  for (; level < levels_.size() && levels_[level].defined(); ++level)
    sum = std::exchange(levels_[level], Tensor()).add_(sum);
  if (level == levels_.size()) levels_.emplace_back();
  levels_[level] = sum;
}

void GradientSum::finish() {
  if (!flat()) return;
  const at::NoGradGuard no_grad;
  Tensor sum;
  if (order_ == ReduceOrder::fast) {
    sum = taken();
    group_.all_reduce(sum)->wait();
  } else {
    for (auto& level : levels_)
      if (level.defined()) sum = sum.defined() ? level.add_(sum) : level;
    levels_.clear();
    group_.sum_in_order(sum);
  }
  int64_t place = 0;
  for (auto& parameter : parameters_) {
    const int64_t count = parameter.tensor.numel();
    parameter.tensor.mutable_grad() = sum.narrow(0, place, count)
                                          .view(parameter.tensor.sizes())
                                          .to(parameter.tensor.options().requires_grad(false));
    place += count;
  }
}

}  // namespace lact::train
