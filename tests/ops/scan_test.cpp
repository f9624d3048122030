#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/ops/reference.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

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
  const auto got = ops::delta(w, t, {});
  // Each matrix has its own rate: autograd gives one token's gradient at a time.
  const auto want = [&](Tensor ops::FastWeights::*which, const Tensor& rate) {
    Tensor sum = at::zeros((w.*which).sizes(), at::kDouble);
    for (int64_t i = 0; i < C; ++i) {
      auto leaves = w;
      leaves.*which = (w.*which).detach().clone().requires_grad_(true);
      const auto f = ops::reference::apply(leaves, t.k.slice(1, i, i + 1), {});
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
  const std::string name = GENERATE(from_range(ops::Rule::names()));
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
      ops::step(ops::initial_state(w, rule), ops::reference::delta(w, t, rule), {}, rule);
  CHECK(test::same_bytes(next.w.gate, w.gate));
  CHECK(test::same_bytes(next.w.down, w.down));
}

TEST_CASE(
    "where nothing is learned every token is applied to the first weights, under any schedule") {
  at::manual_seed(12);
  auto rule = ops::Rule::from_name(GENERATE(from_range(ops::Rule::names())));
  rule.learn = ops::Learn::none;
  const bool linear = GENERATE(false, true);
  const auto w = weights(linear);
  const auto q = normal({kN, 12, kK}).requires_grad_(true);
  const auto state = ops::initial_state(w, rule);
  CHECK_FALSE(state.norms.down.defined());
  CHECK_FALSE(state.momentum.down.defined());
  const auto want = ops::apply(w, q, rule);
  for (const auto& plan : {ops::shifted_block_causal(12, 5), ops::chunk_causal(12, 4),
                           ops::bidirectional(12), ops::shifted_block_causal_stream(0, 12, 5)}) {
    const auto done = ops::scan(state, {}, q, {}, plan, rule);  // no keys, values, rates
    CHECK(test::same_bytes(done.out, want));
    CHECK(done.open.count == 0);
    CHECK(done.state.w.down.is_same(w.down));
  }
  // As a rate of zero, and its gradient.
  auto learning = rule;
  learning.learn = ops::Learn::all;
  learning.weight_norm = learning.momentum = false;
  learning.transform = nullptr;
  auto t = tokens(12, learning);
  for (auto* rate : {&t.rate.gate, &t.rate.up, &t.rate.down}) *rate = *rate * 0;
  if (linear) t.rate.gate = t.rate.up = Tensor();
  const auto still = ops::scan(ops::initial_state(w, learning), {}, q, t,
                               ops::shifted_block_causal(12, 5), learning);
  const auto gradient = [&](const Tensor& out) {
    q.mutable_grad().reset();
    out.square().sum().backward();
    return q.grad().clone();
  };
  const auto a = gradient(still.out), b = gradient(want);
  CHECK((a - b).abs().max().item<double>() < 1e-9);
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
        ops::step(ops::initial_state(w, rule), ops::reference::delta(w, t, rule), {}, rule);
    next.w.gate.square().sum().backward();
    return w.gate.grad();
  };
  // |row|^2 is the initial norm's: all gradient comes through the norms, but for the epsilon.
  CHECK(gradient(true).abs().max().item<double>() < 1e-3);
  CHECK(gradient(false).abs().max().item<double>() > 1e-1);
}

namespace {

/// Everything that a scan is a function of, as leaves.
struct Leaves {
  ops::FastWeights w;
  Tensor q;
  ops::Tokens t;

