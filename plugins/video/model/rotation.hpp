#pragma once
// The rotary embedding as layers use it.

#include "layout.hpp"

#include <lact/nn/functional.hpp>

#include <ATen/core/Tensor.h>

namespace lact::video {

/// A table for x of that type: pairs of neighbouring channels turn.
nn::Rotary turns(const Rotary3d& table, at::ScalarType type, at::Device device);

}  // namespace lact::video
