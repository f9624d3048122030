#include "block.hpp"

#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>

namespace lact::video {
namespace {

using at::Tensor;

/// Six rows [B, E, 1, d] of a block's modulation.
std::vector<Tensor> rows(const BlockParameters& parameters, const Tensor& e) {
  return (parameters.all("modulation") + e).split(1, 2);
}

/// x + gate y, gate [B, E, 1, d].
Tensor added(const Tensor& x, const Tensor& gate, const Tensor& y) {
  const auto apart = [&](const Tensor& all) { return all.unflatten(1, {gate.size(1), -1}); };
  return at::addcmul(apart(x), gate, apart(y.to(x.dtype()))).flatten(1, 2);
}

LayerOutput self_attention(const Config& c, const BlockParameters& parameters, int64_t index,
                           const Tensor& x, const Pass& pass, const LayerMemory* memory) {
  const auto& p = parameters.self;
  if (c.has_fast(index)) return fast_layer(c, p, x, pass, memory);
  // Whole entries: what a table of their own turns is their tokens.
  const auto own = project(p, x.to(pass.compute), c.num_heads, c.eps);
  const auto in = to_heads(pass, {own.q, own.k, own.v});
  const auto turned = [&](const Tensor& y) {
    const auto entries = y.unflatten(1, {-1, pass.sequence.tokens}).flatten(0, 1);
    return nn::rotate(entries, pass.entry).view(y.sizes());
  };
  const auto out = entry_attention(turned(in[0]), turned(in[1]), in[2], pass.sequence.tokens);
  return {nn::affine(to_tokens(pass, out.flatten(2)), p("o.weight"), p("o.bias")), {}};
}

}  // namespace

BlockParameters::BlockParameters(const Parameters& block)
    : all(block), self(block.under("self_attn.")), cross(block.under("cross_attn.")) {}

Tensor modulated(const Tensor& x, const Tensor& shift, const Tensor& scale, double eps) {
  const auto y = at::layer_norm(x, {x.size(-1)}, {}, {}, eps).unflatten(1, {shift.size(1), -1});
  return at::addcmul(shift, y, 1 + scale).flatten(1, 2);
}

LayerOutput block(const Config& c, const BlockParameters& parameters, int64_t index,
                  const Tensor& in, const Tensor& e, const Tensor& context, int64_t padding,
                  const Pass& pass, const LayerMemory* memory) {
  const auto row = rows(parameters, e);
  const auto& p = parameters.all;
  auto first =
      self_attention(c, parameters, index, modulated(in, row[0], row[1], c.eps), pass, memory);
  auto x = added(in, row[2], first.out);
  Tensor y;  // one row of text says the same to all tokens
  if (context.size(1) > 1)
    y = at::layer_norm(x, {c.dim}, p("norm3.weight").to(x.dtype()), p("norm3.bias").to(x.dtype()),
                       c.eps)
            .to(pass.compute);
  x = x + cross_attention(parameters.cross, y, context, padding, c.num_heads, c.eps);
  const auto hidden = nn::affine(modulated(x, row[3], row[4], c.eps).to(pass.compute),
                                 p("ffn.0.weight"), p("ffn.0.bias"));
  x = added(x, row[5], nn::affine(at::gelu(hidden, "tanh"), p("ffn.2.weight"), p("ffn.2.bias")));
  return {x, std::move(first.memory)};
}

LayerMemory next_memory(const Config& c, const BlockParameters& parameters, const Tensor& x,
                        const Tensor& e, const Pass& pass, const LayerMemory& memory) {
  const auto row = rows(parameters, e);
  return fast_layer(c, parameters.self, modulated(x, row[0], row[1], c.eps), pass, &memory).memory;
}

}  // namespace lact::video
