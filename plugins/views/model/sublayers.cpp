#include "sublayers.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softplus.h>

#include <cmath>

namespace lact::views {
namespace {

using at::Tensor;

/// RMSNorm of queries and keys was built without an epsilon: float32's, whatever the dtype.
constexpr double kQkEpsilon = 1.1920929e-7;
constexpr double kUnitEpsilon = 1e-5;
constexpr double kOutputEpsilon = 1e-5;

/// A projection [B, L, heads * K] as fast queries, keys or values [B * heads, L, K].
Tensor fast_heads(const Tensor& x, int64_t heads, bool unit) {
  nn::FastInput how;
  how.heads = heads;
  how.unit_epsilon = unit ? kUnitEpsilon : -1;
  return nn::fast_input(x, how).transpose(1, 2).flatten(0, 1);
}

/// Inner rates of gate (lr0), up (lr2) and down (lr1): [B * heads, L, 1] each, float32 or better.
ops::Rates rates(const Sublayer& s, const Parameters& p, const Tensor& x, int64_t heads) {
  const double shift = s.base_lr + std::log(-std::expm1(-s.base_lr));
  const auto raw =
      nn::affine(x, p("f.lr_fc.weight").to(x.dtype()), p("f.lr_fc.bias").to(x.dtype()));
  const auto all = at::softplus(raw + shift)
                       .view({x.size(0), x.size(1), 3, heads})
                       .permute({2, 0, 3, 1})
                       .reshape({3, x.size(0) * heads, x.size(1), 1});
  return {all.select(0, 0), all.select(0, 2), all.select(0, 1)};
}

/// Rows of to_qkv: 0 queries, 1 keys, 2 values.
Tensor rows(const Parameters& p, int64_t first, int64_t last) {
  const auto& weight = p("f.to_qkv.weight");
  const int64_t d = weight.size(1);
  return weight.slice(0, first * d, last * d);
}

ops::Tokens tokens_of(const Sublayer& s, const Parameters& p, const Tensor& x, const Tensor& k,
                      const Tensor& v, int64_t heads) {
  return {fast_heads(k, heads, true), fast_heads(v, heads, false), rates(s, p, x, heads), {}};
}

/// [B * heads, L, K] of the fast weights to the block's width.
Tensor project(const Parameters& p, const Tensor& out, int64_t batch) {
  const auto normed = nn::rms_norm(out, p("f.o_norm.weight"), kOutputEpsilon);
  const auto joined = normed.unflatten(0, {batch, -1}).transpose(1, 2).flatten(2, 3);
  return nn::affine(joined, p("f.c_proj.weight"));
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight) {
  return at::layer_norm(x, {x.size(-1)}, weight.to(x.dtype()), {}, 1e-5);
}

Tensor attention(const Sublayer& s, const Parameters& p, const Tensor& x, at::ScalarType compute) {
  const int64_t heads = x.size(2) / s.head_dim;
  const auto qkv = nn::affine(x.to(compute), p("f.to_qkv.weight"))
                       .view({x.size(0), x.size(1), 3, heads, s.head_dim})
                       .unbind(2);
  Tensor q = qkv[0], k = qkv[1];
  if (s.qk_norm) {
    q = nn::rms_norm(q, p("f.q_norm.weight"), kQkEpsilon);
    k = nn::rms_norm(k, p("f.k_norm.weight"), kQkEpsilon);
  }
  const auto out = at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2),
                                                    qkv[2].transpose(1, 2), {}, 0, s.causal);
  return nn::affine(out.transpose(1, 2).flatten(2, 3), p("f.c_proj.weight"));
}

Tensor mlp(const Parameters& p, const Tensor& x, at::ScalarType compute) {
  const auto hidden = at::gelu(nn::affine(x.to(compute), p("f.c_fc.weight")));
  return nn::affine(hidden, p("f.c_proj.weight"));
}

ops::Rule rule(const Config& config, const Sublayer& s, at::ScalarType compute) {
  auto rule = ops::Rule::from_name("muon");
  rule.learn = ops::learn_from(config.learn);
  rule.detach_norms = true;
  rule.norm_epsilon = 1e-5;
  auto& how = rule.orthogonalize;
  how.steps.assign(static_cast<size_t>(s.muon_steps), ops::NewtonSchulz::keller_jordan()[0]);
  how.square_first = true;
  const bool narrow =
      config.muon_dtype == "bfloat16" || (config.muon_dtype == "auto" && compute == at::kBFloat16);
  if (narrow) how.dtype = at::kBFloat16;
  if (compute == at::kBFloat16) rule.product = at::kBFloat16;
  return rule;
}

