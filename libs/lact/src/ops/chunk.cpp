#include "chunk.hpp"

#include "kernels.hpp"
#include "products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>

#include <algorithm>

namespace lact::ops {
namespace {

using at::Tensor;

constexpr int64_t kSlots = 6;

/// Tokens of a tile: products want many rows (1024 run 10 % faster than 256 at F = 384), kernels
/// want to stay in a cache, of which they need little.
int64_t tile_tokens(int64_t hidden, c10::ScalarType type, bool cpu, int64_t cores) {
  if (!cpu) return 8192;
  constexpr int64_t kBytes = 3 << 19;
  const int64_t fit = kBytes / (hidden * static_cast<int64_t>(c10::elementSize(type)));
  return std::clamp<int64_t>(fit / 64 * 64, 512, 2048) * cores;
}

}  // namespace

TileBuffers::TileBuffers(const FastWeights& w, c10::ScalarType type, int64_t longest, int64_t tile,
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

Tensor TileBuffers::slot(const Part& part, int64_t index) const {
  return slots_.select(0, index).narrow(1, 0, part.count);
}

void TileBuffers::accumulate(const Tensor& sum, const Tensor& a, const Tensor& b, bool add) const {
  if (!product_.defined()) return multiply(sum, a, b, add);
  const auto product = product_.narrow(0, 0, sum.numel()).view(sum.sizes());
  multiply(product, a, b);
  if (add)
    sum.add_(product);
  else
    sum.copy_(product);
}

namespace {

/// A part's view of what was saved, or else a slot.
Tensor place(const TileBuffers& buffers, const Part& part, const Tensor& saved, int64_t index) {
  return saved.defined() ? part.tokens(saved) : buffers.slot(part, index);
}

struct Matrices {
  Tensor gate, up, down;
  Matrices(const Part& part, const FastWeights& w) : down(part.matrix(w.down)) {
    if (w.linear()) return;
    gate = part.matrix(w.gate);
    up = part.matrix(w.up);
  }
};

kernels::TileRates tile(const Part& part, const Rates& rate) {
  const auto cut = [&](const Tensor& x) { return x.defined() ? part.tokens(x) : x; };
  return {cut(rate.gate), cut(rate.up), cut(rate.down)};
}

}  // namespace

void apply(const TileBuffers& buffers, const FastWeights& w, const Tensor& q, const Tensor& out,
           const SavedActivations& saved) {
  buffers.for_each(q.size(1), [&](const Part& part) {
    const Matrices m(part, w);
    const auto x = part.tokens(q);
    if (w.linear()) return multiply(part.tokens(out), x, m.down.mT());
    const auto a = place(buffers, part, saved.a, 0), b = place(buffers, part, saved.b, 1);
    multiply(a, x, m.gate.mT());
    multiply(b, x, m.up.mT());
    const auto h = buffers.slot(part, 2);
    kernels::swiglu(a, b, h);
    multiply(part.tokens(out), h, m.down.mT());
  });
}

void apply_backward(const TileBuffers& buffers, const FastWeights& w, const Tensor& q,
                    const Tensor& grad_out, const SavedActivations& saved, const Tensor& grad_q,
                    const FastWeights& grad_w) {
  buffers.for_each(q.size(1), [&](const Part& part) {
    const Matrices m(part, w), grad_m(part, grad_w);
    const auto x = part.tokens(q), grad_y = part.tokens(grad_out), grad_x = part.tokens(grad_q);
    if (w.linear()) {
      multiply(grad_x, grad_y, m.down);
      return buffers.accumulate(grad_m.down, grad_y.mT(), x, true);
    }
    const auto a = place(buffers, part, saved.a, 0), b = place(buffers, part, saved.b, 1);
    if (!saved.a.defined()) {
      multiply(a, x, m.gate.mT());
      multiply(b, x, m.up.mT());
    }
    const auto h = buffers.slot(part, 2);
    multiply(h, grad_y, m.down);
    kernels::swiglu_backward(a, b, h);  // now grad_a, grad_b, h
    multiply(grad_x, a, m.gate);
    multiply(grad_x, b, m.up, true);
    buffers.accumulate(grad_m.down, grad_y.mT(), h, true);
    buffers.accumulate(grad_m.gate, a.mT(), x, true);
    buffers.accumulate(grad_m.up, b.mT(), x, true);
  });
}

void accumulate_delta(const TileBuffers& buffers, const FastWeights& w, const Tokens& tokens,
                      const FastWeights& sum, const SavedActivations& saved) {
  buffers.for_each(tokens.k.size(1), [&](const Part& part) {
    const Matrices m(part, w), g(part, {sum.gate, sum.up, sum.down});
    const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
    const auto rate = tile(part, tokens.rate);
    if (w.linear()) {
      auto scaled = buffers.slot(part, 0);
      at::mul_out(scaled, k, rate.down);
      return buffers.accumulate(g.down, v.mT(), scaled, !part.first());
    }
    const auto a = place(buffers, part, saved.a, 0), b = place(buffers, part, saved.b, 1);
    multiply(a, k, m.gate.mT());
    multiply(b, k, m.up.mT());
    const auto u = buffers.slot(part, 5);
    if (sum.linear()) {  // only down is updated
      kernels::delta_factors_last(a, b, rate, u);
    } else {
      const auto e = place(buffers, part, saved.e, 2), p = buffers.slot(part, 3),
                 r = buffers.slot(part, 4);
      multiply(e, v, m.down);
      kernels::delta_factors(a, b, e, rate, p, r, u);
      buffers.accumulate(g.gate, p.mT(), k, !part.first());
      buffers.accumulate(g.up, r.mT(), k, !part.first());
    }
    buffers.accumulate(g.down, v.mT(), u, !part.first());
  });
}

namespace {

void accumulate_delta_backward_linear(const TileBuffers& buffers, const Tokens& tokens,
                                      const FastWeights& grad_sum, const Tokens& grad_t,
                                      const Part& part) {
  const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
  const auto rate = part.tokens(tokens.rate.down), grad_down = part.matrix(grad_sum.down);
  auto grad_scaled = buffers.slot(part, 0), scaled = buffers.slot(part, 1);
  multiply(grad_scaled, v, grad_down);
  at::mul_out(scaled, k, rate);
  multiply(part.tokens(grad_t.v), scaled, grad_down.mT());
  part.tokens(grad_t.rate.down)
      .copy_((grad_scaled * k).sum(2, /*keepdim=*/true, rate.scalar_type()));
  at::mul_out(grad_scaled, grad_scaled, rate);
  part.tokens(grad_t.k).copy_(grad_scaled);
}

}  // namespace

void accumulate_delta_backward(const TileBuffers& buffers, const FastWeights& w,
                               const Tokens& tokens, const FastWeights& grad_sum,
                               const SavedActivations& saved, const Tokens& grad_t,
                               const FastWeights& grad_w) {
  buffers.for_each(tokens.k.size(1), [&](const Part& part) {
    if (w.linear())
      return accumulate_delta_backward_linear(buffers, tokens, grad_sum, grad_t, part);
    const Matrices m(part, w), grad_m(part, grad_w), grad_g(part, grad_sum);
    const auto k = part.tokens(tokens.k), v = part.tokens(tokens.v);
    const auto grad_k = part.tokens(grad_t.k), grad_v = part.tokens(grad_t.v);
    const auto rate = tile(part, tokens.rate), grad_rate = tile(part, grad_t.rate);
    const auto a = place(buffers, part, saved.a, 0), b = place(buffers, part, saved.b, 1);
    if (!saved.a.defined()) {
      multiply(a, k, m.gate.mT());
      multiply(b, k, m.up.mT());
    }
    const auto u = buffers.slot(part, 5);
    multiply(u, v, grad_g.down);
    if (grad_sum.linear()) {                                           // only down is updated
      kernels::delta_factors_last_backward(a, b, u, rate, grad_rate);  // now grad_a, grad_b, u
      multiply(grad_v, u, grad_g.down.mT());
      multiply(grad_k, a, m.gate);
      multiply(grad_k, b, m.up, true);
      buffers.accumulate(grad_m.gate, a.mT(), k, true);
      return buffers.accumulate(grad_m.up, b.mT(), k, true);
    }
    const auto e = place(buffers, part, saved.e, 2), p = buffers.slot(part, 3),
               r = buffers.slot(part, 4);
    if (!saved.e.defined()) multiply(e, v, m.down);
    multiply(p, k, grad_g.gate.mT());
    multiply(r, k, grad_g.up.mT());
    kernels::delta_factors_backward(a, b, e, p, r, u, rate,
                                    grad_rate);  // now p, r, u, grad_a, grad_b, grad_e
    multiply(grad_k, a, grad_g.gate);
    multiply(grad_k, b, grad_g.up, true);
    multiply(grad_k, p, m.gate, true);
    multiply(grad_k, r, m.up, true);
    multiply(grad_v, e, grad_g.down.mT());
    multiply(grad_v, u, m.down.mT(), true);
    buffers.accumulate(grad_m.gate, p.mT(), k, true);
    buffers.accumulate(grad_m.up, r.mT(), k, true);
    buffers.accumulate(grad_m.down, v.mT(), u, true);
  });
}

}  // namespace lact::ops