  std::map<std::string, Tensor*> named() {
    std::map<std::string, Tensor*> all{
        {"down", &w.down}, {"q", &q}, {"k", &t.k}, {"v", &t.v}, {"rate.down", &t.rate.down}};
    for (const auto& [name, x] : {std::pair<std::string, Tensor*>{"gate", &w.gate},
                                  {"up", &w.up},
                                  {"rate.gate", &t.rate.gate},
                                  {"rate.up", &t.rate.up},
                                  {"momentum", &t.momentum}})
      if (x->defined()) all[name] = x;
    return all;
  }
};

/// A number that all outputs and all of the final state take part in.
Tensor scan_loss(const Leaves& in, const ops::Schedule& schedule, const ops::Rule& rule,
                 const ops::ScanOptions& options) {
  const auto done =
      ops::scan(ops::initial_state(in.w, rule), {}, in.q, in.t, schedule, rule, options);
  const auto weighted = [](const Tensor& x) {
    return (x * at::arange(x.numel(), x.options()).sin().view(x.sizes())).sum();
  };
  Tensor sum = weighted(done.out);
  for (const auto* w : {&done.state.w, &done.state.main, &done.state.momentum})
    for (const auto* x : {&w->gate, &w->up, &w->down})
      if (x->defined()) sum = sum + weighted(*x);
  return sum;
}

struct Planned {
  const char* name;
  ops::Schedule schedule;
};

constexpr int64_t kLength = 13;  // no multiple of any chunk

std::vector<Planned> plans() {
  return {{"shifted", ops::shifted_block_causal(kLength, 5)},
          {"chunk causal", ops::chunk_causal(kLength, 5)},
          {"bidirectional", ops::bidirectional(kLength)},
          {"strided", ops::strided(kLength, 2, 4, 3)},
          {"read twice, learned twice",
           {{{ops::Step::Kind::update, 0, 8},
             {ops::Step::Kind::apply, 0, 6},
             {ops::Step::Kind::update, 4, 12},
             {ops::Step::Kind::apply, 3, 11}},
            kLength,
            0}}};
}

}  // namespace

TEST_CASE("the backward pass written by hand agrees with differences in float64") {
  at::manual_seed(21);
  const std::string name = GENERATE(from_range(ops::Rule::names()));
  const bool prenorm = GENERATE(false, true);
  const std::string kind = GENERATE("swiglu", "linear", "last", "stacked", "no norm", "inside");
  auto rule = ops::Rule::from_name(name);
  rule.prenorm = prenorm;
  rule.stacked = kind == "stacked";
  rule.weight_norm = kind != "no norm";
  rule.epsilon_inside = kind == "inside";
  if (kind == "last") rule.learn = ops::Learn::last;
  if (kind == "stacked") rule.orthogonalize.steps = ops::NewtonSchulz::keller_jordan();
  for (const auto& [plan, schedule] : plans()) {
    for (const bool recompute : {false, true}) {
      CAPTURE(name, prenorm, kind, plan, recompute);
      const ops::ScanOptions options{.recompute = recompute, .tile = 3};
      Leaves in{weights(kind == "linear"), normal({kN, kLength, kK}), tokens(kLength, rule)};
      for (auto& [leaf, x] : in.named()) x->requires_grad_(true);
      scan_loss(in, schedule, rule, options).backward();
      for (auto& [leaf, x] : in.named()) {
        CAPTURE(leaf);
        const Tensor gradient = x->grad().clone(), value = x->detach().clone();
        const Tensor direction = at::randn_like(value) * value.abs().mean();
        const at::NoGradGuard no_grad;
        const double step = 1e-5;
        const auto at_offset = [&](double scale) {
          x->copy_(value + scale * step * direction);
          return scan_loss(in, schedule, rule, options).item<double>();
        };
        // Four points: what is left out is of the fourth order in the step.
        const double want =
            (8 * (at_offset(1) - at_offset(-1)) - (at_offset(2) - at_offset(-2))) / (12 * step);
        x->copy_(value);
        const double got = (gradient * direction).sum().item<double>();
        CHECK(std::abs(got - want) <= 2e-6 * std::abs(want) + 1e-7);
      }
    }
  }
}

