#include "engine.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <numeric>

namespace lact::ops {
namespace {

using at::Tensor;

constexpr auto kApply = Step::Kind::apply;

c10::ScalarType wide(c10::ScalarType type) {
  return type == at::kDouble ? type : at::kFloat;
}

std::vector<Tensor*> fields(FastWeights& w) {
  return {&w.gate, &w.up, &w.down};
}

/// Where each applied span goes in the output: in token order, whatever the order of the steps.
std::vector<int64_t> output_places(const Schedule& schedule) {
  const auto& steps = schedule.steps;
  std::vector<size_t> order;
  for (size_t i = 0; i < steps.size(); ++i)
    if (steps[i].kind == kApply) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return steps[a].begin < steps[b].begin; });
  std::vector<int64_t> places(steps.size(), -1);
  int64_t at = 0;
  for (const size_t i : order) {
    places[i] = at;
    at += steps[i].end - steps[i].begin;
  }
  return places;
}

int64_t applied_tokens(const Schedule& schedule) {
  int64_t sum = 0;
  for (const auto& step : schedule.steps)
    if (step.kind == kApply) sum += step.end - step.begin;
  return sum;
}

/// Spans of one kind, in token order.
std::vector<Step> spans(const Schedule& schedule, Step::Kind kind) {
  std::vector<Step> all;
  for (const auto& step : schedule.steps)
    if (step.kind == kind) all.push_back(step);
  std::sort(all.begin(), all.end(), [](const Step& a, const Step& b) { return a.begin < b.begin; });
  return all;
}

bool overlapping(const std::vector<Step>& spans) {
  for (size_t i = 1; i < spans.size(); ++i)
    if (spans[i].begin < spans[i - 1].end) return true;
  return false;
}

/// A gradient over tokens of which only `spans` will be written; zero elsewhere.
Tensor span_gradient(const Tensor& like, const std::vector<Step>& spans) {
  if (!like.defined()) return {};
  auto x = at::empty(like.sizes(), like.options());
  int64_t at = 0;
  for (const auto& step : spans) {
    if (step.begin > at) x.slice(1, at, step.begin).zero_();
    at = std::max(at, step.end);
  }
  if (at < x.size(1)) x.slice(1, at).zero_();
  return x;
}

template <class F>
Tokens each(const Tokens& t, const F& f) {
  const auto g = [&](const Tensor& x) { return x.defined() ? f(x) : Tensor(); };
  return {g(t.k), g(t.v), {g(t.rate.gate), g(t.rate.up), g(t.rate.down)}, g(t.momentum)};
}

Tokens slice(const Tokens& tokens, int64_t begin, int64_t end) {
  return each(tokens, [&](const Tensor& x) { return x.slice(1, begin, end); });
}

std::vector<const Tensor*> defined(const FastWeights& w) {
  std::vector<const Tensor*> all;
  for (const auto* x : {&w.gate, &w.up, &w.down})
    if (x->defined()) all.push_back(x);
  return all;
}

constexpr Tensor FastWeights::*kMatrices[] = {&FastWeights::gate, &FastWeights::up,
                                              &FastWeights::down};

/// Zeros where no gradient has come yet.
void fill(FastWeights& w_, const FastWeights& like) {
  for (const auto which : kMatrices)
    if (!(w_.*which).defined() && (like.*which).defined()) w_.*which = at::zeros_like(like.*which);
}

}  // namespace

std::vector<Tensor*> fields(FastState& state) {
  std::vector<Tensor*> all;
  for (auto* w : {&state.w, &state.main, &state.momentum, &state.norms})
    for (auto* x : fields(*w)) all.push_back(x);
  return all;
}

std::vector<Tensor*> fields(ScanInput& input) {
  auto all = fields(input.state);
  auto& t = input.tokens;
  for (auto* x : {&input.q, &t.k, &t.v, &t.rate.gate, &t.rate.up, &t.rate.down, &t.momentum})
    all.push_back(x);
  return all;
}

Tokens span(const OpenChunk& open, const Tokens& tokens, int64_t begin, int64_t end) {
  if (begin >= 0) return slice(tokens, begin, end);
  if (-begin > open.count)
    throw Error(Exit::internal, "scan: a step reaches back ", -begin,
                " tokens; the open chunk has ", open.count);
  const Tokens before =
      slice(open.tokens, open.count + begin, open.count + std::min<int64_t>(end, 0));
  if (end <= 0) return before;
  const Tokens after = slice(tokens, 0, end);
  const auto join = [](const Tensor& x, const Tensor& y) {
    return y.defined() ? at::cat({x, y}, 1) : Tensor();
  };
  return {join(before.k, after.k),
          join(before.v, after.v),
          {join(before.rate.gate, after.rate.gate), join(before.rate.up, after.rate.up),
           join(before.rate.down, after.rate.down)},
          join(before.momentum, after.momentum)};
}

