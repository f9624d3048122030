#include "fast_layer.hpp"

#include "rotation.hpp"

#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

using at::Tensor;

constexpr double kUnitEpsilon = 1e-5;

/// [B, L, heads, K] -> [B * heads, L, K], head fastest.
Tensor folded(const Tensor& x) {
  return x.transpose(1, 2).flatten(0, 1);
}

/// A projection x [B, L, d] in fast heads: silu and unit length in the layer's order.
Tensor fast_heads(const FastOptions& fast, const Tensor& x, int64_t heads, bool unit) {
  const bool silu_last = fast.qkv_silu && unit && fast.l2_norm_before_silu;
  nn::FastInput how;
  how.heads = heads;
  how.silu = fast.qkv_silu && !silu_last;
  how.unit_epsilon = unit ? kUnitEpsilon : -1;
  const auto y = nn::fast_input(x, how);
  return folded(silu_last ? at::silu(y) : y);
}

/// Column i of scale and offset on attention heads x [B, L, A, a], then the rotation: [B, L, d].
Tensor scaled(const Part& p, const Tensor& x, int64_t column, const Tensor& phases) {
  const auto of = [&](const char* name) {
    return p(name).select(1, column).to(x.dtype()).view({x.size(2), x.size(3)});
  };
  return turn(x * of("qk_scale") + of("qk_offset"), phases).flatten(2);
}

/// Inner rates of gate (lr0), up (lr2) and down (lr1): [B * heads, L, 1] each.
ops::Rates rates(const Config& c, const Part& p, const Tensor& x) {
  const double base = c.fast->base_lr, shift = base + std::log(-std::expm1(-base));
  const auto raw = nn::affine(x, p("lr_proj.weight"), p("lr_proj.bias"));
  const auto all = at::softplus(raw + shift)
                       .view({x.size(0), x.size(1), c.fast_heads(), 3})
                       .permute({3, 0, 2, 1})
                       .reshape({3, -1, x.size(1), 1});
  return {all.select(0, 0), all.select(0, 2), all.select(0, 1)};
}

/// The first entries read; then each clean one is learned, and it and those after it read.
ops::Schedule schedule_of(const Sequence& s, bool updates) {
  using Kind = ops::Step::Kind;
  const int64_t n = s.tokens, span = (1 + s.repeats) * n;
  ops::Schedule plan;
  if (!updates) {
    plan.steps.push_back({Kind::apply, 0, s.length()});
    return plan;
  }
  if (s.lead > 0) plan.steps.push_back({Kind::apply, 0, s.lead * n});
  for (int64_t i = 0; i < s.groups; ++i) {
    const int64_t begin = s.lead * n + i * span;
    plan.steps.push_back({Kind::update, i * n, (i + 1) * n});
    plan.steps.push_back({Kind::apply, begin, begin + span});
  }
  return plan;
}

/// What clean entries teach. k, v [B, E n, A, a]; x [B, E n, d].
ops::Tokens lessons(const Config& c, const Part& p, const Tensor& x, const Projected& in,
                    const Pass& pass) {
  const auto clean = [&](const Tensor& all) { return pass.sequence.clean(all); };
  const auto lesson = clean(x);
  const auto phases = clean(pass.phases.unsqueeze(0)).squeeze(0);
  ops::Tokens tokens{
      fast_heads(*c.fast, scaled(p, clean(in.k), 1, phases), c.fast_heads(), c.fast->qk_l2_norm),
      fast_heads(*c.fast, clean(in.v).flatten(2), c.fast_heads(), false),
      rates(c, p, lesson),
      {}};
  if (c.fast->momentum)
    tokens.momentum =
        at::sigmoid(nn::affine(lesson, p("momentum_proj.0.weight"), p("momentum_proj.0.bias")))
            .transpose(1, 2)
            .reshape({-1, lesson.size(1), 1});
  return tokens;
}

/// Nothing is learned: not looked at.
ops::Tokens unread(const Tensor& q, bool momentum) {
  const auto none = at::empty({q.size(0), q.size(1), 1}, q.options());
  return {q, q, {none, none, none}, momentum ? none : Tensor()};
}

