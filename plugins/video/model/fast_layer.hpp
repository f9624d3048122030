#pragma once
// Window attention and fast weights, which share queries, keys and values. Source: spec/video 5.

#include "attention.hpp"
#include "config.hpp"

#include <lact/dist/group.hpp>
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
  /// Processes that share the sequence: each has the same part of every entry's tokens, and where
  /// tokens see each other it has all tokens of some heads. Null: this one has all.
  const dist::Group* sharing = nullptr;
  /// The sequence of this process's tokens.
  Sequence own() const;
};

/// Of each x [B, E' l, H, ...], this process's tokens of some entries: all tokens of its part of
/// the H heads or channels, [B, E' n, H / processes, ...]. Without sharing they are as they were.
std::vector<at::Tensor> to_heads(const Pass& pass, const std::vector<at::Tensor>& xs);
/// Back: x [B, E n, H / processes, ...] -> [B, E l, H, ...].
at::Tensor to_tokens(const Pass& pass, const at::Tensor& x);

/// How updates are made.
ops::Rule rule(const Config& config, at::ScalarType compute);
/// The parameters' fast weights for `batch` videos, [batch * heads, ...], head fastest.
ops::FastWeights initial_weights(const Parameters& p, int64_t batch);

struct LayerOutput {
  at::Tensor out;      ///< [B, E n, d] in `compute`
  LayerMemory memory;  ///< after the clean entry; empty where none was given
};
/// x [B, E n, d], normalised and modulated, in float32 or better; of processes that share it
/// [B, E l, d], and so is what each gets. Without a memory (null) the fast weights start from the
/// parameters; with one, which is not shared, the leading entries see what it holds.
LayerOutput fast_layer(const Config& config, const Parameters& p, const at::Tensor& x,
                       const Pass& pass, const LayerMemory* memory);

}  // namespace lact::video