Engine::Engine(Schedule schedule, Rule rule, ScanOptions options)
    : schedule_(std::move(schedule)), rule_(std::move(rule)), options_(std::move(options)) {
  places_ = output_places(schedule_);
  overlap_ =
      overlapping(spans(schedule_, kApply)) || overlapping(spans(schedule_, Step::Kind::update));
}

FastWeights Engine::narrowed(const FastWeights& w) const {
  const auto to = [&](const Tensor& x) { return x.defined() ? x.to(type_) : x; };
  return {to(w.gate), to(w.up), to(w.down)};
}

Kept Engine::make_kept(const Step& step) const {
  if (input_.state.w.linear()) return {};
  const auto& down = input_.state.w.down;
  const auto make = [&] {
    return at::empty({down.size(0), step.end - step.begin, down.size(2)},
                     down.options().dtype(type_));
  };
  const bool e = step.kind != kApply && rule_.learn == Learn::all;
  return {make(), make(), e ? make() : Tensor()};
}

ScanOutput Engine::forward(const ScanInput& input, const OpenChunk& open, bool record) {
  input_ = input;
  for (const auto* x : fields(input_))
    types_.push_back(x->defined() ? x->scalar_type() : at::kFloat);
  type_ = rule_.product.value_or(input.q.scalar_type());
  const auto weights_type = wide(input.state.w.down.scalar_type());
  for (auto* x : fields(input_))
    if (x->defined()) *x = x->detach();
  for (auto* x : fields(input_.state))
    if (x->defined()) *x = x->to(weights_type).contiguous();
  auto& t = input_.tokens;
  for (auto* x : {&input_.q, &t.k, &t.v}) *x = x->to(type_).contiguous();
  // Rates are computed with in the products' wide type; momentum coefficients meet the weights.
  for (auto* x : {&t.rate.gate, &t.rate.up, &t.rate.down})
    if (x->defined()) *x = x->to(wide(type_)).contiguous();
  if (t.momentum.defined()) t.momentum = t.momentum.to(weights_type);
  recorded_ = record;

  int64_t longest = 0;
  for (const auto& step : schedule_.steps) longest = std::max(longest, step.end - step.begin);
  FastState state = input_.state;
  shop_ = std::make_unique<Workshop>(state.w, type_, longest, options_.tile);
  ScanOutput result;
  const int64_t applied = applied_tokens(schedule_);
  if (applied > 0)
    result.out = at::empty({input_.q.size(0), applied, state.w.down.size(1)},
                           input_.q.options().dtype(type_));
  FastWeights w = narrowed(state.w);
  for (size_t i = 0; i < schedule_.steps.size(); ++i) {
    const auto& step = schedule_.steps[i];
    Record mine{step, state, w, {}, {}};
    if (record && !options_.recompute) mine.kept = make_kept(step);
    if (step.kind == kApply) {
      const int64_t count = step.end - step.begin;
      read(*shop_, w, input_.q.slice(1, step.begin, step.end),
           result.out.narrow(1, places_[i], count), mine.kept);
    } else {
      state = learn_span(state, w, span(open, t, step.begin, step.end), record ? &mine : nullptr);
      w = narrowed(state.w);
    }
    if (record) records_.push_back(std::move(mine));
  }
  if (!record) shop_.reset();
  result.state = state;
  return result;
}

FastState Engine::learn_span(const FastState& state, const FastWeights& w, const Tokens& chunk,
                             Record* record) {
  FastWeights sum;
  for (const auto which : learning(state.w, rule_))
    sum.*which = at::empty((state.w.*which).sizes(), (state.w.*which).options());
  learn(*shop_, w, chunk, sum, record != nullptr ? record->kept : Kept{});
  Tensor beta = rule_.momentum ? chunk.momentum.sum({1}, /*keepdim=*/true) : Tensor();
  auto count = static_cast<double>(chunk.k.size(1));
  if (options_.exchange) {
    std::vector<Tensor> parts;
    for (const auto* x : defined(sum)) parts.push_back(*x);
    const auto tokens = at::full({1}, count, sum.down.options());
    if (rule_.momentum) parts.push_back(beta);
    parts.push_back(tokens);
    options_.exchange(parts);
    if (rule_.momentum) beta = beta / tokens;
  } else if (rule_.momentum) {
    beta = beta / count;
  }
  const bool keep = record != nullptr && !options_.recompute;
  return update(state, sum, beta, rule_, record != nullptr ? &record->update : nullptr, keep);
}

