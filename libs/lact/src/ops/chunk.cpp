#include "chunk.hpp"

#include "passes.hpp"
#include "products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>

#include <algorithm>

namespace lact::ops {
namespace {

using at::Tensor;

constexpr int64_t kSlots = 6;

/// Tokens of a tile: products want many rows (1024 run 10 % faster than 256 at F = 384), passes
/// want to stay in a cache, of which they need little.
int64_t tile_tokens(int64_t hidden, c10::ScalarType type, bool cpu, int64_t cores) {
  if (!cpu) return 8192;
  constexpr int64_t kBytes = 3 << 19;
  const int64_t fit = kBytes / (hidden * static_cast<int64_t>(c10::elementSize(type)));
  return std::clamp<int64_t>(fit / 64 * 64, 512, 2048) * cores;
}

}  // namespace

Workshop::Workshop(const FastWeights& w, c10::ScalarType type, int64_t longest, int64_t tile,
                   int64_t cores)
    : heads_(w.down.size(0)), at_once_(heads_), tile_(tile) {
  const bool cpu = w.down.is_cpu();
  const int64_t value = w.down.size(1), hidden = w.down.size(2);
  const int64_t key = w.linear() ? hidden : w.gate.size(2);
  if (tile_ <= 0) tile_ = tile_tokens(hidden, type, cpu, cores);
  if (cpu && longest >= kFewTokens) at_once_ = 1;
  tile_ = std::min(tile_, std::max<int64_t>(longest, 1));
  const auto options = w.down.options().dtype(type);
  slots_ = at::empty({kSlots, at_once_, tile_, hidden}, options);
  if (type != w.down.scalar_type() && !widening(w.down, slots_))
    product_ = at::empty({at_once_ * hidden * std::max(key, value)}, options);
}

Tensor Workshop::slot(const Part& part, int64_t index) const {
  return slots_.select(0, index).narrow(1, 0, part.count);
}

void Workshop::accumulate(const Tensor& sum, const Tensor& a, const Tensor& b, bool add) const {
  if (!product_.defined()) return multiply(sum, a, b, add);
  const auto product = product_.narrow(0, 0, sum.numel()).view(sum.sizes());
  multiply(product, a, b);
  if (add)
    sum.add_(product);
  else
    sum.copy_(product);
}

namespace {

/// A part's view of what was kept, or else a slot.
Tensor place(const Workshop& shop, const Part& part, const Tensor& kept, int64_t index) {
  return kept.defined() ? part.tokens(kept) : shop.slot(part, index);
}

struct Matrices {
  Tensor gate, up, down;
  Matrices(const Part& part, const FastWeights& w) : down(part.matrix(w.down)) {
    if (w.linear()) return;
    gate = part.matrix(w.gate);
    up = part.matrix(w.up);
  }
};

passes::TileRates tile(const Part& part, const Rates& rate) {
  const auto cut = [&](const Tensor& x) { return x.defined() ? part.tokens(x) : x; };
  return {cut(rate.gate), cut(rate.up), cut(rate.down)};
}

}  // namespace

void read(const Workshop& shop, const FastWeights& w, const Tensor& q, const Tensor& out,
          const Kept& kept) {
  shop.for_each(q.size(1), [&](const Part& part) {
    const Matrices m(part, w);
    const auto x = part.tokens(q);
    if (w.linear()) return multiply(part.tokens(out), x, m.down.mT());
    const auto a = place(shop, part, kept.a, 0), b = place(shop, part, kept.b, 1);
    multiply(a, x, m.gate.mT());
    multiply(b, x, m.up.mT());
    const auto h = shop.slot(part, 2);
    passes::gate(a, b, h);
    multiply(part.tokens(out), h, m.down.mT());
  });
}

void read_backward(const Workshop& shop, const FastWeights& w, const Tensor& q, const Tensor& out_,
                   const Kept& kept, const Tensor& q_, const FastWeights& w_) {
  shop.for_each(q.size(1), [&](const Part& part) {
    const Matrices m(part, w), m_(part, w_);
    const auto x = part.tokens(q), y_ = part.tokens(out_), x_ = part.tokens(q_);
    if (w.linear()) {
      multiply(x_, y_, m.down);
      return shop.accumulate(m_.down, y_.mT(), x, true);
    }
    const auto a = place(shop, part, kept.a, 0), b = place(shop, part, kept.b, 1);
    if (!kept.a.defined()) {
      multiply(a, x, m.gate.mT());
      multiply(b, x, m.up.mT());
    }
    const auto h = shop.slot(part, 2);
    multiply(h, y_, m.down);
    passes::gate_backward(a, b, h);  // now a_, b_, h
    multiply(x_, a, m.gate);
    multiply(x_, b, m.up, true);
    shop.accumulate(m_.down, y_.mT(), h, true);
    shop.accumulate(m_.gate, a.mT(), x, true);
    shop.accumulate(m_.up, b.mT(), x, true);
  });
}

void learn(const Workshop& shop, const FastWeights& w, const Tokens& tokens, const FastWeights& sum,
           const Kept& kept) {
  shop.for_each(tokens.k.size(1), [&](const Part& part) {
    const Matrices m(part, w), g(part, {sum.gate, sum.up, sum.down});
    const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
    const auto rate = tile(part, tokens.rate);
    if (w.linear()) {
      auto scaled = shop.slot(part, 0);
      at::mul_out(scaled, k, rate.down);
      return shop.accumulate(g.down, v.mT(), scaled, !part.first());
    }
    const auto a = place(shop, part, kept.a, 0), b = place(shop, part, kept.b, 1);
    multiply(a, k, m.gate.mT());
    multiply(b, k, m.up.mT());
    const auto u = shop.slot(part, 5);
    if (sum.linear()) {  // only down learns
      passes::learn_last(a, b, rate, u);
    } else {
      const auto e = place(shop, part, kept.e, 2), p = shop.slot(part, 3), r = shop.slot(part, 4);
      multiply(e, v, m.down);
      passes::learn(a, b, e, rate, p, r, u);
      shop.accumulate(g.gate, p.mT(), k, !part.first());
      shop.accumulate(g.up, r.mT(), k, !part.first());
    }
    shop.accumulate(g.down, v.mT(), u, !part.first());
  });
}

namespace {

void learn_backward_linear(const Workshop& shop, const Tokens& tokens, const FastWeights& sum_,
                           const Tokens& t_, const Part& part) {
  const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
  const auto rate = part.tokens(tokens.rate.down), down_ = part.matrix(sum_.down);
  auto scaled_ = shop.slot(part, 0), scaled = shop.slot(part, 1);
  multiply(scaled_, v, down_);
  at::mul_out(scaled, k, rate);
  multiply(part.tokens(t_.v), scaled, down_.mT());
  part.tokens(t_.rate.down).copy_((scaled_ * k).sum(2, /*keepdim=*/true, rate.scalar_type()));
  at::mul_out(scaled_, scaled_, rate);
  part.tokens(t_.k).copy_(scaled_);
}

}  // namespace

void learn_backward(const Workshop& shop, const FastWeights& w, const Tokens& tokens,
                    const FastWeights& sum_, const Kept& kept, const Tokens& t_,
                    const FastWeights& w_) {
  shop.for_each(tokens.k.size(1), [&](const Part& part) {
    if (w.linear()) return learn_backward_linear(shop, tokens, sum_, t_, part);
    const Matrices m(part, w), m_(part, w_), g_(part, sum_);
    const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
    const auto k_ = part.tokens(t_.k), v_ = part.tokens(t_.v);
    const auto rate = tile(part, tokens.rate), rate_ = tile(part, t_.rate);
    const auto a = place(shop, part, kept.a, 0), b = place(shop, part, kept.b, 1);
    if (!kept.a.defined()) {
      multiply(a, k, m.gate.mT());
      multiply(b, k, m.up.mT());
    }
    const auto u = shop.slot(part, 5);
    multiply(u, v, g_.down);
    if (sum_.linear()) {                                  // only down learns
      passes::learn_last_backward(a, b, u, rate, rate_);  // now a_, b_, u
      multiply(v_, u, g_.down.mT());
      multiply(k_, a, m.gate);
      multiply(k_, b, m.up, true);
      shop.accumulate(m_.gate, a.mT(), k, true);
      return shop.accumulate(m_.up, b.mT(), k, true);
    }
    const auto e = place(shop, part, kept.e, 2), p = shop.slot(part, 3), r = shop.slot(part, 4);
    if (!kept.e.defined()) multiply(e, v, m.down);
    multiply(p, k, g_.gate.mT());
    multiply(r, k, g_.up.mT());
    passes::learn_backward(a, b, e, p, r, u, rate, rate_);  // now p, r, u, a_, b_, e_
    multiply(k_, a, g_.gate);
    multiply(k_, b, g_.up, true);
    multiply(k_, p, m.gate, true);
    multiply(k_, r, m.up, true);
    multiply(v_, e, g_.down.mT());
    multiply(v_, u, m.down.mT(), true);
    shop.accumulate(m_.gate, p.mT(), k, true);
    shop.accumulate(m_.up, r.mT(), k, true);
    shop.accumulate(m_.down, v.mT(), u, true);
  });
}

}  // namespace lact::ops
