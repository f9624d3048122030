#pragma once
// The passes of a layer between its products, on tensors. On CPUs; elsewhere LibTorch's own
// operations do (functional.cpp).

#include <lact/nn/functional.hpp>

namespace lact::nn::passes {

/// A CPU's float32, float64 or bfloat16.
bool fit(const at::Tensor& x);

// Tensors as in functional.hpp, of any strides; a name that ends in _ is a gradient.

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
struct NormGradient {
  at::Tensor x_, weight_;
};
NormGradient rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                               const at::Tensor& y_);

at::Tensor rotate(const at::Tensor& x, const Rotary& table, bool back);

at::Tensor fast_input(const at::Tensor& x, const FastInput& how);
struct FastInputGradient {
  at::Tensor x_, scale_, offset_;
};
FastInputGradient fast_input_backward(const at::Tensor& x, const FastInput& how,
                                      const at::Tensor& y_);

at::Tensor mix(const at::Tensor& attention, const at::Tensor& fast, const at::Tensor& weight,
               double epsilon, const at::Tensor& z);
struct MixGradient {
  at::Tensor fast_, weight_, z_;
};
/// attention_ is y_.
MixGradient mix_backward(const at::Tensor& fast, const at::Tensor& weight, double epsilon,
                         const at::Tensor& z, const at::Tensor& y_);

/// Sum of the cross entropies of logits [tokens, classes], contiguous; labels below 0 count
/// nothing. With `factor` not 0, the logits become factor times their gradient.
double entropy(const at::Tensor& logits, const at::Tensor& labels, double factor);

}  // namespace lact::nn::passes
