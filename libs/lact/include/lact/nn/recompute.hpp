#pragma once
// Activation recomputation: pay a second forward pass to keep only a block's input.

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace lact::nn {

/// f(x), of whose intermediates nothing is kept: the backward pass runs f again. f must be a pure
/// function of x and of leaf parameters, whose gradients accumulate as always. Where no gradient is
/// recorded it is f(x).
at::Tensor recompute(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);
/// The same of several inputs, each of which gets its gradient.
at::Tensor recompute(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& f,
                     const std::vector<at::Tensor>& inputs);

}  // namespace lact::nn
