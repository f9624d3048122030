#include "engine.hpp"

#include <lact/error.hpp>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <tuple>

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
void fill(FastWeights& grad_w, const FastWeights& like) {
  for (const auto which : kMatrices)
    if (!(grad_w.*which).defined() && (like.*which).defined())
      grad_w.*which = at::zeros_like(like.*which);
}

/// Some heads of it.
Tensor heads(const Tensor& x, int64_t first, int64_t count) {
  return x.defined() ? x.narrow(0, first, count) : x;
}

FastWeights heads(const FastWeights& w, int64_t first, int64_t count) {
  return {heads(w.gate, first, count), heads(w.up, first, count), heads(w.down, first, count)};
}

template <class State>  // FastState or StateGradient
State heads_of_state(const State& s, int64_t first, int64_t count) {
  return {heads(s.w, first, count), heads(s.main, first, count), heads(s.momentum, first, count),
          heads(s.norms, first, count)};
}

Tokens heads(const Tokens& t, int64_t first, int64_t count) {
  return each(t, [&](const Tensor& x) { return heads(x, first, count); });
}

ScanInput heads(const ScanInput& in, int64_t first, int64_t count) {
  return {heads_of_state(in.state, first, count), heads(in.q, first, count),
          heads(in.tokens, first, count)};
}

std::vector<Tensor*> matrices(StateGradient& g) {
  std::vector<Tensor*> all;
  for (auto* w : {&g.w, &g.main, &g.momentum, &g.norms})
    for (auto* x : fields(*w)) all.push_back(x);
  return all;
}

