#pragma once
// A tensor that a model needs.

#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::io {

/// The tensor of that name and shape, as Checkpoint::tensor gives it. `stored`: what the file calls
/// it, if it has a name of its own.
/// Errors   65 naming folder, tensor, what was expected and found: missing, another shape, or not
///          of a floating dtype
at::Tensor parameter(const Checkpoint& checkpoint, const std::string& name,
                     const std::vector<int64_t>& shape, const std::string& stored = {});

}  // namespace lact::io
