#pragma once
// Small pieces of layers: norms, rotary embedding, the feed-forward network, cross entropy. On a
// CPU each is one node of autograd's graph and one pass over memory, with a backward pass written
// by hand: differentiable once. Elsewhere, and in float16, it is made of LibTorch's operations.
// Errors: 70 (internal) where shapes do not fit.

#include <ATen/core/Tensor.h>

namespace lact::nn {

/// x W^T (+ b), the parameters cast to x's dtype. weight [out, in].
at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension; float32 or better inside, one
/// rounding to x's dtype.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Rotary tables for heads of even width `a`: angle = position * theta^(-2 i / a), formed in
/// float32 (float64 where dtype is float64), as the published models were trained (spec/llm 5.3).
/// Values are rounded to dtype.
struct Rotary {
  at::Tensor cos, sin;  ///< [L, a / 2], or [B, L, a / 2]; float32 or float64
  bool pairs = false;   ///< neighbouring channels turn together, 2 i with 2 i + 1
};
/// positions [L] or [B, L], any integer type.
Rotary rotary(const at::Tensor& positions, int64_t width, double theta, at::ScalarType dtype);
/// x [B, L, A, a]; channel i turns with channel i + a / 2, unless table.pairs.
at::Tensor rotate(const at::Tensor& x, const Rotary& table);

/// How a projection [B, L, N * K] becomes the fast queries, keys or values of N heads
/// (spec/llm 5.4).
struct FastInput {
  int64_t heads = 1;
  at::Tensor scale, offset;  ///< [N * K] each, or undefined
  bool silu = true;
  double unit_epsilon = -1;  ///< each head is divided by its length + this; below 0: it is not
  Rotary table;              ///< turns blocks of its width; undefined: nothing turns
};
/// offset + scale x, silu, unit length, rotation: [B, L, N, K], on a CPU in memory as [B, N, L, K].
at::Tensor fast_input(const at::Tensor& x, const FastInput& how);

/// attention [B, L, A, a] + rms_norm(fast [B, L, N, K]) silu(z [B, L, N]), weight [K]; z undefined:
/// without. Returns [B, L, N * K] (spec/llm 5.6).
at::Tensor mix(const at::Tensor& attention, const at::Tensor& fast, const at::Tensor& weight,
               double epsilon, const at::Tensor& z);

/// (silu(x gate^T) * (x up^T)) down^T
at::Tensor swiglu(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up,
                  const at::Tensor& down);

/// Mean cross entropy of softmax(x weight^T) in nats, over the labels that are not negative; NaN if
/// there are none. x [tokens, d], weight [classes, d], labels [tokens] int64. Some hundred tokens
/// at a time: the logits of all never exist. With gradients enabled, they are formed on the way.
/// Errors: a label that is no class.
at::Tensor linear_cross_entropy(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& labels);

}  // namespace lact::nn