/// All that fast weights do to the tokens: [B, E n, N, K].
Tensor scanned(const Config& c, const Part& p, const Tensor& x, const Projected& in,
               const Pass& pass, LayerMemory* memory) {
  const int64_t batch = x.size(0), heads = c.fast_heads();
  const bool learns = c.fast->updates && pass.sequence.groups > 0;
  const auto how = rule(c, pass.compute);
  const auto q = fast_heads(*c.fast, scaled(p, in.q, 0, pass.phases), heads, c.fast->qk_l2_norm);
  auto state =
      memory != nullptr ? memory->fast : ops::initial_state(initial_weights(p, batch), how);
  if (learns && pass.running_norm) state.norms = ops::initial_state(state.w, how).norms;
  const auto tokens = learns ? lessons(c, p, x, in, pass) : unread(q, how.momentum);
  auto schedule = schedule_of(pass.sequence, learns);
  schedule.carry_from = tokens.k.size(1);
  const auto done = ops::scan(state, {}, q, tokens, schedule, how);
  if (memory != nullptr && learns) {
    const auto norms = memory->fast.norms;
    memory->fast = done.state;
    memory->fast.norms = norms;
  }
  return done.out.unflatten(0, {batch, heads}).transpose(1, 2);
}

/// Keys or values of the window of a clean chunk x [B, n, heads, width].
Tensor remembered(const Tensor& x, int64_t kv) {
  const int64_t n = x.size(1);
  return x.slice(1, kv < 0 ? 0 : n - std::min(kv, n)).transpose(1, 2).contiguous();
}

/// What the window gives: [B, E n, heads, width]; a clean entry alone becomes the window.
Tensor looked(const Config& c, const Projected& turned, const Pass& pass, LayerMemory* memory) {
  const auto& s = pass.sequence;
  const int64_t kv = c.fast->kv_cache_size;
  if (memory != nullptr && s.lead > 0 && memory->keys.defined())
    return window_attention(turned.q, turned.k, turned.v, s, kv, memory->keys.transpose(1, 2),
                            memory->values.transpose(1, 2));
  if (memory != nullptr && s.groups > 0) {
    memory->keys = remembered(turned.k, kv);
    memory->values = remembered(turned.v, kv);
  }
  return window_attention(turned.q, turned.k, turned.v, s, kv);
}

}  // namespace

ops::Rule rule(const Config& config, at::ScalarType compute) {
  const auto& fast = *config.fast;
  auto rule = ops::Rule::from_name(fast.muon       ? fast.momentum ? "muon_momentum" : "muon"
                                   : fast.momentum ? "momentum"
                                                   : "gd");
  rule.weight_norm = fast.weight_norm;
  rule.detach_norms = false;
  rule.norm_epsilon = 1e-5;
  auto& how = rule.orthogonalize;
  how.steps.assign(static_cast<size_t>(fast.muon_steps), ops::NewtonSchulz::keller_jordan()[0]);
  how.square_first = true;
  if (compute == at::kBFloat16) rule.product = how.dtype = at::kBFloat16;
  return rule;
}

ops::FastWeights initial_weights(const Part& p, int64_t batch) {
  const auto repeated = [&](const char* name) {
    return batch == 1 ? p(name) : p(name).repeat({batch, 1, 1});
  };
  return {repeated("w0"), repeated("w2"), repeated("w1")};
}

Tensor fast_layer(const Config& c, const Part& p, const Tensor& x, const Pass& pass,
                  LayerMemory* memory) {
  const auto in = project(p, x.to(pass.compute), c.num_heads, c.eps);
  const auto fast = scanned(c, p, x, in, pass, memory);
  const auto local =
      looked(c, {turn(in.q, pass.phases), turn(in.k, pass.phases), in.v}, pass, memory);
  auto gain = p("output_norm.weight");
  Tensor gate;
  if (c.fast->learnable_scale)
    gate = nn::affine(x, p("ttt_scale_proj.weight"), p("ttt_scale_proj.bias"))
               .to(pass.compute)
               .expand({-1, -1, c.fast_heads()})
               .contiguous();
  else
    gain = gain * c.fast->scale;
  return nn::affine(nn::mix(local, fast, gain, c.eps, gate), p("o.weight"), p("o.bias"));
}

}  // namespace lact::video
