#include "op_case.hpp"

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/peak_memory.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace lact::bench {
namespace {

using at::Tensor;

/// Random numbers repeat after this many tokens: speed does not see it, and a million take a while.
constexpr int64_t kTokens = 8192;

class RandomTensors {
 public:
  RandomTensors(c10::Device device, uint64_t seed)
      : device_(device), generator_(at::detail::createCPUGenerator(seed)) {}

  /// [heads, length, channels]; `unit`: each token of length 1.
  Tensor normal(int64_t heads, int64_t length, int64_t channels, c10::ScalarType dtype,
                bool unit = false) {
    auto block = at::randn({heads, std::min(length, kTokens), channels}, generator_, at::kFloat);
    if (unit) block /= block.norm(2, {2}, /*keepdim=*/true);
    return along(block, length, dtype);
  }
  /// [heads, length, 1] in (low, high).
  Tensor uniform(int64_t heads, int64_t length, double low, double high) {
    auto block = at::rand({heads, std::min(length, kTokens), 1}, generator_, at::kFloat);
    return along(block * (high - low) + low, length, at::kFloat);
  }

 private:
  Tensor along(const Tensor& block, int64_t length, c10::ScalarType dtype) const {
    auto all = at::empty({block.size(0), length, block.size(2)},
                         at::TensorOptions().device(device_).dtype(dtype));
    for (int64_t at = 0; at < length; at += block.size(1))
      all.slice(1, at, std::min(at + block.size(1), length))
          .copy_(block.slice(1, 0, std::min(block.size(1), length - at)));
    return all;
  }

  c10::Device device_;
  at::Generator generator_;
};

template <class Visit>
void each_matrix(const ops::FastWeights& w, const Visit& visit) {
  for (const auto* matrix : {&w.gate, &w.up, &w.down})
    if (matrix->defined()) visit(*matrix);
}

}  // namespace

double OpCase::state() const {
  const double model = static_cast<double>(heads * width);
  const double numbers = linear() ? static_cast<double>(width * width)
                                  : 3 * static_cast<double>(width) * static_cast<double>(hidden);
  return numbers * static_cast<double>(heads) / (model * model);
}

int64_t hidden_of(double state, int64_t heads, int64_t width) {
  const auto hidden =
      std::llround(state * static_cast<double>(heads) * static_cast<double>(width) / 3);
  if (hidden < 1)
    throw Error(Exit::usage, "--state ", state, ": no hidden width is that small with ", heads,
                " heads of ", width);
  return hidden;
}

ops::Schedule schedule_of(const OpCase& one) {
  if (one.schedule == "bidirectional") return ops::bidirectional(one.length);
  if (one.schedule == "chunk-causal") return ops::chunk_causal(one.length, one.chunk);
  return ops::shifted_block_causal(one.length, one.chunk);
}

ops::Rule rule_of(const OpCase& one, c10::ScalarType dtype) {
  auto rule = ops::Rule::from_name(one.rule);
  if (one.learn == "last") rule.learn = ops::Learn::last;
  if (dtype == at::kBFloat16) {
    rule.product = dtype;
    rule.orthogonalize.dtype = dtype;
  }
  return rule;
}

OpFlops flops_of(const OpCase& one) {
  const auto cost = ops::scan_cost(schedule_of(one), rule_of(one, at::kFloat), one.heads, one.width,
                                   one.width, one.linear() ? 0 : one.hidden, at::kFloat);
  const double passes = one.backward() ? 3 : 1;
  return {passes * cost.products, passes * cost.orthogonalize,
          one.backward() && one.recompute() ? cost.recomputed : 0};
}

OpInputs::OpInputs(const OpCase& one, c10::Device device, c10::ScalarType dtype, uint64_t seed)
    : case_(one), device_(device), rule_(rule_of(one, dtype)), schedule_(schedule_of(one)) {
  const int64_t N = one.heads, D = one.width, F = one.hidden, L = one.length;
  RandomTensors random(device, seed);
  const auto weights = [&](int64_t rows, int64_t columns) {
    return random.normal(N, rows, columns, at::kFloat) / std::sqrt(static_cast<double>(columns));
  };
  const auto rate = [&] { return random.uniform(N, L, 0.001, 0.01); };
  if (one.linear())
    w_ = {{}, {}, weights(D, D)};
  else
    w_ = {weights(F, D), weights(F, D), weights(D, F)};
  q_ = random.normal(N, L, D, dtype, /*unit=*/true);
  tokens_.k = random.normal(N, L, D, dtype, /*unit=*/true);
  tokens_.v = random.normal(N, L, D, dtype);
  if (!one.linear()) tokens_.rate = {rate(), rate(), {}};
  tokens_.rate.down = rate();
  if (rule_.momentum) tokens_.momentum = random.uniform(N, L, 0.5, 0.99);
  if (!one.backward()) return;
  out_gradient_ = random.normal(N, L, D, dtype);
  for (auto* input : inputs()) input->requires_grad_(true);
}

std::vector<Tensor*> OpInputs::inputs() {
  std::vector<Tensor*> all;
  for (auto* input : {&w_.gate, &w_.up, &w_.down, &q_, &tokens_.k, &tokens_.v, &tokens_.rate.gate,
                      &tokens_.rate.up, &tokens_.rate.down, &tokens_.momentum})
    if (input->defined()) all.push_back(input);
  return all;
}

void OpInputs::pass(Results& results) {
  const c10::InferenceMode no_graph(!case_.backward());
  ops::ScanOptions options;
  options.recompute = case_.recompute();
  auto done = ops::scan(ops::initial_state(w_, rule_), {}, q_, tokens_, schedule_, rule_, options);
  results = {done.out, done.state};
  if (case_.backward()) results.out.backward(out_gradient_);
}

/// What the caller asked for: each storage once, and none that was there before.
int64_t OpInputs::kept_bytes(const Results& results) {
  std::set<const void*> seen;
  int64_t bytes = 0;
  const auto add = [&](const Tensor& x) {
    if (x.defined() && seen.insert(x.storage().data()).second)
      bytes += static_cast<int64_t>(x.storage().nbytes());
  };
  for (const auto* input : inputs()) add(*input);
  bytes = 0;
  add(results.out);
  for (const auto* weights : {&results.state.w, &results.state.main, &results.state.momentum})
    each_matrix(*weights, add);
  for (const auto* input : inputs()) add(input->grad());
  return bytes;
}

OpInputs::Run OpInputs::run(bool count_memory) {
  Run done;
  Results results;
  const auto work = [&] { done.seconds = cli::timed(device_, [&] { pass(results); }); };
  if (count_memory) {
    if (const auto peak = ops::peak_bytes(device_, work))
      done.extra_bytes = std::max<int64_t>(0, *peak - kept_bytes(results));
  } else {
    work();
  }
  for (auto* input : inputs()) input->mutable_grad().reset();
  return done;
}

}  // namespace lact::bench
