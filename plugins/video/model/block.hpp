#pragma once
// One block: self attention, attention to the text, feed-forward. Source: spec/video 4.1.

#include "fast_layer.hpp"

namespace lact::video {

/// LayerNorm without weights, then (1 + scale) and shift, [B, E, 1, d]: x [B, E n, d].
at::Tensor modulated(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale,
                     double eps);

/// A block's parameters, by their names after "blocks.I.".
struct BlockParameters {
  explicit BlockParameters(const Parameters& all);
  Parameters all, self, cross;  ///< self_attn, cross_attn
};

/// x [B, E n, d], the residual stream; e [B, E, 6, d] of the entries' times; context [B, R, d],
/// whose last row stands for `padding` ones. memory: of this layer, or null.
LayerOutput block(const Config& config, const BlockParameters& parameters, int64_t index,
                  const at::Tensor& x, const at::Tensor& e, const at::Tensor& context,
                  int64_t padding, const Pass& pass, const LayerMemory* memory);

/// The memory that a block with fast weights leaves, without the rest of its output.
LayerMemory next_memory(const Config& config, const BlockParameters& parameters,
                        const at::Tensor& x, const at::Tensor& e, const Pass& pass,
                        const LayerMemory& memory);

}  // namespace lact::video
