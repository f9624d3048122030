#pragma once
// The rotary embedding as layers use it: one complex number for each pair of channels.

#include "layout.hpp"

#include <ATen/core/Tensor.h>

namespace lact::video {

/// A table for x of that type: [L, 1, head_dim / 2], complex.
at::Tensor phases(const Rotary3d& table, at::ScalarType type);
/// x [B, L, heads, head_dim], each pair of neighbouring channels times its phase.
at::Tensor turn(const at::Tensor& x, const at::Tensor& phases);

}  // namespace lact::video
