#include "fast_layer.hpp"

#include <lact/dist/heads.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
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

/// A projection x [B, L, d] to fast heads [B * heads, L, K]: column i of scale and offset and the
/// rotation, unless the column is below 0; then silu and unit length in the layer's order.
Tensor fast_heads(const Config& c, const Parameters& p, const Tensor& x, int column,
                  const nn::Rotary& table) {
  const auto& fast = *c.fast;
  const bool looks = column >= 0, unit = looks && fast.qk_l2_norm;
  const bool silu_last = fast.qkv_silu && unit && fast.l2_norm_before_silu;
  nn::FastInput how;
  how.heads = c.fast_heads();
  how.silu = fast.qkv_silu && !silu_last;
  how.unit_epsilon = unit ? kUnitEpsilon : -1;
  Tensor in = x;
  if (looks) {
    const auto scale = p("qk_scale").select(1, column), offset = p("qk_offset").select(1, column);
    // Turning keeps lengths, so that it may come last, where no pair belongs to two heads.
    if (!fast.qkv_silu && c.fast_head_dim() % 2 == 0) {
      how.scale = scale;
      how.offset = offset;
      how.table = table;
    } else {
      const auto y = x * scale.to(x.dtype()) + offset.to(x.dtype());
      in = nn::rotate(y.unflatten(-1, {c.num_heads, -1}), table).flatten(2);
    }
  }
  const auto y = nn::fast_input(in, how);
  return folded(silu_last ? at::silu(y) : y);
}

/// What each token says for itself to its heads.
struct Inputs {
  Projected heads;        ///< [B, E n, A, a]
  Tensor rates;           ///< of clean entries [B, G n, 3 N]; undefined: nothing is updated
  Tensor momentum, gate;  ///< [B, G n, N], [B, E n, N]; undefined: there is none
};

/// x [B, E n, d], or the tokens of this process.
Inputs inputs_of(const Config& c, const Parameters& p, const Tensor& x, const Pass& pass) {
  Inputs all{project(p, x.to(pass.compute), c.num_heads, c.eps), {}, {}, {}};
  if (ops::learn_from(c.fast->learn) != ops::Learn::none && pass.sequence.groups > 0) {
    const auto clean = pass.own().clean(x);
    all.rates = nn::affine(clean, p("lr_proj.weight"), p("lr_proj.bias"));
    if (c.fast->momentum)
      all.momentum = nn::affine(clean, p("momentum_proj.0.weight"), p("momentum_proj.0.bias"));
  }
  if (c.fast->learnable_scale)
    all.gate = nn::affine(x, p("ttt_scale_proj.weight"), p("ttt_scale_proj.bias"))
                   .to(pass.compute)
                   .expand({-1, -1, c.fast_heads()})
                   .contiguous();
  return all;
}

/// Inner rates of gate (lr0), up (lr2) and down (lr1): [B * heads, L, 1] each, of [B, L, 3 N].
ops::Rates rates(const Config& c, const Tensor& raw) {
  const double base = c.fast->base_lr, shift = base + std::log(-std::expm1(-base));
  const auto all = at::softplus(raw + shift)
                       .view({raw.size(0), raw.size(1), c.fast_heads(), 3})
                       .permute({3, 0, 2, 1})
                       .reshape({3, -1, raw.size(1), 1});
  return {all.select(0, 0), all.select(0, 2), all.select(0, 1)};
}

/// The first entries are applied; then each clean one is an update, and it and those after it are
/// applied.
ops::Schedule schedule_of(const Sequence& s) {
  using Kind = ops::Step::Kind;
  const int64_t n = s.tokens, span = (1 + s.repeats) * n;
  ops::Schedule plan;
  if (s.lead > 0) plan.steps.push_back({Kind::apply, 0, s.lead * n});
  for (int64_t i = 0; i < s.groups; ++i) {
    const int64_t begin = s.lead * n + i * span;
    plan.steps.push_back({Kind::update, i * n, (i + 1) * n});
    plan.steps.push_back({Kind::apply, begin, begin + span});
  }
  plan.carry_from = s.groups * n;
  return plan;
}