TEST_CASE("the backward pass written by hand is autograd's of the plain pieces") {
  at::manual_seed(22);
  const std::string name = GENERATE("gd", "momentum", "muon_momentum");
  const bool prenorm = GENERATE(false, true);
  auto rule = ops::Rule::from_name(name);
  rule.prenorm = prenorm;
  const int64_t length = 300, chunk = 128;  // several tiles, many tokens
  const auto w = weights();
  const auto q = normal({kN, length, kK});
  auto t = tokens(length, rule);
  const auto gradients = [&](bool fused) {
    Leaves in{{w.gate.clone(), w.up.clone(), w.down.clone()}, q.clone(), t};
    in.t.k = t.k.clone();
    in.t.rate.gate = t.rate.gate.clone();
    for (auto* x : {&in.w.gate, &in.w.up, &in.w.down, &in.q, &in.t.k, &in.t.rate.gate})
      x->requires_grad_(true);
    auto state = ops::initial_state(in.w, rule);
    Tensor out;
    if (fused) {
      out = ops::scan(state, {}, in.q, in.t, ops::shifted_block_causal(length, chunk), rule,
                      {.tile = 50})
                .out;
    } else {
      std::vector<Tensor> outs;
      for (int64_t begin = 0; begin < length; begin += chunk) {
        const int64_t end = std::min(begin + chunk, length);
        outs.push_back(ops::reference::apply(state.w, in.q.slice(1, begin, end), rule));
        const auto part = slice(in.t, begin, end);
        state = ops::step(state, ops::reference::delta(state.w, part, rule),
                          rule.momentum ? part.momentum.mean({1}, true) : Tensor(), rule);
      }
      out = at::cat(outs, 1);
    }
    out.square().sum().backward();
    std::vector<Tensor> all{out.detach()};
    for (auto* x : {&in.w.gate, &in.w.up, &in.w.down, &in.q, &in.t.k, &in.t.rate.gate})
      all.push_back(x->grad());
    return all;
  };
  const auto got = gradients(true), want = gradients(false);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(name, prenorm, i);
    CHECK(test::scaled_error(got[i], want[i]) < 1e-9);
  }
}

TEST_CASE("apply and delta on their own are the scan's, to the bit, and the reference's") {
  at::manual_seed(12);
  const bool linear = GENERATE(false, true);
  const auto type = GENERATE(at::kFloat, at::kDouble);
  ops::Rule rule;
  rule.weight_norm = false;
  const int64_t length = 150;  // longer than a tile
  auto w = weights(linear);
  for (auto* x : {&w.gate, &w.up, &w.down})
    if (x->defined()) *x = x->to(type);
  auto t = tokens(length, rule);
  for (auto* x : {&t.k, &t.v, &t.rate.gate, &t.rate.up, &t.rate.down}) *x = x->to(type);
  ops::ScanOptions options;
  options.tile = 64;
  const double rounding = type == at::kFloat ? 1e-5 : 1e-12;
  const auto scan = [&](ops::Step::Kind kind) {
    const at::NoGradGuard no_grad;
    return ops::scan(ops::initial_state(w, rule), {}, t.k, t, {{{kind, 0, length}}, length, 0},
                     rule, options);
  };
  const auto applied = scan(ops::Step::Kind::apply).out;
  CHECK(test::same_bytes(ops::apply(w, t.k, rule, options), applied));
  CHECK(test::scaled_error(applied, ops::reference::apply(w, t.k, rule)) < rounding);
  const auto next = scan(ops::Step::Kind::update).state.w;
  const auto sum = ops::delta(w, t, rule, options), plain = ops::reference::delta(w, t, rule);
  for (const auto which :
       {&ops::FastWeights::gate, &ops::FastWeights::up, &ops::FastWeights::down}) {
    if (!(w.*which).defined()) continue;
    CHECK(test::same_bytes(w.*which + sum.*which, next.*which));
    CHECK(test::scaled_error(sum.*which, plain.*which) < rounding);
  }

  // Gradients of apply, of the input and of every matrix.
  const auto gradients = [&](const auto& f) {
    auto leaves = w;
    std::vector<Tensor> all{t.k.clone().requires_grad_(true)};
    for (auto* x : {&leaves.gate, &leaves.up, &leaves.down})
      if (x->defined()) all.push_back(*x = x->clone().requires_grad_(true));
    f(leaves, all[0]).square().sum().backward();
    for (auto& x : all) x = x.grad();
    return all;
  };
  const auto got = gradients(
      [&](const auto& leaves, const Tensor& q) { return ops::apply(leaves, q, rule, options); });
  const auto want = gradients(
      [&](const auto& leaves, const Tensor& q) { return ops::reference::apply(leaves, q, rule); });
  for (size_t i = 0; i < want.size(); ++i)
    CHECK(test::scaled_error(got[i], want[i]) < 10 * rounding);
}

