#pragma once
// The operator in plain LibTorch operations, whole chunks at a time, which autograd differentiates:
// what ops::scan is tested against, and what serves rates per channel. Source: spec/llm 2.2, 2.3.

#include <lact/ops/scan.hpp>

namespace lact::ops::reference {

/// f(x) for every token. x [N, L, K] -> [N, L, V].
at::Tensor apply(const FastWeights& w, const at::Tensor& x, const Rule& rule);

/// The update of a chunk, as ops::delta. Errors: 70 naming the argument of a wrong shape
FastWeights delta(const FastWeights& w, const Tokens& chunk, const Rule& rule);

}  // namespace lact::ops::reference