/// Keys, values and rates of the clean entries.
ops::Tokens update_tokens(const Config& c, const Parameters& p, const Inputs& in,
                          const Pass& pass) {
  const auto& s = pass.sequence;
  const auto row = [&](const Tensor& table) { return s.clean(table.unsqueeze(0)).squeeze(0); };
  const nn::Rotary table{row(pass.film.cos), row(pass.film.sin), pass.film.pairs};
  ops::Tokens tokens{fast_heads(c, p, s.clean(in.heads.k).flatten(2), 1, table),
                     fast_heads(c, p, s.clean(in.heads.v).flatten(2), -1, {}),
                     rates(c, in.rates),
                     {}};
  if (in.momentum.defined())
    tokens.momentum =
        at::sigmoid(in.momentum).transpose(1, 2).reshape({-1, in.momentum.size(1), 1});
  return tokens;
}

/// The fast weights applied to all tokens, [B, E n, N, K], and the state that they leave.
struct Applied {
  Tensor out;
  ops::FastState state;
};
Applied apply_fast_weights(const Config& c, const Parameters& p, const Inputs& in, const Pass& pass,
                           const ops::FastState& before) {
  const auto how = rule(c, pass.compute);
  const auto q = fast_heads(c, p, in.heads.q.flatten(2), 0, pass.film);
  const auto heads_apart = [&](const Tensor& out) {
    return out.unflatten(0, {-1, c.fast_heads()}).transpose(1, 2);
  };
  if (how.learn == ops::Learn::none || pass.sequence.groups == 0)
    return {heads_apart(ops::apply(before.w, q, how)), before};
  auto state = before;
  if (pass.running_norm) state.norms = ops::initial_state(state.w, how).norms;
  auto done =
      ops::scan(state, {}, q, update_tokens(c, p, in, pass), schedule_of(pass.sequence), how);
  done.state.norms = before.norms;
  if (pass.strengths != nullptr) {
    const auto& s = pass.sequence;
    const int64_t from = s.lead * s.tokens, to = from + (1 + s.repeats) * s.tokens;
    const auto first = [&](const Tensor& y) { return y.slice(1, from, to).to(at::kDouble); };
    const auto was = first(ops::apply(before.w, q, how)), is = first(done.out);
    pass.strengths->push_back(((is - was).norm() / was.norm()).item<double>());
  }
  return {heads_apart(done.out), done.state};
}

/// Keys or values of the window of a clean chunk x [B, n, heads, width].
Tensor window_of(const Tensor& x, int64_t kv) {
  const int64_t n = x.size(1);
  return x.slice(1, kv < 0 ? 0 : n - std::min(kv, n)).transpose(1, 2).contiguous();
}

/// Attention over the window: [B, E n, heads, width].
Tensor local_attention(const Config& c, const Projected& turned, const Pass& pass,
                       const LayerMemory* memory) {
  const auto& s = pass.sequence;
  const int64_t kv = c.fast->kv_cache_size;
  if (memory != nullptr && s.lead > 0 && memory->keys.defined())
    return window_attention(turned.q, turned.k, turned.v, s, kv, memory->keys.transpose(1, 2),
                            memory->values.transpose(1, 2));
  return window_attention(turned.q, turned.k, turned.v, s, kv);
}

/// What a layer remembers after a pass: of one without clean entries, what it did before.
LayerMemory next_memory(const Config& c, const Projected& turned, const Pass& pass,
                        const LayerMemory& before, const ops::FastState& fast) {
  if (pass.sequence.groups == 0) return before;
  const int64_t kv = c.fast->kv_cache_size;
  return {fast, window_of(turned.k, kv), window_of(turned.v, kv)};
}

/// The layer of this process's heads: that of a narrower model.
struct Share {
  Config config;
  Parameters parameters;
  Inputs inputs;
};
Share share_of(const Config& c, const Parameters& p, Inputs inputs, const Pass& pass) {
  Share own{c, p, std::move(inputs)};
  const int64_t size = pass.sharing->size();
  own.config.dim /= size;
  own.config.num_heads /= size;
  for (const char* name : {"w0", "w1", "w2", "qk_scale", "qk_offset"})
    own.parameters.replace(name,
                           p(name).chunk(size, 0).at(static_cast<size_t>(pass.sharing->rank())));
  std::vector<Tensor*> places;
  std::vector<Tensor> tokens;
  auto& [heads, rates, momentum, gate] = own.inputs;
  for (auto* x : {&heads.q, &heads.k, &heads.v, &rates, &momentum, &gate})
    if (x->defined()) {
      places.push_back(x);
      tokens.push_back(*x);
    }
  const auto all = to_heads(pass, tokens);
  for (size_t i = 0; i < all.size(); ++i) *places[i] = all[i];
  return own;
}

