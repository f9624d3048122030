#pragma once
// Where autograd meets backward passes written by hand.

#include "engine.hpp"

#include <lact/ops/rule.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::ops {

/// transform.forward, differentiable (once).
std::vector<at::Tensor> transform(const Transform& transform, const std::vector<at::Tensor>& g,
                                  const Rule& rule);

/// A scan as one node of the graph. No step may begin in an open chunk.
ScanOutput scan_function(const ScanInput& input, const Schedule& schedule, const Rule& rule,
                         const ScanOptions& options);

}  // namespace lact::ops