ops::FastWeights initial_weights(const Parameters& p, int64_t batch) {
  const auto turned = [&](const char* name) {
    const auto w = p(name).mT();
    return batch == 1 ? w : w.repeat({batch, 1, 1});
  };
  return {turned("f.w0"), turned("f.w2"), turned("f.w1")};
}

Tensor fast_weights(const Config& config, const Sublayer& s, const Parameters& p, const Tensor& x,
                    const ops::Schedule& plan, ops::FastState& state, at::ScalarType compute,
                    const ops::ScanOptions& options) {
  const int64_t heads = config.heads(s);
  const auto how = rule(config, s, compute);
  if (how.learn == ops::Learn::none) return apply(config, s, p, x, state.w, compute);
  const auto qkv = nn::affine(x.to(compute), p("f.to_qkv.weight")).chunk(3, 2);
  auto done = ops::scan(state, {}, fast_heads(qkv[0], heads, true),
                        tokens_of(s, p, x, qkv[1], qkv[2], heads), plan, how, options);
  state = done.state;
  return project(p, done.out, x.size(0));
}

ops::FastWeights delta(const Config& config, const Sublayer& s, const Parameters& p,
                       const Tensor& x, const ops::FastWeights& w, at::ScalarType compute) {
  const auto kv = nn::affine(x.to(compute), rows(p, 1, 3)).chunk(2, 2);
  return ops::delta(w, tokens_of(s, p, x, kv[0], kv[1], config.heads(s)), rule(config, s, compute));
}

Tensor apply(const Config& config, const Sublayer& s, const Parameters& p, const Tensor& x,
             const ops::FastWeights& w, at::ScalarType compute) {
  const auto q = fast_heads(nn::affine(x.to(compute), rows(p, 0, 1)), config.heads(s), true);
  return project(p, ops::apply(w, q, rule(config, s, compute)), x.size(0));
}

double write_strength(const Config& config, const Sublayer& s, const Parameters& p, const Tensor& x,
                      int64_t context, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  const auto how = rule(config, s, compute);
  const int64_t heads = config.heads(s), all = x.size(1);
  if (how.learn == ops::Learn::none || context >= all) return 0;
  const auto qkv = nn::affine(x.to(compute), p("f.to_qkv.weight")).chunk(3, 2);
  const auto q = fast_heads(qkv[0], heads, true);
  const auto state = ops::initial_state(initial_weights(p, x.size(0)), how);
  const ops::Schedule plan{
      {{ops::Step::Kind::update, 0, context}, {ops::Step::Kind::apply, context, all}}, all, 0};
  const auto after =
      ops::scan(state, {}, q, tokens_of(s, p, x, qkv[1], qkv[2], heads), plan, how).out;
  const auto before = ops::apply(state.w, q.slice(1, context).contiguous(), how);
  return ((after - before).norm() / before.norm()).item<double>();
}

Tensor block(const Config& config, const std::vector<Parameters>& parameters, const Tensor& in,
             int64_t tokens_per_view, const ops::Schedule& plan,
             const std::vector<ops::FastState>* states, at::ScalarType compute,
             const ops::ScanOptions& options, std::vector<double>* strengths) {
  Tensor x = in;
  size_t fast = 0;
  for (size_t j = 0; j < config.block.size(); ++j) {
    const auto& s = config.block[j];
    const auto& p = parameters[j];
    auto y = layer_norm(x, p("ln.weight"));
    if (s.kind == Sublayer::Kind::attention) {
      y = attention(s, p, y.view({-1, tokens_per_view, y.size(2)}), compute);
    } else if (s.kind == Sublayer::Kind::mlp) {
      y = mlp(p, y, compute);
    } else {
      if (strengths != nullptr)
        strengths->push_back(write_strength(config, s, p, y, plan.steps.front().end, compute));
      auto state = states != nullptr ? (*states)[fast++]
                                     : ops::initial_state(initial_weights(p, y.size(0)),
                                                          rule(config, s, compute));
      y = fast_weights(config, s, p, y, plan, state, compute, options);
    }
    x = x + y.view(x.sizes());
  }
  return x;
}

}  // namespace lact::views
