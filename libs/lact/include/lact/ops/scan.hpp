#pragma once
// The operator: fast weights that are updated while a sequence is read. Source: arXiv:2505.23884;
// spec/llm 2.
//
// Letters   N = batch * heads (head fastest), L tokens, C tokens of a chunk, K key, V value and
//           F hidden width. In the published checkpoints gate is w0, up is w2, down is w1.

#include <lact/ops/rule.hpp>
#include <lact/ops/schedule.hpp>

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace lact::ops {

/// f(x) = down (silu(gate x) * (up x)); or, with gate and up undefined, the linear f(x) = down x.
struct FastWeights {
  at::Tensor gate, up;  ///< [N, F, K]
  at::Tensor down;      ///< [N, V, F], linear [N, V, K]
  bool linear() const { return !gate.defined(); }
};

/// Inner step sizes, per token and matrix, > 0: [N, L, 1], or one per channel that they scale:
/// gate and up [N, L, K], down [N, L, F].
struct Rates {
  at::Tensor gate, up, down;
};

/// What an update is made from.
struct Tokens {
  at::Tensor k;  ///< [N, L, K]
  at::Tensor v;  ///< [N, L, V]
  Rates rate;
  at::Tensor momentum;  ///< [N, L, 1] in (0, 1); undefined without momentum
};

/// All that a chunk hands on to the next.
struct FastState {
  FastWeights w;         ///< read by apply, and where gradients are taken
  FastWeights main;      ///< what steps are added to; the same tensors as w unless pre-norm
  FastWeights momentum;  ///< buffers; undefined without momentum
  FastWeights norms;     ///< row norms of the initial weights [N, rows, 1]
};

/// Tokens read but not yet updated on: buffers of C tokens of which the first `count` are filled.
struct OpenChunk {
  Tokens tokens;
  int64_t count = 0;
};

/// The state before the first chunk. Norms stay in the autograd graph unless rule.detach_norms;
/// norms and momentum are undefined where nothing is learned.
FastState initial_state(const FastWeights& w, const Rule& rule);

/// One update from a chunk's delta, in plain operations that autograd differentiates.
/// beta [N, 1, 1]: the mean of the chunk's momentum coefficients.
FastState step(const FastState& state, const FastWeights& delta, const at::Tensor& beta,
               const Rule& rule);

/// Newton-Schulz: g [N, rows, columns] to about U V^T of its singular value decomposition, each
/// matrix on its own. Not converged on purpose: singular values end near 1, not at 1.
at::Tensor orthogonalize(const at::Tensor& g, const NewtonSchulz& how);

struct ScanResult {
  at::Tensor out;  ///< [N, tokens that were applied, V] in token order, in v's dtype; undefined if
                   ///< no step applies
  FastState state;
  OpenChunk open;
};

struct ScanOptions {
  /// Keep nothing of a token for the backward pass: it recomputes. Bytes and operations of both
  /// modes: scan_cost.
  bool recompute = false;
  /// Where a chunk's tokens are split over processes: adds up each of these tensors over all of
  /// them, in place. Called once per update with the deltas, the sum of the momentum coefficients
  /// and the count of tokens, and in the backward pass with the gradients of the first two. A
  /// process may have no token in a chunk, but every one walks the same chunks, backward too: its
  /// loss depends on the scan. Not with rates per channel (70).
  std::function<void(const std::vector<at::Tensor>&)> exchange;
  int64_t tile = 0;  ///< tokens worked on at once; 0: what fits the caches
};

/// Runs a schedule over q [N, L, K] and tokens, from a state and an open chunk, to the output and
/// what comes after. Differentiable (once) in every tensor, by formulas of its own (spec/llm 11).
/// Tokens are worked on in tiles, so that beyond inputs, outputs and their gradients the memory
/// does not grow with the chunk if nothing is kept (`recompute`, or no gradient is recorded).
/// Where no gradient is recorded, the open chunk's buffers are reused in place: the `open` passed
/// in is then consumed. Where the rule learns nothing, tokens and `open` are not looked at.
ScanResult scan(const FastState& state, const OpenChunk& open, const at::Tensor& q,
                const Tokens& tokens, const Schedule& schedule, const Rule& rule,
                const ScanOptions& options = {});

// The parts of a scan on their own, tiled as there and with the same bits.

/// f(q) for every token: q [N, L, K] -> [N, L, V]. Differentiable (once).
/// Cost: 6 N L F K FLOPs (K = V).
at::Tensor apply(const FastWeights& w, const at::Tensor& q, const Rule& rule,
                 const ScanOptions& options = {});

/// What one chunk adds to the fast weights before momentum and orthogonalization: minus the
/// gradient of each token's loss -<f(k), v>, times its rate, summed over the chunk (spec/llm 2.3),
/// in float32 or better. Deltas of a chunk's parts add up to the chunk's. Records no gradient:
/// training through an update uses scan. Cost: 12 N C F K FLOPs (K = V).
FastWeights delta(const FastWeights& w, const Tokens& chunk, const Rule& rule,
                  const ScanOptions& options = {});

/// What a scan costs, per spec/llm 13: a multiply-add counts as 2, backward twice as forward.
struct ScanCost {
  double products = 0;  ///< apply and update, forward
  double orthogonalize =
      0;                  ///< the transform's products, forward, as the plain iteration does them
  double recomputed = 0;  ///< what the backward pass repeats in recompute mode
  double saved_per_token =
      0;  ///< bytes saved per token that is applied and updated on, in keep mode
};
/// heads N, widths K, V and F (0: linear), products in `dtype`.
ScanCost scan_cost(const Schedule& schedule, const Rule& rule, int64_t heads, int64_t key,
                   int64_t value, int64_t hidden, c10::ScalarType dtype);

}  // namespace lact::ops
