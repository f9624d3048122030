#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/silu.h>

namespace lact::nn {

using at::Tensor;

Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x, weight.to(x.dtype()), bias.defined() ? bias.to(x.dtype()) : Tensor());
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const auto type = x.scalar_type();
  const bool narrow = type == at::kBFloat16 || type == at::kHalf;
  const auto wide = narrow ? x.to(at::kFloat) : x;
  const auto scale = (wide.square().mean({-1}, /*keepdim=*/true) + epsilon).rsqrt();
  return (wide * scale * weight).to(type);
}

Rotary rotary(const Tensor& positions, int64_t width, double theta, at::ScalarType dtype) {
  const auto exact = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto options = positions.options().dtype(exact);
  const auto exponent = at::arange(0, width, 2, options) / static_cast<double>(width);
  const auto frequency = at::pow(theta, exponent).reciprocal();      // [a / 2]
  const auto angle = positions.to(exact).unsqueeze(-1) * frequency;  // [..., L, a / 2]
  return {angle.cos().to(dtype), angle.sin().to(dtype)};
}

Tensor rotate(const Tensor& x, const Rotary& table) {
  const auto cos = table.cos.unsqueeze(-2), sin = table.sin.unsqueeze(-2);  // [..., L, 1, a / 2]
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[0] * sin + halves[1] * cos}, -1);
}

Tensor swiglu(const Tensor& x, const Tensor& gate, const Tensor& up, const Tensor& down) {
  return affine(at::silu(affine(x, gate)) * affine(x, up), down);
}

}  // namespace lact::nn
