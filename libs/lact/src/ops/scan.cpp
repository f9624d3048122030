#include <lact/error.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

namespace lact::ops {
namespace {

using at::Tensor;

/// Where a chunk's tokens lie.
constexpr int64_t kTokenDim = 1;

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

template <class Function>
Tokens each_token_tensor(const Function& f, const Tokens& tokens) {
  const auto g = [&](const Tensor& x) { return x.defined() ? f(x) : Tensor(); };
  return {g(tokens.k),
          g(tokens.v),
          {g(tokens.rate.gate), g(tokens.rate.up), g(tokens.rate.down)},
          g(tokens.momentum)};
}

template <class Function>
Tokens each_token_tensor(const Function& f, const Tokens& a, const Tokens& b) {
  const auto g = [&](const Tensor& x, const Tensor& y) { return y.defined() ? f(x, y) : Tensor(); };
  return {g(a.k, b.k),
          g(a.v, b.v),
          {g(a.rate.gate, b.rate.gate), g(a.rate.up, b.rate.up), g(a.rate.down, b.rate.down)},
          g(a.momentum, b.momentum)};
}

Tokens slice(const Tokens& tokens, int64_t begin, int64_t end) {
  return each_token_tensor([&](const Tensor& x) { return x.slice(kTokenDim, begin, end); }, tokens);
}

/// Tokens [begin, end), where negative numbers lie in the open chunk.
Tokens span(const OpenChunk& open, const Tokens& tokens, int64_t begin, int64_t end) {
  if (begin >= 0) return slice(tokens, begin, end);
  require(-begin <= open.count, "a step reaches back further than the open chunk", tokens.k);
  const Tokens before =
      slice(open.tokens, open.count + begin, open.count + std::min<int64_t>(end, 0));
  if (end <= 0) return before;
  return each_token_tensor(
      [](const Tensor& x, const Tensor& y) {
        return at::cat({x, y}, kTokenDim);
      },
      before, slice(tokens, 0, end));
}

/// Tokens from `from` on become the open chunk. Appends in place where it may.
OpenChunk carry(const OpenChunk& open, const Tokens& tokens, const Schedule& schedule) {
  const int64_t length = tokens.k.size(kTokenDim), from = schedule.carry_from;
  OpenChunk out;
  if (from >= length) return out;
  out.count = length - from;
  if (at::GradMode::is_enabled()) {
    out.tokens = span(open, tokens, from, length);
    return out;
  }
  // Nothing was learned in between: the buffers hold all but the new tokens.
  const bool append = from < 0 && -from == open.count && open.tokens.k.defined() &&
                      open.tokens.k.size(kTokenDim) >= out.count;
  const Tokens fill = append ? tokens : span(open, tokens, from, length);
  out.tokens = append ? open.tokens
                      : each_token_tensor(
                            [&](const Tensor& x) {
                              auto sizes = x.sizes().vec();
                              sizes[kTokenDim] = std::max(schedule.chunk, out.count);
                              return at::empty(sizes, x.options());
                            },
                            fill);
  each_token_tensor(
      [&](const Tensor& buffer, const Tensor& x) {
        buffer.slice(kTokenDim, append ? open.count : 0, out.count).copy_(x);
        return buffer;
      },
      out.tokens, fill);
  return out;
}

FastWeights orthogonalize(const FastWeights& g, const Rule& rule) {
  const auto& how = rule.orthogonalize;
  if (!rule.stacked || g.linear())
    return each([&](const Tensor& x) { return orthogonalize(x, how); }, g);
  const auto both = orthogonalize(at::cat({g.gate, g.up}, 1), how).chunk(2, 1);  // [N, F, K] twice
  return {both[0], both[1], orthogonalize(g.down, how)};
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
  if (rule.momentum) state.momentum = each([](const Tensor& x) { return at::zeros_like(x); }, w);
  if (rule.weight_norm)
    state.norms = each(
        [&](const Tensor& x) { return rule.detach_norms ? row_norm(x).detach() : row_norm(x); }, w);
  return state;
}

Tensor apply(const FastWeights& w, const Tensor& x, const Rule& rule) {
  if (w.linear()) return product(x, w.down.mT(), rule);  // [N, L, V]
  const auto hidden = at::silu(product(x, w.gate.mT(), rule)) * product(x, w.up.mT(), rule);
  return product(hidden, w.down.mT(), rule);  // [N, L, V]
}

FastWeights fast_weight_delta(const FastWeights& w, const Tokens& chunk, const Rule& rule) {
  const auto& [k, v, rate, momentum] = chunk;
  const int64_t last = w.down.size(2);
  require(k.dim() == 3 && k.size(0) == w.down.size(0), "k", k);
  require(v.dim() == 3 && v.size(1) == k.size(1) && v.size(2) == w.down.size(1), "v", v);
  require(rate.down.size(1) == k.size(1) && (rate.down.size(2) == 1 || rate.down.size(2) == last),
          "rate", rate.down);
  if (w.linear()) return {{}, {}, product(v.mT(), (k * rate.down).to(k.dtype()), rule)};

  const auto a = product(k, w.gate.mT(), rule);  // [N, C, F] before its activation
  const auto b = product(k, w.up.mT(), rule);    // [N, C, F]
  const auto e = product(v, w.down, rule);       // [N, C, F] derivative of <f(k), v> by the hidden
  const auto s = at::sigmoid(a);
  const auto d_a = e * b * s * (1 + a * (1 - s));
  const auto d_b = e * a * s;
  const auto scaled = [&](const Tensor& x, const Tensor& r) { return (x * r).to(k.dtype()); };
  return {product(d_a.mT(), scaled(k, rate.gate), rule),         // [N, F, K]
          product(d_b.mT(), scaled(k, rate.up), rule),           // [N, F, K]
          product(v.mT(), scaled(a * s * b, rate.down), rule)};  // [N, V, F]
}

FastState step(const FastState& state, const FastWeights& delta, const Tensor& beta,
               const Rule& rule) {
  FastState next = state;
  FastWeights move = delta;
  if (rule.momentum)
    move = next.momentum =
        each([&](const Tensor& g, const Tensor& m) { return g + m * beta; }, delta, state.momentum);
  if (rule.muon) move = orthogonalize(move, rule);
  const auto add = [](const Tensor& x, const Tensor& g) { return x + g; };
  const FastWeights raw = each(add, rule.prenorm ? state.main : state.w, move);
  next.w = raw;
  if (rule.weight_norm)
    next.w = each([&](const Tensor& u, const Tensor& r) { return rescale(u, r, rule); }, raw,
                  state.norms);
  next.main = rule.prenorm ? raw : next.w;
  return next;
}

Tensor orthogonalize(const Tensor& g, const NewtonSchulz& how) {
  require(g.dim() == 3, "orthogonalize", g);
  Tensor x = how.dtype ? g.to(*how.dtype) : g;
  const bool tall = g.size(1) > g.size(2);  // the small side is squared
  if (tall) x = x.mT();
  x = x / (x.norm(2, {1, 2}, /*keepdim=*/true) + how.epsilon);
  for (const auto& [p, q, t] : how.steps) {
    const auto s = at::matmul(x, x.mT());
    // (t S) S in this order: a bfloat16 run then equals the authors' bit for bit.
    x = p * x + at::matmul(q * s + at::matmul(t * s, s), x);
  }
  return (tall ? x.mT() : x).to(g.dtype());
}

ScanResult scan(const FastState& state, const OpenChunk& open, const Tensor& q,
                const Tokens& tokens, const Schedule& schedule, const Rule& rule) {
  require(q.dim() == 3 && q.size(0) == tokens.k.size(0), "q", q);
  require(!rule.momentum || tokens.momentum.defined(), "momentum is missing for q", q);
  ScanResult result{{}, state, {}};
  std::vector<std::pair<int64_t, Tensor>> pieces;
  for (const auto& [kind, begin, end] : schedule.steps) {
    if (kind == Step::Kind::apply) {
      pieces.emplace_back(begin, apply(result.state.w, q.slice(kTokenDim, begin, end), rule));
      continue;
    }
    const Tokens chunk = span(open, tokens, begin, end);
    const Tensor beta =
        rule.momentum ? chunk.momentum.mean({kTokenDim}, /*keepdim=*/true) : Tensor();  // [N, 1, 1]
    result.state = step(result.state, fast_weight_delta(result.state.w, chunk, rule), beta, rule);
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tensor> parts;
  for (auto& piece : pieces) parts.push_back(piece.second);
  if (!parts.empty())
    result.out = (parts.size() == 1 ? parts[0] : at::cat(parts, kTokenDim)).to(tokens.v.dtype());
  result.open = carry(open, tokens, schedule);
  return result;
}

}  // namespace lact::ops
