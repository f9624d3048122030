#include "autograd.hpp"

#include <lact/error.hpp>
#include <lact/ops/reference.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

namespace lact::ops {
namespace {

using at::Tensor;

void require(bool holds, const char* what, const Tensor& found) {
  if (!holds) throw Error(Exit::internal, "scan: ", what, ": wrong shape ", found.sizes());
}

Tensor product(const Tensor& a, const Tensor& b, const Rule& rule) {
  if (!rule.product) return at::matmul(a, a.dtype() == b.dtype() ? b : b.to(a.dtype()));
  return at::matmul(a.to(*rule.product), b.to(*rule.product)).to(a.dtype());
}

/// Norms are float32 or better whatever the weights are.
Tensor row_norm(const Tensor& x) {
  const bool narrow = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
  return (narrow ? x.to(at::kFloat) : x).norm(2, {2}, /*keepdim=*/true);  // [N, rows, 1]
}

/// The same function on each matrix that is there.
template <class Function, class... More>
FastWeights each(const Function& f, const FastWeights& first, const More&... more) {
  FastWeights out;
  if (!first.linear()) {
    out.gate = f(first.gate, more.gate...);
    out.up = f(first.up, more.up...);
  }
  out.down = f(first.down, more.down...);
  return out;
}

FastWeights transformed(const FastWeights& g, const Rule& rule) {
  if (g.linear()) return {{}, {}, transform(*rule.transform, {g.down}, rule)[0]};
  if (!rule.stacked) {
    const auto all = transform(*rule.transform, {g.gate, g.up, g.down}, rule);
    return {all[0], all[1], all[2]};
  }
  const auto all = transform(*rule.transform, {at::cat({g.gate, g.up}, 1), g.down}, rule);
  const auto both = all[0].chunk(2, 1);  // [N, F, K] twice
  return {both[0], both[1], all[1]};
}

Tensor rescale(const Tensor& u, const Tensor& norm, const Rule& rule) {
  const Tensor size = rule.epsilon_inside
                          ? (u.square().sum(2, /*keepdim=*/true) + rule.norm_epsilon).sqrt()
                          : row_norm(u) + rule.norm_epsilon;
  return u / size * norm;
}

}  // namespace

FastState initial_state(const FastWeights& w, const Rule& rule) {
  FastState state{w, w, {}, {}};
  if (rule.learn == Learn::none) return state;
  if (rule.momentum) state.momentum = each([](const Tensor& x) { return at::zeros_like(x); }, w);
  if (rule.weight_norm)
    state.norms = each(
        [&](const Tensor& x) { return rule.detach_norms ? row_norm(x).detach() : row_norm(x); }, w);
  return state;
}

Tensor reference::apply(const FastWeights& w, const Tensor& x, const Rule& rule) {
  if (w.linear()) return product(x, w.down.mT(), rule);  // [N, L, V]
  const auto hidden = at::silu(product(x, w.gate.mT(), rule)) * product(x, w.up.mT(), rule);
  return product(hidden, w.down.mT(), rule);  // [N, L, V]
}

FastWeights reference::delta(const FastWeights& w, const Tokens& chunk, const Rule& rule) {
  check(w, chunk);
  const auto& [k, v, rate, momentum] = chunk;
  if (w.linear()) return {{}, {}, product(v.mT(), (k * rate.down).to(k.dtype()), rule)};

  const auto a = product(k, w.gate.mT(), rule);  // [N, C, F] before its activation
  const auto b = product(k, w.up.mT(), rule);    // [N, C, F]
  const auto s = at::sigmoid(a);
  const auto type = k.dtype();
  const auto scaled = [&](const Tensor& x, const Tensor& r) { return (x * r).to(type); };
  const auto down = product(v.mT(), scaled(a * s * b, rate.down), rule);  // [N, V, F]
  if (rule.learn == Learn::last) return {{}, {}, down};
  const auto e = product(v, w.down, rule);  // [N, C, F] derivative of <f(k), v> by the hidden
  const auto d_a = e * b * s * (1 + a * (1 - s));
  const auto d_b = e * a * s;
  return {product(d_a.mT(), scaled(k, rate.gate), rule),  // [N, F, K]
          product(d_b.mT(), scaled(k, rate.up), rule),    // [N, F, K]
          down};
}

FastState step(const FastState& state, const FastWeights& delta, const Tensor& beta,
               const Rule& rule) {
  if (rule.learn == Learn::none) return state;
  FastState next = state;
  // Where only down is updated, the others stay as they are.
  const auto updated = [&](const FastWeights& w) {
    return delta.linear() ? FastWeights{{}, {}, w.down} : w;
  };
  const auto put = [&](FastWeights& to, const FastWeights& from) {
    to = {from.linear() ? to.gate : from.gate, from.linear() ? to.up : from.up, from.down};
  };
  FastWeights move = delta;
  if (rule.momentum) {
    move = each([&](const Tensor& g, const Tensor& m) { return g + m * beta; }, delta,
                updated(state.momentum));
    put(next.momentum, move);
  }
  if (rule.transform != nullptr) move = transformed(move, rule);
  const auto add = [](const Tensor& x, const Tensor& g) { return x + g; };
  const FastWeights raw = each(add, updated(rule.prenorm ? state.main : state.w), move);
  put(next.w, rule.weight_norm
                  ? each([&](const Tensor& u, const Tensor& r) { return rescale(u, r, rule); }, raw,
                         updated(state.norms))
                  : raw);
  if (rule.prenorm)
    put(next.main, raw);
  else
    next.main = next.w;
  return next;
}

Tensor orthogonalize(const Tensor& g, const NewtonSchulz& how) {
  require(g.dim() == 3, "orthogonalize", g);
  auto rule = Rule::from_name("muon");
  rule.orthogonalize = how;
  return transform(*rule.transform, {g}, rule)[0];
}

}  // namespace lact::ops
