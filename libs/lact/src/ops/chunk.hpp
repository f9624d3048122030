#pragma once
// One chunk's work, tile by tile: reading with fixed fast weights, the sum that they learn from,
// and the backward passes of both (spec 2.2, 2.3, 11). A name with _ at its end is the outer loss's
// gradient by that.

#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace lact::ops {

/// Some heads' share of some tokens.
struct Part {
  int64_t head, heads, begin, count;
  int64_t worker;  ///< no two at a time have the same
  bool first() const { return begin == 0; }
  at::Tensor tokens(const at::Tensor& x) const {  ///< of x [N, L, .]
    return x.narrow(0, head, heads).narrow(1, begin, count);
  }
  at::Tensor matrix(const at::Tensor& w) const { return w.narrow(0, head, heads); }
};

/// How work is cut, and where its intermediates are put. On a CPU whole heads go to the cores where
/// there are enough of them, so that a tile and its products stay in one core's caches; otherwise,
/// or where tokens are few, and on other devices, products are shared out inside.
class Workshop {
 public:
  /// longest: tokens of the longest step. Products in `type`. hidden: F, or K of linear weights.
  Workshop(const FastWeights& w, c10::ScalarType type, int64_t longest, int64_t tile);

  /// f for all parts of a step over `tokens` tokens.
  void for_each(int64_t tokens, const std::function<void(const Part&)>& f);
  /// One of six intermediates [heads, count, F] of a part.
  at::Tensor slot(const Part& part, int64_t index) const;
  /// sum <- or += a b in sum's own (wider) type; sum [heads, ., .].
  void accumulate(const Part& part, const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b,
                  bool add) const;

 private:
  int64_t heads_, at_once_, workers_, tile_;
  at::Tensor slots_;    // [workers, 6, heads at once, tile, F]
  at::Tensor product_;  // [workers, a matrix of the largest size]; undefined if types are equal
};

/// What a step leaves for its backward pass in keep mode: [N, tokens of the step, F].
struct Kept {
  at::Tensor a, b, e;
};

/// out [N, T, V] <- f(q) for q [N, T, K]. w in the products' type, as q and out.
void read(Workshop& shop, const FastWeights& w, const at::Tensor& q, const at::Tensor& out,
          const Kept& kept);
/// q_ receives q's gradient; w_ is added the weights', in its own type.
/// `kept` is used up.
void read_backward(Workshop& shop, const FastWeights& w, const at::Tensor& q,
                   const at::Tensor& out_, const Kept& kept, const at::Tensor& q_,
                   const FastWeights& w_);

/// sum <- what the tokens say (spec 2.3); matrices that do not learn are undefined in it.
void learn(Workshop& shop, const FastWeights& w, const Tokens& tokens, const FastWeights& sum,
           const Kept& kept);
/// sum_ in the products' type. t_ receives the tokens' gradients, but for momentum.
void learn_backward(Workshop& shop, const FastWeights& w, const Tokens& tokens,
                    const FastWeights& sum_, const Kept& kept, const Tokens& t_,
                    const FastWeights& w_);

}  // namespace lact::ops
