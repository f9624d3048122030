#pragma once
// Small pieces of layers: norms, rotary embedding, the feed-forward network.

#include <ATen/core/Tensor.h>

namespace lact::nn {

/// x W^T (+ b), the parameters cast to x's dtype. weight [out, in].
at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension; float32 or better inside, one
/// rounding to x's dtype.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Rotary tables for heads of even width `a`: angle = position * theta^(-2 i / a), formed in
/// float32 (float64 where dtype is float64), as the published models were trained (spec 5.3).
struct Rotary {
  at::Tensor cos, sin;  ///< [L, a / 2], or [B, L, a / 2]
};
/// positions [L] or [B, L], any integer type.
Rotary rotary(const at::Tensor& positions, int64_t width, double theta, at::ScalarType dtype);
/// x [B, L, A, a]; channel i turns with channel i + a / 2.
at::Tensor rotate(const at::Tensor& x, const Rotary& table);

/// (silu(x gate^T) * (x up^T)) down^T
at::Tensor swiglu(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up,
                  const at::Tensor& down);

}  // namespace lact::nn