/// What each group made of its heads, as one.
template <class State, class Fields>
State join(std::vector<State>& parts, const Fields& fields) {
  State all = parts[0];
  const auto places = fields(all);
  if (parts.size() == 1) return all;
  std::vector<std::vector<Tensor*>> of_parts;
  for (auto& part : parts) of_parts.push_back(fields(part));
  for (size_t i = 0; i < places.size(); ++i) {
    if (!places[i]->defined()) continue;
    std::vector<Tensor> rows;
    for (const auto& part : of_parts) rows.push_back(*part[i]);
    *places[i] = at::cat(rows);
  }
  return all;
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

void check(const FastWeights& w, const Tokens& chunk) {
  const auto require = [](bool holds, const char* what, const Tensor& found) {
    if (!holds) throw Error(Exit::internal, "scan: ", what, ": wrong shape ", found.sizes());
  };
  const auto& [k, v, rate, momentum] = chunk;
  const int64_t hidden = w.down.size(2);
  require(k.dim() == 3 && k.size(0) == w.down.size(0), "k", k);
  require(v.dim() == 3 && v.size(1) == k.size(1) && v.size(2) == w.down.size(1), "v", v);
  require(rate.down.size(1) == k.size(1) && (rate.down.size(2) == 1 || rate.down.size(2) == hidden),
          "rate", rate.down);
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

Plan::Plan(Schedule s, Rule r, ScanOptions o)
    : schedule(std::move(s)), rule(std::move(r)), options(std::move(o)) {
  places = output_places(schedule);
  applied = applied_tokens(schedule);
  overlap =
      overlapping(spans(schedule, kApply)) || overlapping(spans(schedule, Step::Kind::update));
  for (const auto& step : schedule.steps) longest = std::max(longest, step.end - step.begin);
}

HeadScan::HeadScan(const Plan& plan, ScanInput input, int64_t cores)
    : plan_(plan),
      input_(std::move(input)),
      buffers_(input_.state.w, plan.type, plan.longest, plan.options.tile, cores) {}

FastWeights HeadScan::narrowed(const FastWeights& w) const {
  const auto to = [&](const Tensor& x) { return x.defined() ? x.to(plan_.type) : x; };
  return {to(w.gate), to(w.up), to(w.down)};
}

FastState HeadScan::forward(const OpenChunk& open, const Tensor& out,
                            std::vector<SavedActivations> saved, bool record) {
  FastState state = input_.state;
  FastWeights w = narrowed(state.w);
  for (size_t i = 0; i < plan_.schedule.steps.size(); ++i) {
    const auto& [kind, begin, end] = plan_.schedule.steps[i];
    Record mine{state, w, saved.empty() ? SavedActivations{} : saved[i], {}};
    if (kind == kApply) {
      apply(buffers_, w, input_.q.slice(1, begin, end), out.narrow(1, plan_.places[i], end - begin),
            mine.saved);
    } else {
      state = update_on(state, w, span(open, input_.tokens, begin, end), mine.saved,
                        record ? &mine.update : nullptr);
      w = narrowed(state.w);
    }
    if (record) records_.push_back(std::move(mine));
  }
  return state;
}

FastWeights HeadScan::delta(const Tokens& chunk, const FastWeights& w,
                            const SavedActivations& saved) const {
  const auto& wide_w = input_.state.w;
  FastWeights sum;
  for (const auto which : learning(wide_w, plan_.rule))
    sum.*which = at::empty((wide_w.*which).sizes(), (wide_w.*which).options());
  if (chunk.k.size(1) == 0) {  // the tokens of a chunk can all be other processes'
    for (const auto* x : defined(sum)) x->zero_();
    return sum;
  }
  accumulate_delta(buffers_, w, chunk, sum, saved);
  return sum;
}

FastState HeadScan::update_on(const FastState& state, const FastWeights& w, const Tokens& chunk,
                              const SavedActivations& saved, UpdateRecord* record) const {
  const auto& [rule, options] = std::tie(plan_.rule, plan_.options);
  const FastWeights sum = delta(chunk, w, saved);
  Tensor beta = rule.momentum ? chunk.momentum.sum({1}, /*keepdim=*/true) : Tensor();
  const auto count = static_cast<double>(chunk.k.size(1));
  if (options.exchange) {
    std::vector<Tensor> parts;
    for (const auto* x : defined(sum)) parts.push_back(*x);
    const auto tokens = at::full({1}, count, sum.down.options());
    if (rule.momentum) parts.push_back(beta);
    parts.push_back(tokens);
    options.exchange(parts);
    if (rule.momentum) beta = beta / tokens;
  } else if (rule.momentum) {
    beta = beta / count;
  }
  return update(state, sum, beta, rule, record, /*keep=*/record != nullptr && !options.recompute);
}

void HeadScan::apply_backward(const Step& step, const Record& record, StateGradient& g,
                              const Tensor& grad_out, const ScanInput& to) const {
  fill(g.w, record.state.w);
  const auto place = to.q.slice(1, step.begin, step.end);
  const auto grad_q = plan_.overlap ? at::empty(place.sizes(), place.options()) : place;
  ops::apply_backward(buffers_, record.w, input_.q.slice(1, step.begin, step.end), grad_out,
                      record.saved, grad_q, g.w);
  if (plan_.overlap) place.add_(grad_q);
}

void HeadScan::update_backward(const Step& step, const Record& record, StateGradient& g,
                               const ScanInput& to) const {
  Tensor grad_beta;
  FastWeights grad_sum =
      ops::update_backward(g, record.state, plan_.rule, record.update, grad_beta);
  const Tokens chunk = slice(input_.tokens, step.begin, step.end);
  auto count = static_cast<double>(chunk.k.size(1));
  if (plan_.options.exchange) {
    std::vector<Tensor> parts;
    for (const auto which : learning(record.state.w, plan_.rule)) {
      grad_sum.*which = (grad_sum.*which).clone();  // else it can be g's own, which stays a share
      parts.push_back(grad_sum.*which);
    }
    if (grad_beta.defined()) parts.push_back(grad_beta);
    const auto tokens = at::full({1}, count, grad_sum.down.options());
    parts.push_back(tokens);
    plan_.options.exchange(parts);
    if (grad_beta.defined()) grad_beta = grad_beta * count / tokens;
  }
  const Tokens places = slice(to.tokens, step.begin, step.end);
  const Tokens grad_t =
      plan_.overlap ? each(places, [](const Tensor& x) { return at::zeros_like(x); }) : places;
  fill(g.w, record.state.w);
  accumulate_delta_backward(buffers_, record.w, chunk, narrowed(grad_sum), record.saved, grad_t,
                            g.w);
  if (grad_beta.defined()) grad_t.momentum.copy_((grad_beta / count).expand_as(grad_t.momentum));
  if (!plan_.overlap) return;
  const auto add = [](const Tensor& sum, const Tensor& x) {
    if (sum.defined()) sum.add_(x);
  };
  add(places.k, grad_t.k);
  add(places.v, grad_t.v);
  add(places.rate.gate, grad_t.rate.gate);
  add(places.rate.up, grad_t.rate.up);
  add(places.rate.down, grad_t.rate.down);
  add(places.momentum, grad_t.momentum);
}

StateGradient HeadScan::backward(const Tensor& grad_out, StateGradient g, const ScanInput& to) {
  for (size_t i = plan_.schedule.steps.size(); i-- > 0;) {
    const auto& step = plan_.schedule.steps[i];
    const Record record = std::move(records_.back());
    records_.pop_back();
    if (step.kind != kApply)
      update_backward(step, record, g, to);
    else if (grad_out.defined())
      apply_backward(step, record, g, grad_out.narrow(1, plan_.places[i], step.end - step.begin),
                     to);
    else
      to.q.slice(1, step.begin, step.end).zero_();
  }
  return g;
}

Engine::Engine(Schedule schedule, Rule rule, ScanOptions options)
    : plan_(std::move(schedule), std::move(rule), std::move(options)) {}

/// Types and strides as the products want them.
ScanInput Engine::prepared(const ScanInput& input) {
  ScanInput in = input;
  const auto given = fields(in);
  for (auto* x : given) {
    types_.push_back(x->defined() ? x->scalar_type() : at::kFloat);
    if (x->defined()) *x = x->detach();
  }
  plan_.type = plan_.rule.product.value_or((in.q.defined() ? in.q : in.tokens.k).scalar_type());
  const auto weights_type = wide(in.state.w.down.scalar_type());
  for (auto* x : fields(in.state))
    if (x->defined()) *x = x->to(weights_type).contiguous();
  auto& t = in.tokens;
  for (auto* x : {&in.q, &t.k, &t.v})
    if (x->defined()) *x = x->to(plan_.type).contiguous();
  for (auto* x : {&t.rate.gate, &t.rate.up, &t.rate.down})
    if (x->defined()) *x = x->to(wide(plan_.type)).contiguous();
  if (t.momentum.defined()) t.momentum = t.momentum.to(weights_type);
  return in;
}

/// Made for all heads at once, by one thread: allocators reuse what they know to be one piece.
std::vector<SavedActivations> Engine::make_saved() const {
  const auto& w = input_.state.w;
  std::vector<SavedActivations> all;
  for (const auto& step : plan_.schedule.steps) {
    const auto make = [&] {
      return at::empty({w.down.size(0), step.end - step.begin, w.down.size(2)},
                       w.down.options().dtype(plan_.type));
    };
    if (w.linear()) return {};
    const bool e = step.kind != kApply && plan_.rule.learn == Learn::all;
    all.push_back({make(), make(), e ? make() : Tensor()});
  }
  return all;
}

template <class F>
void Engine::for_groups(const F& f) const {
  const int64_t heads = input_.state.w.down.size(0), groups = heads / group_;
  if (groups == 1) return f(0, 0, heads);
  at::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_graph;  // is not inherited by other threads
    for (int64_t i = begin; i < end; ++i) f(static_cast<size_t>(i), i * group_, group_);
  });
}