/// All tokens of the heads that c, p and in are of, mixed: [B, E n, d], and what is remembered.
LayerOutput mixed(const Config& c, const Parameters& p, const Inputs& in, const Pass& pass,
                  const LayerMemory* memory) {
  const auto before = memory != nullptr ? memory->fast
                                        : ops::initial_state(initial_weights(p, in.heads.q.size(0)),
                                                             rule(c, pass.compute));
  const auto fast = apply_fast_weights(c, p, in, pass, before);
  const Projected turned{nn::rotate(in.heads.q, pass.film), nn::rotate(in.heads.k, pass.film),
                         in.heads.v};
  const auto local = local_attention(c, turned, pass, memory);
  auto gain = p("output_norm.weight");
  if (!in.gate.defined()) gain = gain * c.fast->scale;
  LayerOutput done{nn::mix(local, fast.out, gain, c.eps, in.gate), {}};
  if (memory != nullptr) done.memory = next_memory(c, turned, pass, *memory, fast.state);
  return done;
}

}  // namespace

Sequence Pass::own() const {
  auto own = sequence;
  if (sharing != nullptr) own.tokens /= sharing->size();
  return own;
}

std::vector<Tensor> to_heads(const Pass& pass, const std::vector<Tensor>& xs) {
  if (pass.sharing == nullptr) return xs;
  std::vector<Tensor> entries;
  for (const auto& x : xs) entries.push_back(x.unflatten(1, {-1, pass.own().tokens}).flatten(0, 1));
  auto all = dist::to_heads(*pass.sharing, entries);
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = all[i].unflatten(0, {xs[i].size(0), -1}).flatten(1, 2);
  return all;
}

Tensor to_tokens(const Pass& pass, const Tensor& x) {
  if (pass.sharing == nullptr) return x;
  const auto entries = x.unflatten(1, {-1, pass.sequence.tokens}).flatten(0, 1);
  return dist::to_tokens(*pass.sharing, entries).unflatten(0, {x.size(0), -1}).flatten(1, 2);
}

ops::Rule rule(const Config& config, at::ScalarType compute) {
  const auto& fast = *config.fast;
  auto rule = ops::Rule::from_name(fast.muon       ? fast.momentum ? "muon_momentum" : "muon"
                                   : fast.momentum ? "momentum"
                                                   : "gd");
  rule.learn = ops::learn_from(fast.learn);
  rule.weight_norm = fast.weight_norm;
  rule.detach_norms = false;
  rule.norm_epsilon = 1e-5;
  auto& how = rule.orthogonalize;
  how.steps.assign(static_cast<size_t>(fast.muon_steps), ops::NewtonSchulz::keller_jordan()[0]);
  how.square_first = true;
  if (compute == at::kBFloat16) rule.product = how.dtype = at::kBFloat16;
  return rule;
}

ops::FastWeights initial_weights(const Parameters& p, int64_t batch) {
  const auto repeated = [&](const char* name) {
    return batch == 1 ? p(name) : p(name).repeat({batch, 1, 1});
  };
  return {repeated("w0"), repeated("w2"), repeated("w1")};
}

LayerOutput fast_layer(const Config& c, const Parameters& p, const Tensor& x, const Pass& pass,
                       const LayerMemory* memory) {
  auto in = inputs_of(c, p, x, pass);
  LayerOutput done;
  if (pass.sharing == nullptr) {
    done = mixed(c, p, in, pass, memory);
  } else {
    const auto own = share_of(c, p, std::move(in), pass);
    done = mixed(own.config, own.parameters, own.inputs, pass, memory);
  }
  done.out = nn::affine(to_tokens(pass, done.out), p("o.weight"), p("o.bias"));
  return done;
}

}  // namespace lact::video
