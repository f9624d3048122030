#include "autograd.hpp"
#include "engine.hpp"

#include <lact/error.hpp>
#include <lact/ops/reference.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace lact::ops {
namespace {

using at::Tensor;

/// Where a chunk's tokens lie.
constexpr int64_t kTokenDim = 1;

void require(bool holds, const char* what, const Tensor& found) {
  if (!holds) throw Error(Exit::internal, "scan: ", what, ": wrong shape ", found.sizes());
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
void each_pair(const Function& f, const Tokens& a, const Tokens& b) {
  const auto g = [&](const Tensor& x, const Tensor& y) {
    if (y.defined()) f(x, y);
  };
  g(a.k, b.k);
  g(a.v, b.v);
  g(a.rate.gate, b.rate.gate);
  g(a.rate.up, b.rate.up);
  g(a.rate.down, b.rate.down);
  g(a.momentum, b.momentum);
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
  // There was no update in between: the buffers hold all but the new tokens.
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
  each_pair(
      [&](const Tensor& buffer, const Tensor& x) {
        buffer.slice(kTokenDim, append ? open.count : 0, out.count).copy_(x);
      },
      out.tokens, fill);
  return out;
}

/// One number per token and matrix; otherwise one per channel.
bool plain_rates(const Rates& rate) {
  const auto one = [](const Tensor& x) { return !x.defined() || x.size(2) == 1; };
  return one(rate.gate) && one(rate.up) && one(rate.down);
}

/// The same by the reference, with autograd's backward: rates per channel are rare (no published
/// model has them) and have no kernels of their own.
ScanOutput scan_by_reference(const ScanInput& input, const OpenChunk& open,
                             const Schedule& schedule, const Rule& rule) {
  ScanOutput result{{}, input.state};
  std::vector<std::pair<int64_t, Tensor>> parts;
  for (const auto& [kind, begin, end] : schedule.steps) {
    if (kind == Step::Kind::apply) {
      parts.emplace_back(
          begin, reference::apply(result.state.w, input.q.slice(kTokenDim, begin, end), rule));
      continue;
    }
    const Tokens chunk = span(open, input.tokens, begin, end);
    const Tensor beta =
        rule.momentum ? chunk.momentum.mean({kTokenDim}, /*keepdim=*/true) : Tensor();  // [N, 1, 1]
    result.state = step(result.state, reference::delta(result.state.w, chunk, rule), beta, rule);
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Tensor> outs;
  for (auto& part : parts) outs.push_back(part.second);
  if (!outs.empty()) result.out = outs.size() == 1 ? outs[0] : at::cat(outs, kTokenDim);
  return result;
}

/// q through the fast weights as they are, in the order of the tokens.
Tensor read(const FastState& state, const Tensor& q, const Schedule& schedule, const Rule& rule,
            const ScanOptions& options) {
  // Nothing is updated: of the rule only the products' type counts.
  Rule plain;
  plain.weight_norm = false;
  plain.product = rule.product;
  Schedule reads{{}, q.size(kTokenDim), 0};
  for (const auto& step : schedule.steps) {
    if (step.kind != Step::Kind::apply) continue;
    if (!reads.steps.empty() && reads.steps.back().end == step.begin)
      reads.steps.back().end = step.end;
    else
      reads.steps.push_back(step);
  }
  const ScanInput input{initial_state(state.w, plain), q, {}};
  return at::GradMode::is_enabled()
             ? scan_function(input, reads, plain, options).out
             : Engine(reads, plain, options).forward(input, {}, /*record=*/false).out;
}

bool has_update(const Schedule& schedule) {
  return std::any_of(schedule.steps.begin(), schedule.steps.end(),
                     [](const Step& step) { return step.kind == Step::Kind::update; });
}

/// Steps that begin in the open chunk see its tokens and the new ones as one row.
ScanOutput scan_recorded(ScanInput input, const OpenChunk& open, Schedule schedule,
                         const Rule& rule, const ScanOptions& options) {
  int64_t back = 0;
  for (const auto& step : schedule.steps) back = std::max(back, -step.begin);
  if (back > 0) {
    input.tokens = span(open, input.tokens, -back, input.q.size(kTokenDim));
    const auto& q = input.q;  // what is read of the open chunk has been read before
    input.q = at::cat({at::empty({q.size(0), back, q.size(2)}, q.options()), q}, kTokenDim);
    for (auto& step : schedule.steps) {
      step.begin += back;
      step.end += back;
    }
  }
  return scan_function(input, schedule, rule, options);
}

}  // namespace

ScanResult scan(const FastState& state, const OpenChunk& open, const Tensor& q,
                const Tokens& tokens, const Schedule& schedule, const Rule& rule,
                const ScanOptions& options) {
  if (rule.learn == Learn::none) {
    const auto out = read(state, q, schedule, rule, options);
    return {out.defined() ? out.to(q.scalar_type()) : out, state, {}};
  }
  require(q.dim() == 3 && q.size(0) == tokens.k.size(0), "q", q);
  require(tokens.v.dim() == 3 && tokens.v.size(1) == tokens.k.size(1), "v", tokens.v);
  require(!rule.momentum || tokens.momentum.defined(), "momentum is missing for q", q);
  const ScanInput input{state, q, tokens};
  const bool plain = plain_rates(tokens.rate);
  if (!plain && options.exchange)
    throw Error(Exit::internal, "rates per channel: chunks are not split over processes");
  ScanOutput done;
  if (!plain)
    done = scan_by_reference(input, open, schedule, rule);
  else if (at::GradMode::is_enabled())
    done = scan_recorded(input, open, schedule, rule, options);
  else
    done = Engine(schedule, rule, options).forward(input, open, /*record=*/false);
  if (!has_update(schedule)) done.state = state;
  return {done.out.defined() ? done.out.to(tokens.v.scalar_type()) : done.out, done.state,
          carry(open, tokens, schedule)};
}

Tensor apply(const FastWeights& w, const Tensor& q, const Rule& rule, const ScanOptions& options) {
  require(q.dim() == 3 && q.size(0) == w.down.size(0), "q", q);
  const Schedule all{{{Step::Kind::apply, 0, q.size(kTokenDim)}}, 0, 0};
  return read({w, w, {}, {}}, q, all, rule, options).to(q.scalar_type());
}

FastWeights delta(const FastWeights& w, const Tokens& chunk, const Rule& rule,
                  const ScanOptions& options) {
  const at::NoGradGuard no_grad;
  check(w, chunk);
  if (!plain_rates(chunk.rate)) return reference::delta(w, chunk, rule);
  const int64_t length = chunk.k.size(kTokenDim);
  const Schedule schedule{{{Step::Kind::update, 0, length}}, length, 0};
  return Engine(schedule, rule, options).delta(w, chunk);
}

ScanCost scan_cost(const Schedule& schedule, const Rule& rule, int64_t heads, int64_t key,
                   int64_t value, int64_t hidden, c10::ScalarType dtype) {
  const auto n = static_cast<double>(heads), k = static_cast<double>(key),
             v = static_cast<double>(value), f = static_cast<double>(hidden);
  const bool linear = hidden == 0, last = rule.learn == Learn::last;
  // One token's products with one matrix.
  const double gate = 2 * k * f, down = 2 * v * f, map = 2 * k * v;
  const double read = linear ? map : 2 * gate + down;
  const double forward = linear ? 0 : 2 * gate + (last ? 0 : down);  // keys, and e
  const double outer = linear ? map : (last ? 0 : 2 * gate) + down;
  double applied = 0, updated = 0, updates = 0;
  for (const auto& step : schedule.steps) {
    const auto count = static_cast<double>(step.end - step.begin);
    if (rule.learn == Learn::none && step.kind == Step::Kind::update) continue;
    (step.kind == Step::Kind::apply ? applied : updated) += count;
    updates += step.kind == Step::Kind::apply ? 0 : 1;
  }
  ScanCost cost;
  cost.products = n * (applied * read + updated * (forward + outer));
  cost.recomputed = n * (linear ? 0 : applied * 2 * gate + updated * forward);
  if (rule.transform != nullptr) {
    const auto iteration = [&](double rows, double columns) {
      return rule.transform->flops(rows, columns, rule);
    };
    const double gates = rule.stacked ? iteration(2 * f, k) : 2 * iteration(f, k);
    const double each = linear ? iteration(v, k) : (last ? 0 : gates) + iteration(v, f);
    cost.orthogonalize = n * updates * each;
  }
  // a, b of apply; a, b, e of update
  const double saved = linear ? 0 : rule.learn == Learn::none ? 2 : 2 + (last ? 2 : 3);
  cost.saved_per_token = n * saved * f * static_cast<double>(c10::elementSize(dtype));
  return cost;
}

}  // namespace lact::ops
