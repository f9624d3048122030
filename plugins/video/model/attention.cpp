#include "attention.hpp"

#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

using at::Tensor;

/// [B, G, ...] -> [B * G, ...]
Tensor merged(const Tensor& x) {
  return x.flatten(0, 1);
}

Tensor in_heads(const Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1});
}

Tensor joined(const Tensor& before, const Tensor& x) {
  return before.defined() ? at::cat({before, x}, 1) : x;
}

}  // namespace

Tensor Sequence::clean(const Tensor& x) const {
  auto sizes = x.sizes().vec();
  sizes[1] = groups * tokens;
  return x.slice(1, lead * tokens)
      .unflatten(1, {groups, 1 + repeats, tokens})
      .select(2, 0)
      .reshape(sizes);
}

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias) {
  std::optional<Tensor> mask;
  if (bias.defined()) mask = bias.view({1, 1, 1, -1}).expand({1, 1, q.size(1), -1});
  return at::scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2),
                                          mask)
      .transpose(1, 2);
}

Tensor entry_attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t tokens) {
  const auto apart = [&](const Tensor& x) { return merged(x.unflatten(1, {-1, tokens})); };
  return attend(apart(q), apart(k), apart(v)).reshape(q.sizes());
}

Tensor window_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Sequence& s,
                        int64_t kv, const Tensor& before_k, const Tensor& before_v) {
  const int64_t n = s.tokens, batch = q.size(0), heads = q.size(2), width = q.size(3);
  kv = kv < 0 ? n : std::min(kv, n);
  std::vector<Tensor> parts;
  if (s.lead > 0) {
    const auto entries = [&](const Tensor& x) {
      return x.slice(1, 0, s.lead * n).reshape({batch * s.lead, n, heads, width});
    };
    const auto out = attend(entries(q), joined(before_k, entries(k)), joined(before_v, entries(v)));
    parts.push_back(out.reshape({batch, s.lead * n, heads, width}));
  }
  if (s.groups > 0) {
    const auto entries = [&](const Tensor& x) {  // [B, G, 1 + r, n, heads, width]
      return x.slice(1, s.lead * n).unflatten(1, {s.groups, 1 + s.repeats, n});
    };
    const auto qs = entries(q), ks = entries(k), vs = entries(v);
    const auto clean = [&](const Tensor& x) { return merged(x.select(2, 0)); };
    const auto noisy = [&](const Tensor& x) {
      return x.slice(2, 1).reshape({batch * s.groups * s.repeats, n, heads, width});
    };
    /// What a noisy entry sees: the end of the clean one, and itself.
    const auto seen = [&](const Tensor& x) {
      if (s.repeats == 1) return merged(x.flatten(2, 3).slice(2, n - kv));
      const auto end = x.slice(2, 0, 1).slice(3, n - kv).expand({-1, -1, s.repeats, -1, -1, -1});
      return at::cat({end, x.slice(2, 1)}, 3).flatten(0, 2);
    };
    auto out =
        attend(clean(qs), clean(ks), clean(vs)).reshape({batch, s.groups, 1, n, heads, width});
    if (s.repeats > 0)
      out = at::cat({out, attend(noisy(qs), seen(ks), seen(vs))
                              .reshape({batch, s.groups, s.repeats, n, heads, width})},
                    2);
    parts.push_back(out.reshape({batch, -1, heads, width}));
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

Projected project(const Parameters& p, const Tensor& x, int64_t heads, double eps) {
  const auto q = nn::rms_norm(nn::affine(x, p("q.weight"), p("q.bias")), p("norm_q.weight"), eps),
             k = nn::rms_norm(nn::affine(x, p("k.weight"), p("k.bias")), p("norm_k.weight"), eps);
  return {in_heads(q, heads), in_heads(k, heads),
          in_heads(nn::affine(x, p("v.weight"), p("v.bias")), heads)};
}

Tensor cross_attention(const Parameters& p, const Tensor& x, const Tensor& context, int64_t padding,
                       int64_t heads, double eps) {
  auto v = nn::affine(context, p("v.weight"), p("v.bias"));
  if (context.size(1) > 1) {
    const auto q = nn::rms_norm(nn::affine(x, p("q.weight"), p("q.bias")), p("norm_q.weight"), eps),
               k = nn::rms_norm(nn::affine(context, p("k.weight"), p("k.bias")), p("norm_k.weight"),
                                eps);
    Tensor bias;  // equal keys count as often as they are there
    if (padding > 1) {
      bias = at::zeros({context.size(1)}, q.options());
      bias[-1].fill_(std::log(static_cast<double>(padding)));
    }
    v = attend(in_heads(q, heads), in_heads(k, heads), in_heads(v, heads), bias).flatten(2);
  }
  return nn::affine(v, p("o.weight"), p("o.bias"));
}

}  // namespace lact::video