TEST_CASE("a graph that is never run backward gives its memory back") {
  for (const auto& name : ops::Rule::names())
    for (const bool recompute : {false, true}) {
      CAPTURE(name, recompute);
      const auto rule = ops::Rule::from_name(name);
      auto w = weights();
      auto q = normal({kN, kLength, kK}).requires_grad_(true);
      const c10::weak_intrusive_ptr<c10::TensorImpl> seen(q.getIntrusivePtr());
      ops::ScanOptions options;
      options.recompute = recompute;
      auto done = ops::scan(ops::initial_state(w, rule), {}, q, tokens(kLength, rule),
                            ops::shifted_block_causal(kLength, 5), rule, options);
      CHECK(done.out.requires_grad());
      q.reset();
      CHECK_FALSE(seen.expired());
      done = ops::ScanResult();
      CHECK(seen.expired());
    }
}

TEST_CASE("heads on cores of their own give what one core gives, gradients too") {
  const std::string name = GENERATE(from_range(ops::Rule::names()));
  const bool recompute = GENERATE(false, true);
  CAPTURE(name, recompute);
  const auto rule = ops::Rule::from_name(name);
  const int64_t length = 600;
  at::manual_seed(31);
  const auto w = weights();
  const auto q = normal({kN, length, kK});
  const auto t = tokens(length, rule);
  const int threads = at::get_num_threads();
  const auto gradients = [&](int count) {
    at::set_num_threads(count);
    Leaves in{w, q, t};
    for (auto& [leaf, x] : in.named()) *x = x->detach().clone().requires_grad_(true);
    scan_loss(in, ops::shifted_block_causal(length, 256), rule, {.recompute = recompute})
        .backward();
    std::map<std::string, Tensor> all;
    for (auto& [leaf, x] : in.named()) all[leaf] = x->grad();
    return all;
  };
  const auto one = gradients(1), two = gradients(2);
  at::set_num_threads(threads);
  for (const auto& [leaf, gradient] : one) {
    CAPTURE(leaf);
    CHECK(test::scaled_error(two.at(leaf), gradient) < 1e-9);
  }
}

namespace {

/// Threads stand for processes: each waits for the tensors of all and adds them up.
class Ranks {
 public:
  explicit Ranks(size_t count) : posted_(count) {}

  std::function<void(const std::vector<Tensor>&)> exchange(size_t me) {
    return [this, me](const std::vector<Tensor>& mine) {
      std::unique_lock lock(mutex_);
      auto& copy = posted_[me].emplace_back();
      for (const auto& x : mine) copy.push_back(x.clone());
      const size_t round = posted_[me].size() - 1;
      arrived_.notify_all();
      arrived_.wait(lock, [&] {
        return std::all_of(posted_.begin(), posted_.end(),
                           [&](const auto& rounds) { return rounds.size() > round; });
      });
      for (size_t i = 0; i < mine.size(); ++i) {
        mine[i].zero_();
        for (const auto& rounds : posted_) mine[i].add_(rounds[round][i]);
      }
    };
  }
  /// What each rank's work returns.
  template <class Work>
  static auto all(size_t count, const Work& work) {
    std::vector<decltype(work(0))> results(count);
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < count; ++rank)
      threads.emplace_back([&, rank] { results[rank] = work(rank); });
    for (auto& thread : threads) thread.join();
    return results;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<std::vector<std::vector<Tensor>>> posted_;
};

/// Per chunk of so many tokens: apply, then update.
ops::Schedule chunks_of(const std::vector<int64_t>& lengths) {
  ops::Schedule schedule;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    schedule.steps.push_back({ops::Step::Kind::apply, begin, begin + length});
    schedule.steps.push_back({ops::Step::Kind::update, begin, begin + length});
    begin += length;
  }
  schedule.carry_from = begin;
  return schedule;
}

}  // namespace

