#include "cost.hpp"

#include <algorithm>

namespace lact::views {
namespace {

using Kind = Sublayer::Kind;

double attention_flops(double tokens, double per_view, double d) {
  return 8 * tokens * d * d + 4 * tokens * per_view * d;
}

double fast_flops(const Config& c, const Sublayer& s, const Tokens& t) {
  const auto d = static_cast<double>(c.dim), heads = static_cast<double>(c.heads(s));
  const auto width = static_cast<double>(s.head_dim), hidden = static_cast<double>(c.hidden(s));
  const double low = std::min(width, hidden), high = std::max(width, hidden);
  // Rendering from a state makes queries alone.
  double sum =
      t.learned > 0 ? 8 * t.answered * d * d + 6 * t.answered * d * heads : 4 * t.answered * d * d;
  sum += heads * width * hidden * (12 * t.learned + 6 * t.answered);
  if (t.learned > 0)
    sum += 3 * heads * static_cast<double>(s.muon_steps) *
           (4 * low * low * high + 2 * low * low * low);
  return sum;
}

}  // namespace

double forward_flops(const Config& c, const Tokens& t) {
  const auto d = static_cast<double>(c.dim);
  const auto patch = static_cast<double>(c.patch_size * c.patch_size);
  double block = 0;
  for (const auto& s : c.block) {
    if (s.kind == Kind::attention) block += attention_flops(t.answered, t.per_view, d);
    if (s.kind == Kind::fast_weights) block += fast_flops(c, s, t);
    if (s.kind == Kind::mlp) block += 4 * t.answered * d * static_cast<double>(c.hidden(s));
  }
  return static_cast<double>(c.layers) * block + 24 * t.answered * d * patch +
         6 * t.rendered * d * patch;
}

int64_t parameter_count(const Config& config) {
  int64_t count = 0;
  for (const auto& [name, shape] : parameter_shapes(config)) {
    int64_t size = 1;
    for (const int64_t n : shape) size *= n;
    count += size;
  }
  return count;
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
