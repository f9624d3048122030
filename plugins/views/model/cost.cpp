#include "cost.hpp"

#include "sublayers.hpp"

#include <cmath>

namespace lact::views {
namespace {

using Kind = Sublayer::Kind;

double attention_flops(double tokens, double per_view, double d) {
  return 8 * tokens * d * d + 4 * tokens * per_view * d;
}

double fast_flops(const Config& c, const Sublayer& s, const Tokens& t) {
  const auto d = static_cast<double>(c.dim), heads = static_cast<double>(c.heads(s));
  // Rendering from a state makes queries alone.
  const double projections =
      t.context > 0 ? 8 * t.applied * d * d + 6 * t.applied * d * heads : 4 * t.applied * d * d;
  const auto context = std::llround(t.context), all = std::llround(t.applied);
  ops::Schedule plan{{{ops::Step::Kind::apply, 0, all}}, all, 0};
  if (context > 0) plan.steps.push_back({ops::Step::Kind::update, 0, context});
  const auto scan = ops::scan_cost(plan, rule(c, s, at::kFloat), c.heads(s), s.head_dim, s.head_dim,
                                   c.hidden(s), at::kFloat);
  return projections + scan.products + scan.orthogonalize;
}

}  // namespace

double forward_flops(const Config& c, const Tokens& t) {
  const auto d = static_cast<double>(c.dim);
  const auto patch = static_cast<double>(c.patch_size * c.patch_size);
  double block = 0;
  for (const auto& s : c.block) {
    if (s.kind == Kind::attention) block += attention_flops(t.applied, t.per_view, d);
    if (s.kind == Kind::fast_weights) block += fast_flops(c, s, t);
    if (s.kind == Kind::mlp) block += 4 * t.applied * d * static_cast<double>(c.hidden(s));
  }
  return static_cast<double>(c.layers) * block + 24 * t.applied * d * patch +
         6 * t.targets * d * patch;
}

int64_t state_bytes(const Config& c) {
  int64_t layer = 0;
  for (const auto& s : c.block)
    if (s.kind == Kind::fast_weights) layer += 3 * c.dim * c.hidden(s) * 4;
  return layer * c.layers;
}

double activation_bytes(const Config& c, double tokens, double bytes, bool recompute) {
  const auto d = static_cast<double>(c.dim);
  // Tensors of a token that the graph keeps, counted in the layers' code: the residual stream and
  // its norm in float32, inputs of products, queries, keys and values; hidden vectors.
  double layer = 0;
  for (const auto& s : c.block) {
    layer += 8 * d;  // residual, norm
    if (s.kind == Kind::attention) layer += bytes * 8 * d;
    if (s.kind == Kind::mlp) layer += bytes * (d + 2 * static_cast<double>(c.hidden(s)));
    if (s.kind == Kind::fast_weights)
      layer += bytes * (9 * d + 5 * static_cast<double>(c.heads(s) * c.hidden(s)));
  }
  const auto layers = static_cast<double>(c.layers);
  return tokens * (recompute ? layers * 4 * d + layer : layers * layer);
}

}  // namespace lact::views