TEST_CASE("chunks split over processes that add up their sums are the same chunks") {
  at::manual_seed(23);
  // Tokens of each rank in each chunk; some have none in some of them, or none at all.
  const auto parts = GENERATE(std::vector<std::vector<int64_t>>{{10, 3, 7}, {6, 9, 1}},
                              std::vector<std::vector<int64_t>>{{4, 0, 5}, {3, 8, 2}, {0, 2, 0}},
                              std::vector<std::vector<int64_t>>{{0, 0, 0}, {5, 2, 6}});
  const std::string name = GENERATE(from_range(ops::Rule::names()));
  const bool prenorm = GENERATE(false, true), weight_norm = GENERATE(false, true),
             recompute = GENERATE(false, true);
  const std::string kind = GENERATE("swiglu", "linear", "last", "stacked, detached");
  auto rule = ops::Rule::from_name(name);
  rule.prenorm = prenorm;
  rule.weight_norm = weight_norm;
  rule.stacked = rule.detach_norms = kind == "stacked, detached";
  if (kind == "last") rule.learn = ops::Learn::last;
  CAPTURE(parts, name, prenorm, weight_norm, recompute, kind);
  std::vector<int64_t> lengths(3, 0);
  for (const auto& part : parts)
    for (size_t c = 0; c < 3; ++c) lengths[c] += part[c];
  const auto w = weights(kind == "linear");
  const auto length = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const auto q = normal({kN, length, kK});
  const auto t = tokens(length, rule);
  /// The tokens that are `rank`'s, chunk by chunk; the inverse of `joined`.
  const auto mine = [&](const Tensor& x, size_t rank) {
    std::vector<Tensor> cut;
    int64_t begin = 0;
    for (size_t c = 0; c < 3; ++c) {
      int64_t before = begin;
      for (size_t r = 0; r < rank; ++r) before += parts[r][c];
      cut.push_back(x.slice(1, before, before + parts[rank][c]));
      begin += lengths[c];
    }
    return at::cat(cut, 1);
  };
  const auto joined = [&](const std::vector<Tensor>& of_ranks) {
    std::vector<Tensor> cut;
    std::vector<int64_t> at(parts.size(), 0);
    for (size_t c = 0; c < 3; ++c)
      for (size_t r = 0; r < parts.size(); ++r) {
        cut.push_back(of_ranks[r].slice(1, at[r], at[r] + parts[r][c]));
        at[r] += parts[r][c];
      }
    return at::cat(cut, 1);
  };
  const auto run = [&](Leaves in, const std::vector<int64_t>& schedule, double of_state,
                       const ops::ScanOptions& options) {
    for (auto& [leaf, x] : in.named()) *x = x->detach().clone().requires_grad_(true);
    const auto scan = [&] {
      return ops::scan(ops::initial_state(in.w, rule), {}, in.q, in.t, chunks_of(schedule), rule,
                       options);
    };
    const auto done = scan();
    (done.out.square().sum() + of_state * done.state.w.down.square().sum()).backward();
    std::map<std::string, Tensor> all{{"out", done.out.detach()},
                                      {"state", done.state.w.down.detach()}};
    {
      const at::NoGradGuard no_grad;
      all["out, unrecorded"] = scan().out;
    }
    for (auto& [leaf, x] : in.named())
      all[leaf] = x->grad().defined() ? x->grad() : at::zeros_like(*x);
    return all;
  };
  const auto whole = run({w, q, t}, lengths, 1, {.recompute = recompute});
  Ranks ranks(parts.size());
  const auto of_ranks = Ranks::all(parts.size(), [&](size_t rank) {
    Leaves in{w, mine(q, rank), t};
    for (auto& [leaf, x] : in.named())
      if (x->dim() == 3 && x->size(1) == length && leaf != "q") *x = mine(*x, rank);
    // What all of them have, the state, is one's to count.
    return run(in, parts[rank], rank == 0 ? 1 : 0,
               {.recompute = recompute, .exchange = ranks.exchange(rank)});
  });
  for (const auto& [leaf, want] : whole) {
    CAPTURE(leaf);
    std::vector<Tensor> got;
    for (const auto& all : of_ranks) got.push_back(all.at(leaf));
    const bool by_token = want.dim() == 3 && want.size(1) == length;
    if (leaf == "state")
      for (const auto& x : got) CHECK(test::scaled_error(x, want) < 1e-10);
    else
      CHECK(test::scaled_error(by_token ? joined(got) : at::stack(got).sum(0), want) < 1e-10);
  }
}