void Engine::backward_apply(Record& record, StateGradient& g, const Tensor& out_, ScanInput& out) {
  const int64_t begin = record.step.begin, end = record.step.end;
  fill(g.w, record.state.w);
  const auto q = input_.q.slice(1, begin, end);
  const auto place = out.q.slice(1, begin, end);
  const auto q_ = overlap_ ? at::empty(place.sizes(), place.options()) : place;
  read_backward(*shop_, record.w, q, out_, record.kept, q_, g.w);
  if (overlap_) place.add_(q_);
}

void Engine::backward_update(Record& record, StateGradient& g, ScanInput& out) {
  const auto& step = record.step;
  Tensor beta_;
  FastWeights sum_ = update_backward(g, record.state, rule_, record.update, beta_);
  if (options_.exchange) {
    std::vector<Tensor> parts;
    for (const auto* x : defined(sum_)) parts.push_back(*x);
    if (beta_.defined()) parts.push_back(beta_);
    options_.exchange(parts);
  }
  const Tokens chunk = slice(input_.tokens, step.begin, step.end);
  const Tokens places = slice(out.tokens, step.begin, step.end);
  const Tokens t_ =
      overlap_ ? each(places, [](const Tensor& x) { return at::zeros_like(x); }) : places;
  fill(g.w, record.state.w);
  learn_backward(*shop_, record.w, chunk, narrowed(sum_), record.kept, t_, g.w);
  if (beta_.defined()) {
    const auto each_token = beta_ / static_cast<double>(chunk.k.size(1));
    t_.momentum.copy_(each_token.expand_as(t_.momentum));
  }
  if (!overlap_) return;
  const auto add = [](const Tensor& to, const Tensor& x) {
    if (to.defined()) to.add_(x);
  };
  add(places.k, t_.k);
  add(places.v, t_.v);
  add(places.rate.gate, t_.rate.gate);
  add(places.rate.up, t_.rate.up);
  add(places.rate.down, t_.rate.down);
  add(places.momentum, t_.momentum);
}

ScanInput Engine::backward(const ScanOutput& gradient) {
  if (!recorded_)
    throw Error(Exit::internal, "scan: its backward pass ran before and has used up what it needs");
  recorded_ = false;
  ScanInput out;
  const auto read_spans = spans(schedule_, kApply), learned = spans(schedule_, Step::Kind::update);
  const auto make = [&](const Tensor& x, const std::vector<Step>& written) {
    return overlap_ && x.defined() ? at::zeros_like(x) : span_gradient(x, written);
  };
  const auto& t = input_.tokens;
  out.q = make(input_.q, read_spans);
  out.tokens = each(t, [&](const Tensor& x) { return make(x, learned); });
  if (learning(input_.state.w, rule_).size() == 1)  // the other rates have no effect
    for (const auto* rate : {&out.tokens.rate.gate, &out.tokens.rate.up})
      if (rate->defined()) rate->zero_();

  StateGradient g{gradient.state.w, gradient.state.main, gradient.state.momentum,
                  gradient.state.norms};
  const auto weights_type = input_.state.w.down.scalar_type();
  for (auto* w : {&g.w, &g.main, &g.momentum, &g.norms})
    for (auto* x : fields(*w))  // copies: they are added to in place
      if (x->defined())
        *x = x->to(weights_type, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const Tensor out_ = gradient.out.defined() ? gradient.out.to(type_).contiguous() : Tensor();
  if (!rule_.prenorm) {  // main is w
    for (const auto which : kMatrices) {
      Tensor& main_ = g.main.*which;
      if (!main_.defined()) continue;
      g.w.*which = (g.w.*which).defined() ? g.w.*which + main_ : main_;
      main_ = Tensor();
    }
  }
  for (size_t i = schedule_.steps.size(); i-- > 0;) {
    auto& record = records_[i];
    const auto& step = record.step;
    if (step.kind != kApply)
      backward_update(record, g, out);
    else if (out_.defined())
      backward_apply(record, g, out_.narrow(1, places_[i], step.end - step.begin), out);
    else
      out.q.slice(1, step.begin, step.end).zero_();
    records_.pop_back();
  }
  shop_.reset();
  out.state = {g.w, g.main, g.momentum, g.norms};
  const auto all = fields(out);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i]->defined()) *all[i] = all[i]->to(types_[i]);
  return out;
}

}  // namespace lact::ops
