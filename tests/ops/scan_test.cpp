#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <ATen/Context.h>

using namespace lact;
using at::Tensor;

namespace {

constexpr int64_t kN = 2, kF = 6, kK = 4, kV = 5;  // all different: a swapped axis cannot hide

Tensor normal(std::vector<int64_t> sizes) {
  return at::randn(sizes, at::kDouble);
}

ops::FastWeights weights(bool linear = false) {
  if (linear) return {{}, {}, normal({kN, kV, kK})};
  return {normal({kN, kF, kK}), normal({kN, kF, kK}), normal({kN, kV, kF})};
}

ops::Tokens tokens(int64_t length, const ops::Rule& rule) {
  const auto rate = [&] { return at::rand({kN, length, 1}, at::kDouble) * 0.1; };
  return {normal({kN, length, kK}),
          normal({kN, length, kV}),
          {rate(), rate(), rate()},
          rule.momentum ? at::rand({kN, length, 1}, at::kDouble) : Tensor()};
}

ops::Tokens slice(const ops::Tokens& t, int64_t begin, int64_t end) {
  const auto cut = [&](const Tensor& x) { return x.defined() ? x.slice(1, begin, end) : x; };
  return {
      cut(t.k), cut(t.v), {cut(t.rate.gate), cut(t.rate.up), cut(t.rate.down)}, cut(t.momentum)};
}

}  // namespace

TEST_CASE("a chunk's delta is autograd's, token by token") {
  at::manual_seed(7);
  const int64_t C = GENERATE(1, 7, 64);
  const bool linear = GENERATE(false, true);
  CAPTURE(C, linear);
  auto w = weights(linear);
  const auto t = tokens(C, {});
  const auto got = ops::fast_weight_delta(w, t, {});
  // Each matrix has its own rate: autograd gives one token's gradient at a time.
  const auto want = [&](Tensor ops::FastWeights::*which, const Tensor& rate) {
    Tensor sum = at::zeros((w.*which).sizes(), at::kDouble);
    for (int64_t i = 0; i < C; ++i) {
      auto leaves = w;
      leaves.*which = (w.*which).detach().clone().requires_grad_(true);
      const auto f = ops::apply(leaves, t.k.slice(1, i, i + 1), {});
      (f * t.v.slice(1, i, i + 1) * rate.slice(1, i, i + 1)).sum().backward();
      sum += (leaves.*which).grad();
    }
    return sum;
  };
  CHECK(test::scaled_error(got.down, want(&ops::FastWeights::down, t.rate.down)) < 1e-12);
  if (linear) return;
  CHECK(test::scaled_error(got.gate, want(&ops::FastWeights::gate, t.rate.gate)) < 1e-12);
  CHECK(test::scaled_error(got.up, want(&ops::FastWeights::up, t.rate.up)) < 1e-12);
  CHECK(test::scaled_error(got.up, got.gate) > 0.1);  // the bound can fail
}

TEST_CASE("feeding tokens in any grouping equals one pass, for every rule") {
  at::manual_seed(11);
  const std::string name = GENERATE("gd", "momentum", "muon", "muon_momentum");
  const bool prenorm = GENERATE(false, true), linear = GENERATE(false, true);
  const bool record = GENERATE(false, true);  // with a graph buffers are never reused
  CAPTURE(name, prenorm, linear, record);
  auto rule = ops::Rule::from_name(name);
  rule.prenorm = prenorm;
  const int64_t length = 47, chunk = 9;
  const at::AutoGradMode mode(record);
  const auto w = weights(linear);
  const auto q = normal({kN, length, kK});
  const auto t = tokens(length, rule);
  const auto whole = ops::scan(ops::initial_state(w, rule), {}, q, t,
                               ops::shifted_block_causal(length, chunk), rule);
  auto state = ops::initial_state(w, rule);
  ops::OpenChunk open;
  std::vector<Tensor> outs;
  for (int64_t begin = 0, step = 1; begin < length; step = step * 7 % 13) {
    const int64_t end = std::min(begin + step, length);
    auto done = ops::scan(state, open, q.slice(1, begin, end), slice(t, begin, end),
                          ops::shifted_block_causal_stream(open.count, end - begin, chunk), rule);
    state = done.state;
    open = done.open;
    outs.push_back(done.out);
    begin = end;
  }
  CHECK(open.count == length % chunk);
  CHECK(test::scaled_error(at::cat(outs, 1), whole.out) < 1e-11);
  CHECK(test::scaled_error(state.w.down, whole.state.w.down) < 1e-11);
}