TEST_CASE("rates per channel are not split over processes") {
  const ops::Rule rule;
  const auto w = weights();
  auto t = tokens(4, rule);
  t.rate.down = t.rate.down.expand({kN, 4, kF});
  const ops::ScanOptions split{.exchange = [](const auto&) {}};
  CHECK_THROWS_WITH(ops::scan(ops::initial_state(w, rule), {}, normal({kN, 4, kK}), t,
                              ops::bidirectional(4), rule, split),
                    Catch::Contains("rates per channel"));
}

namespace {

/// Newton-Schulz step by step as spec/llm 2.5 writes it, which autograd can follow.
Tensor step_by_step(const Tensor& g, const ops::NewtonSchulz& how) {
  const bool tall = g.size(1) > g.size(2);
  Tensor x = tall ? g.mT() : g;
  x = x / (x.norm(2, {1, 2}, /*keepdim=*/true) + how.epsilon);
  for (const auto& [p, q, t] : how.steps) {
    const auto s = x.matmul(x.mT());
    x = p * x + (q * s + t * s.matmul(s)).matmul(x);
  }
  return tall ? x.mT() : x;
}

/// `count` steps of one of the published sets, from its beginning again when it ends.
ops::NewtonSchulz published(const std::string& set, size_t count) {
  ops::NewtonSchulz how;
  const auto triples =
      set == "views" ? ops::NewtonSchulz::keller_jordan() : ops::NewtonSchulz::language_model();
  how.steps.clear();
  for (size_t i = 0; i < count; ++i) how.steps.push_back(triples[i % triples.size()]);
  return how;
}

/// Result and gradient.
template <typename F>
std::pair<Tensor, Tensor> both(const F& f, const Tensor& g, const Tensor& out_) {
  const auto leaf = g.detach().clone().requires_grad_(true);
  const auto out = f(leaf);
  (out * out_).sum().backward();
  return {out.detach(), leaf.grad()};
}

}  // namespace

TEST_CASE("Newton-Schulz in rounds is Newton-Schulz step by step, gradients too") {
  at::manual_seed(31);
  const std::string set = GENERATE("language model", "views");
  const size_t count = GENERATE(0, 1, 2, 3, 5, 10);
  const auto how = published(set, count);
  // Wide and tall, far from square and not; the last ones in blocks.
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {6, 14}, {21, 8}, {1, 5}, {9, 9}, {9, 12}, {70, 150}, {330, 130}}) {
    CAPTURE(set, count, rows, columns);
    const auto g = normal({2, rows, columns}), out_ = normal({2, rows, columns});
    const auto got = both([&](const Tensor& x) { return ops::orthogonalize(x, how); }, g, out_);
    const auto want = both([&](const Tensor& x) { return step_by_step(x, how); }, g, out_);
    CHECK(test::scaled_error(got.first, want.first) < 1e-10);
    CHECK(test::scaled_error(got.second, want.second) < 1e-10);
  }
}

TEST_CASE("the gradient of Newton-Schulz far from square agrees with differences in float64") {
  at::manual_seed(32);
  const std::string set = GENERATE("language model", "views");
  const auto how = published(set, 5);
  const bool tall = GENERATE(false, true);
  CAPTURE(set, tall);
  const auto g = tall ? normal({2, 17, 4}) : normal({2, 4, 17}), direction = at::randn_like(g);
  const auto weight = at::randn_like(g);
  const auto gradient =
      both([&](const Tensor& x) { return ops::orthogonalize(x, how); }, g, weight).second;
  const double step = 1e-4;
  const auto at_offset = [&](double scale) {
    return (ops::orthogonalize(g + scale * step * direction, how) * weight).sum().item<double>();
  };
  // Four points: what is left out is of the fourth order in the step.
  const double want =
      (8 * (at_offset(1) - at_offset(-1)) - (at_offset(2) - at_offset(-2))) / (12 * step);
  CHECK((gradient * direction).sum().item<double>() == Approx(want).epsilon(1e-6));
}

