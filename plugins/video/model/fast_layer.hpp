#pragma once
// Window attention and fast weights, which share queries, keys and values. Source: spec/video 5.

#include "attention.hpp"
#include "config.hpp"

#include <lact/nn/functional.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::video {

/// What one layer remembers of the chunks that are finished.
struct LayerMemory {
  ops::FastState fast;
  at::Tensor keys, values;  ///< [B, heads, kv, head_dim] of the last finished chunk, rotated
};

/// How one call of the network treats its tokens.
struct Pass {
  Sequence sequence;
  nn::Rotary film;   ///< turns the tokens [E n] by the frames of the film
  nn::Rotary entry;  ///< turns the tokens [n] of each entry by frames of its own
  at::ScalarType compute = at::kFloat;
  bool running_norm = false;
  /// If given, receives from every layer how much of what its fast weights give the first update
  /// changes: |f_1(q) - f_0(q)| / |f_0(q)| over the entries that follow it.
  std::vector<double>* strengths = nullptr;
};

/// How updates are made.
ops::Rule rule(const Config& config, at::ScalarType compute);
/// The parameters' fast weights for `batch` videos, [batch * heads, ...], head fastest.
ops::FastWeights initial_weights(const Parameters& p, int64_t batch);

struct LayerOutput {
  at::Tensor out;      ///< [B, E n, d] in `compute`
  LayerMemory memory;  ///< after the clean entry; empty where none was given
};
/// x [B, E n, d], normalised and modulated, in float32 or better. Without a memory (null) the fast
/// weights start from the parameters; with one, the leading entries see what it holds.
LayerOutput fast_layer(const Config& config, const Parameters& p, const at::Tensor& x,
                       const Pass& pass, const LayerMemory* memory);

}  // namespace lact::video
