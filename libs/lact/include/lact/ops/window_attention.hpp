#pragma once
// Causal attention over a sliding window, in memory and time linear in the length.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace lact::ops {

/// Query i (of T) stands at key c + i, where c = S - T keys came before; it attends to itself and
/// the window - 1 keys before it; without a window to all before it. Scores scaled by 1/sqrt(a).
///
/// Shapes    q [B, A, T, a]   k, v [B, A, S, a]   documents [B, S] int64 or undefined: a key whose
///           number differs from the one before starts a document; a query sees only its own
/// Returns   [B, A, T, a]
/// Memory    besides inputs and output, the scores of one block of queries and their keys on each
///           core, never T x S; backward too
at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::optional<int64_t> window, const at::Tensor& documents = {});

}  // namespace lact::ops
