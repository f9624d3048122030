#pragma once
// The kernels of a layer between its products, on tensors. On CPUs; elsewhere LibTorch's own
// operations do (functional.cpp).

#include <lact/nn/functional.hpp>

namespace lact::nn::kernels {

/// A CPU's float32, float64 or bfloat16.
bool fit(const at::Tensor& x);

// Tensors as in functional.hpp, of any strides; a name that ends in _ is a gradient.

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
struct NormGradient {
  at::Tensor grad_x, grad_weight;
};
NormGradient rms_norm_backward(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                               const at::Tensor& grad_y);

at::Tensor rotate(const at::Tensor& x, const Rotary& table, bool back);

at::Tensor fast_input(const at::Tensor& x, const FastInput& how);
struct FastInputGradient {
  at::Tensor grad_x, grad_scale, grad_offset;
};
FastInputGradient fast_input_backward(const at::Tensor& x, const FastInput& how,
                                      const at::Tensor& grad_y);

at::Tensor mix(const at::Tensor& attention, const at::Tensor& fast, const at::Tensor& weight,
               double epsilon, const at::Tensor& z);
struct MixGradient {
  at::Tensor grad_fast, grad_weight, grad_z;
};
/// grad_attention is grad_y.
MixGradient mix_backward(const at::Tensor& fast, const at::Tensor& weight, double epsilon,
                         const at::Tensor& z, const at::Tensor& grad_y);

/// Sum of the cross entropies of logits [tokens, classes], contiguous; labels below 0 count
/// nothing. With `factor` not 0, the logits become factor times their gradient.
double entropy(const at::Tensor& logits, const at::Tensor& labels, double factor);

}  // namespace lact::nn::kernels