int64_t Engine::choose_groups() {
  const auto& down = input_.state.w.down;
  const int64_t all_heads = down.size(0), threads = at::get_num_threads();
  const bool enough = all_heads % threads == 0 || all_heads >= 4 * threads;
  const bool apart = down.is_cpu() && threads > 1 && enough && plan_.longest >= kFewTokens &&
                     !plan_.options.exchange;  // which wants all heads together
  group_ = apart ? 1 : all_heads;
  return apart ? 1 : threads;
}

FastWeights Engine::delta(const FastWeights& w, const Tokens& chunk) {
  input_ = prepared({{w, w, {}, {}}, {}, chunk});
  const int64_t cores = choose_groups();
  std::vector<FastWeights> sums(static_cast<size_t>(w.down.size(0) / group_));
  for_groups([&](size_t group, int64_t first, int64_t count) {
    const auto input = heads(input_, first, count);
    const HeadScan scan(plan_, input, cores);
    sums[group] = scan.delta(input.tokens, scan.narrowed(input.state.w), {});
  });
  return join(sums, [](FastWeights& sum) { return fields(sum); });
}

ScanOutput Engine::forward(const ScanInput& input, const OpenChunk& open, bool record) {
  input_ = prepared(input);
  const int64_t all_heads = input_.state.w.down.size(0), cores = choose_groups();
  ScanOutput result;
  if (!spans(plan_.schedule, kApply).empty())  // spans of no token too
    result.out = at::empty({all_heads, plan_.applied, input_.state.w.down.size(1)},
                           input_.q.options().dtype(plan_.type));
  std::vector<SavedActivations> saved;
  if (record && !plan_.options.recompute) saved = make_saved();
  scans_.resize(static_cast<size_t>(all_heads / group_));
  std::vector<FastState> states(scans_.size());
  for_groups([&](size_t group, int64_t first, int64_t count) {
    std::vector<SavedActivations> mine;
    for (const auto& x : saved)
      mine.push_back(
          {heads(x.a, first, count), heads(x.b, first, count), heads(x.e, first, count)});
    scans_[group] = std::make_unique<HeadScan>(plan_, heads(input_, first, count), cores);
    states[group] =
        scans_[group]->forward({heads(open.tokens, first, count), open.count},
                               heads(result.out, first, count), std::move(mine), record);
  });
  if (!record) scans_.clear();
  result.state = join(states, [](FastState& state) { return ops::fields(state); });
  return result;
}

