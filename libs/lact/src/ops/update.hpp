#pragma once
// One update of the fast weights from a chunk's sum: momentum, transform, addition, row norms
// (spec/llm 2.4), and its backward pass (spec/llm 11). A name with _ at its end is the outer loss's
// gradient by that.

#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::ops {

/// What an update leaves for its backward pass. Matrices that it does not change are undefined.
struct UpdateRecord {
  FastWeights raw;                ///< base plus move, before rows are rescaled
  FastWeights momentum;           ///< buffers before the update
  at::Tensor beta;                ///< [N, 1, 1]
  std::vector<at::Tensor> sums;   ///< what the transform was given
  std::vector<at::Tensor> saved;  ///< by the transform; empty: it has to be run again
};

/// The state after one update. delta: defined for matrices that change. All in the weights' own
/// type. record: null if there will be no backward pass; `keep` lets the transform keep what it
/// computed.
FastState update(const FastState& state, const FastWeights& delta, const at::Tensor& beta,
                 const Rule& rule, UpdateRecord* record, bool keep);

/// The outer loss's gradients by a state: undefined where nothing has come yet.
struct StateGradient {
  FastWeights w, main, momentum, norms;
};

/// From the gradients by the state after an update to those by the state before it (in place), by
/// delta (returned) and by beta [N, 1, 1] (undefined without momentum).
FastWeights update_backward(StateGradient& g, const FastState& before, const Rule& rule,
                            const UpdateRecord& record, at::Tensor& grad_beta);

/// The matrices of w, down last, that a rule updates.
std::vector<at::Tensor FastWeights::*> learning(const FastWeights& w, const Rule& rule);

}  // namespace lact::ops
