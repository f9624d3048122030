#pragma once
// One chunk's work, tile by tile: applying fixed fast weights, the sum that updates them,
// and the backward passes of both (spec/llm 2.2, 2.3, 11). grad_x is the outer loss's
// gradient with respect to x.

#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

namespace lact::ops {

/// Some heads' share of some tokens.
struct Part {
  int64_t head, heads, begin, count;
  bool first() const { return begin == 0; }
  at::Tensor tokens(const at::Tensor& x) const {  ///< of x [N, L, .]
    return x.narrow(0, head, heads).narrow(1, begin, count);
  }
  at::Tensor matrix(const at::Tensor& w) const { return w.narrow(0, head, heads); }
};

/// How a step's work is cut, and where its intermediates are put. On a CPU one head at a time, so
/// that a tile stays in the caches; where tokens are few, and on other devices, all at once.
class TileBuffers {
 public:
  /// longest: tokens of the longest step. Products in `type`. tile: tokens worked on at once;
  /// 0: what suits the device. cores: that take part in each product.
  TileBuffers(const FastWeights& w, c10::ScalarType type, int64_t longest, int64_t tile,
              int64_t cores);

  /// f for all parts of a step over `tokens` tokens.
  template <class F>
  void for_each(int64_t tokens, const F& f) const {
    for (int64_t head = 0; head < heads_; head += at_once_)
      for (int64_t begin = 0; begin < tokens; begin += tile_)
        f(Part{head, at_once_, begin, std::min(tile_, tokens - begin)});
  }
  /// One of six intermediates [heads, count, F] of a part.
  at::Tensor slot(const Part& part, int64_t index) const;
  /// sum <- or += a b in sum's own (wider) type; sum [heads, ., .].
  void accumulate(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b, bool add) const;

 private:
  int64_t heads_, at_once_, tile_;
  at::Tensor slots_;    // [6, heads at once, tile, F]
  at::Tensor product_;  // a matrix of the largest size; undefined where products add themselves
};

/// Below this many tokens one product over all heads is better than one head at a time.
constexpr int64_t kFewTokens = 64;

/// What a step leaves for its backward pass in keep mode: [N, tokens of the step, F].
struct SavedActivations {
  at::Tensor a, b, e;
};

/// out [N, T, V] <- f(q) for q [N, T, K]. w in the products' type, as q and out.
void apply(const TileBuffers& buffers, const FastWeights& w, const at::Tensor& q,
           const at::Tensor& out, const SavedActivations& saved);
/// grad_q receives q's gradient; grad_w is added the weights', in its own type.
/// `saved` is used up.
void apply_backward(const TileBuffers& buffers, const FastWeights& w, const at::Tensor& q,
                    const at::Tensor& grad_out, const SavedActivations& saved,
                    const at::Tensor& grad_q, const FastWeights& grad_w);

/// sum <- what the tokens say (spec/llm 2.3); matrices that no update changes are undefined in it.
void accumulate_delta(const TileBuffers& buffers, const FastWeights& w, const Tokens& tokens,
                      const FastWeights& sum, const SavedActivations& saved);
/// grad_sum in the products' type. grad_t receives the tokens' gradients, but for momentum.
void accumulate_delta_backward(const TileBuffers& buffers, const FastWeights& w,
                               const Tokens& tokens, const FastWeights& grad_sum,
                               const SavedActivations& saved, const Tokens& grad_t,
                               const FastWeights& grad_w);

}  // namespace lact::ops