ScanInput Engine::backward(const ScanOutput& gradient) {
  if (scans_.empty())
    throw Error(Exit::internal, "scan: its backward pass ran before and has used up what it needs");
  ScanInput out;
  const auto read_spans = spans(plan_.schedule, kApply),
             update_spans = spans(plan_.schedule, Step::Kind::update);
  const auto make = [&](const Tensor& x, const std::vector<Step>& written) {
    return plan_.overlap && x.defined() ? at::zeros_like(x) : span_gradient(x, written);
  };
  out.q = make(input_.q, read_spans);
  out.tokens = each(input_.tokens, [&](const Tensor& x) { return make(x, update_spans); });
  if (learning(input_.state.w, plan_.rule).size() == 1)  // the other rates have no effect
    for (const auto* rate : {&out.tokens.rate.gate, &out.tokens.rate.up})
      if (rate->defined()) rate->zero_();

  const auto weights_type = input_.state.w.down.scalar_type();
  StateGradient g{gradient.state.w, gradient.state.main, gradient.state.momentum,
                  gradient.state.norms};
  for (auto* x : matrices(g))  // copies: they are added to in place
    if (x->defined()) *x = x->to(weights_type, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const Tensor grad_out =
      gradient.out.defined() ? gradient.out.to(plan_.type).contiguous() : Tensor();
  std::vector<StateGradient> parts(scans_.size());
  for_groups([&](size_t group, int64_t first, int64_t count) {
    parts[group] = scans_[group]->backward(
        heads(grad_out, first, count), heads_of_state(g, first, count), heads(out, first, count));
    scans_[group].reset();
  });
  scans_.clear();
  g = join(parts, matrices);
  out.state = {g.w, g.main, g.momentum, g.norms};
  const auto all = fields(out);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i]->defined()) *all[i] = all[i]->to(types_[i]);
  return out;
}

}  // namespace lact::ops
