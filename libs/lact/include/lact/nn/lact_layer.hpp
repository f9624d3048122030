#pragma once
// The mixing layer: window attention and fast weights share one projection to q, k, v.
// Source: arXiv:2505.23884, authors' lact_swiglu layer; spec/llm 5.

#include <lact/nn/key_window.hpp>
#include <lact/nn/parameters.hpp>
#include <lact/nn/rows.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lact::nn {

struct LactLayerOptions {
  int64_t width = 0;            ///< d
  int64_t attention_heads = 1;  ///< A; width / A is even
  int64_t fast_heads = 1;       ///< N
  int64_t fast_hidden = 0;      ///< F, per head
  int64_t chunk = 0;            ///< C
  std::optional<int64_t> window;
  double rope_theta = 10000;
  int64_t rate_channels = 1;  ///< lr_dim
  int64_t low_rank = -1;      ///< of initial gate and up; <= 0: full
  bool qkv_bias = false, qk_norm = false;
  bool silu = true, silu_v = true;
  bool scale = true;         ///< learned output scale per token and head
  bool rotate_fast = true;   ///< rotary embedding on fast queries and keys too
  bool fast_weights = true;  ///< false: window attention alone
  bool linear = false;       ///< fast weights are one matrix "w1" [N, d / N, d / N], with one rate
  double base_rate = 1e-3;   ///< inner rate of a projection of zero
  ops::Rule rule;
};

/// Published names relative to the layer ("qkv.weight", "w0.w_left", ...), with shapes.
Shapes lact_layer_shapes(const LactLayerOptions& options);

/// x [B, L, d] -> [B, L, d]. Products in x's dtype.
/// `taps`, if given, receives the intermediates by the names of tests/golden.
at::Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters,
                      const at::Tensor& x, const Rows& rows,
                      std::map<std::string, at::Tensor>* taps = nullptr);

/// How much of what the fast weights give one chunk changes: |f_1(q) - f_0(q)| / |f_0(q)| over the
/// queries of the second chunk, where f_0 has learned nothing and f_1 the first chunk, in the first
/// row of x [B, L, d]. 0: nothing is learned, or there is no second chunk. Records no gradient.
double write_strength(const LactLayerOptions& options, const Parameters& parameters,
                      const at::Tensor& x);

/// What a layer remembers of a sequence: nothing in it grows with the number of tokens, unless
/// window is none.
struct LactLayerStream {
  int64_t position = 0;
  KeyWindow window;
  ops::FastState fast;
  ops::OpenChunk open;
};

/// `batch` sequences of which nothing has been read.
LactLayerStream start_stream(const LactLayerOptions& options, const Parameters& parameters,
                             int64_t batch);
/// Reads the next tokens x [B, T, d], any T >= 1; equal to lact_layer over the whole sequence.
/// Records no gradient across calls (the buffers are written in place).
at::Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters,
                      const at::Tensor& x, LactLayerStream& stream);
/// The next token of each of several sequences (streams of batch 1), which may stand anywhere in
/// their texts: x [B, 1, d]. Products with the parameters are shared, what a sequence remembers is
/// its own; equal to B calls but for the rounding of products of B rows instead of one.
at::Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters,
                      const at::Tensor& x, const std::vector<LactLayerStream*>& streams);

}  // namespace lact::nn