TEST_CASE("an output depends on earlier chunks only") {
  at::manual_seed(3);
  const int64_t length = 30, chunk = 10;
  const auto rule = ops::Rule::from_name("momentum");
  const auto w = weights();
  const auto q = normal({kN, length, kK});
  const auto t = tokens(length, rule);
  auto changed = t;
  changed.k = t.k.clone();
  changed.k.slice(1, 15, 16).mul_(3);
  const auto run = [&](const ops::Tokens& x) {
    return ops::scan(ops::initial_state(w, rule), {}, q, x,
                     ops::shifted_block_causal(length, chunk), rule)
        .out;
  };
  const auto a = run(t), b = run(changed);
  CHECK(test::same_bytes(a.slice(1, 0, 20), b.slice(1, 0, 20)));
  CHECK_FALSE(test::same_bytes(a.slice(1, 20), b.slice(1, 20)));
}

TEST_CASE("a rate of zero leaves the weights where they are") {
  at::manual_seed(5);
  auto rule = ops::Rule::from_name("gd");
  rule.weight_norm = false;
  const auto w = weights();
  auto t = tokens(12, rule);
  t.rate = {t.rate.gate * 0, t.rate.up * 0, t.rate.down * 0};
  const auto next =
      ops::step(ops::initial_state(w, rule), ops::fast_weight_delta(w, t, rule), {}, rule);
  CHECK(test::same_bytes(next.w.gate, w.gate));
  CHECK(test::same_bytes(next.w.down, w.down));
}

TEST_CASE("rows keep the norms of the initial weights") {
  at::manual_seed(6);
  const auto rule = ops::Rule::from_name(GENERATE("gd", "muon_momentum"));
  const auto w = weights();
  const auto t = tokens(40, rule);
  const auto done =
      ops::scan(ops::initial_state(w, rule), {}, t.k, t, ops::chunk_causal(40, 10), rule);
  CHECK(test::scaled_error(done.state.w.up.norm(2, {2}), w.up.norm(2, {2})) < 1e-4);
  CHECK(test::scaled_error(done.state.w.up, w.up) > 1e-3);
}

TEST_CASE("target norms that are detached pass no gradient") {
  at::manual_seed(8);
  auto rule = ops::Rule::from_name("gd");
  const auto t = tokens(8, rule);
  const auto gradient = [&](bool detach) {
    at::manual_seed(9);
    rule.detach_norms = detach;
    auto w = weights();
    w.gate.requires_grad_(true);
    const auto next =
        ops::step(ops::initial_state(w, rule), ops::fast_weight_delta(w, t, rule), {}, rule);
    next.w.gate.square().sum().backward();
    return w.gate.grad();
  };
  // |row|^2 is the initial norm's: all gradient comes through the norms, but for the epsilon.
  CHECK(gradient(true).abs().max().item<double>() < 1e-3);
  CHECK(gradient(false).abs().max().item<double>() > 1e-1);
}

TEST_CASE("an unknown rule is refused with the list of rules") {
  CHECK_THROWS_WITH(ops::Rule::from_name("adam"), Catch::Contains("muon_momentum"));
}

TEST_CASE("tensors that do not fit are refused by name") {
  const auto rule = ops::Rule::from_name("gd");
  auto t = tokens(8, rule);
  t.v = normal({kN, 7, kV});
  CHECK_THROWS_WITH(ops::fast_weight_delta(weights(), t, rule), Catch::Contains("v: wrong shape"));
}