TEST_CASE("rounds of Newton-Schulz lose no accuracy in float32, however small singular values") {
  at::manual_seed(33);
  const std::string set = GENERATE("language model", "views");
  const size_t count = GENERATE(5, 10);
  const std::string spectrum = GENERATE("1 to 1e-6", "half 0", "one and 3e-3", "one and 1e-4");
  CAPTURE(set, count, spectrum);
  const auto how = published(set, count);
  const int64_t rows = 96, columns = 288;
  const auto basis = [](int64_t n, int64_t k) {
    return std::get<0>(at::linalg_qr(at::randn({1, n, k}, at::kDouble)));
  };
  const auto place = at::arange(rows, at::kDouble) / (rows - 1);
  Tensor values = at::pow(10.0, -6 * place);
  if (spectrum == "half 0") values = at::lt(place, 0.5).to(at::kDouble);
  if (spectrum == "one and 3e-3") values = at::where(place == 0, 1.0, 3e-3).to(at::kDouble);
  if (spectrum == "one and 1e-4") values = at::where(place == 0, 1.0, 1e-4).to(at::kDouble);
  const auto g = (basis(rows, rows) * values).matmul(basis(columns, rows).mT()).to(at::kFloat);
  const auto out_ = at::randn_like(g);
  const auto plain = [&](const Tensor& x) { return step_by_step(x, how); };
  const auto exact = both(plain, g.to(at::kDouble), out_.to(at::kDouble));
  const auto one_by_one = both(plain, g, out_);
  const auto got = both([&](const Tensor& x) { return ops::orthogonalize(x, how); }, g, out_);
  const auto error = [](const Tensor& x, const Tensor& want) {
    return ((x.to(at::kDouble) - want).norm() / want.norm()).item<double>();
  };
  // Rounding differs by machine; a round of all five steps is off by 1e-3, one of ten by 1e7.
  CHECK(error(got.first, exact.first) < 3 * error(one_by_one.first, exact.first) + 5e-5);
  CHECK(error(got.second, exact.second) < 3 * error(one_by_one.second, exact.second) + 5e-5);
}

TEST_CASE("matrices of many shapes are orthogonalized together as each alone") {
  at::manual_seed(34);
  const auto rule = ops::Rule::from_name("muon");
  const std::vector<Tensor> g{normal({2, 3, 11}), normal({1, 5, 5}),
                              normal({3, 11, 3}), normal({2, 5, 7}),
                              normal({1, 7, 5}),  at::zeros({1, 3, 11}, at::kDouble)};
  std::vector<Tensor> out_, kept;
  for (const auto& x : g) out_.push_back(at::randn_like(x));
  const auto out = rule.transform->forward(g, rule, &kept);
  const auto g_ = rule.transform->backward(out_, kept, rule);
  const auto unkept = rule.transform->forward(g, rule, nullptr);
  for (size_t i = 0; i < g.size(); ++i) {
    CAPTURE(i);
    CHECK(test::same_bytes(unkept[i], out[i]));
    const auto alone = [&](const Tensor& x) { return step_by_step(x, rule.orthogonalize); };
    const auto want = both(alone, g[i], out_[i]);
    CHECK(test::scaled_error(out[i], want.first) < 1e-10);
    if (i + 1 < g.size()) CHECK(test::scaled_error(g_[i], want.second) < 1e-10);
  }
  CHECK(out.back().abs().max().item<double>() == 0);
  // The norm of zeros has no derivative; the division by epsilon has.
  const double epsilon = rule.orthogonalize.epsilon;
  double slope = 1 / epsilon;
  for (const auto& step : rule.orthogonalize.steps) slope *= step[0];
  CHECK(test::scaled_error(g_.back(), slope * out_.back()) < 1e-10);
}

TEST_CASE("an unknown rule is refused with the list of rules") {
  CHECK_THROWS_WITH(ops::Rule::from_name("adam"), Catch::Contains("muon_momentum"));
}

TEST_CASE("tensors that do not fit are refused by name") {
  const auto rule = ops::Rule::from_name("gd");
  auto t = tokens(8, rule);
  t.v = normal({kN, 7, kV});
  CHECK_THROWS_WITH(ops::delta(weights(), t, rule), Catch::Contains("v: wrong shape"));
}
