#include "cost.hpp"

#include "fast_layer.hpp"

#include <algorithm>

namespace lact::video {
namespace {

double number(int64_t value) {
  return static_cast<double>(value);
}

/// Keys that a noisy chunk sees of the finished one before it.
double window_keys(const FastOptions& fast, int64_t tokens) {
  return number(fast.kv_cache_size < 0 ? tokens : std::min(fast.kv_cache_size, tokens));
}

double attention_flops(const Config& c, const Extent& s, bool fast) {
  const double n = number(s.tokens), d = number(c.dim);
  const double beside =
      fast ? number((s.chunks - 1) * s.repeats) * window_keys(*c.fast, s.tokens) : 0;
  return 4 * n * d * (number(s.entries()) * n + beside);
}

double fast_flops(const Config& c, const Extent& s) {
  const double heads = number(c.fast_heads());
  const double projections = 2 * number(s.length()) * number(c.dim) *
                             (3 * heads + 1 + (c.fast->momentum ? heads : 0));  // rates, gate
  const int64_t clean = c.fast->learn != "none" ? s.chunks - 1 : 0;
  ops::Schedule plan{{{ops::Step::Kind::apply, 0, s.length()}}, 0, 0};
  for (int64_t i = 0; i < clean; ++i)
    plan.steps.push_back({ops::Step::Kind::update, i * s.tokens, (i + 1) * s.tokens});
  const auto scan = ops::scan_cost(plan, rule(c, at::kFloat), c.fast_heads(), c.fast_head_dim(),
                                   c.fast_head_dim(), c.fast_hidden(), at::kFloat);
  return projections + scan.products + scan.orthogonalize;
}

double patch_numbers(const Config& c) {
  return number(c.patch_size[0] * c.patch_size[1] * c.patch_size[2]);
}

}  // namespace

double forward_flops(const Config& c, const Extent& s) {
  const double T = number(s.length()), d = number(c.dim), text = number(c.text_len);
  const double entries = number(s.entries());
  double sum = 2 * T * d * patch_numbers(c) * number(c.in_dim + c.out_dim);
  sum += 2 * text * d * (number(c.text_dim) + d);
  sum += 2 * entries * d * (number(c.freq_dim) + 7 * d);
  for (int64_t block = 0; block < c.num_layers; ++block) {
    const bool fast = c.has_fast(block);
    sum += 8 * T * d * d + attention_flops(c, s, fast);
    if (fast) sum += fast_flops(c, s);
    sum += 4 * T * d * d + 4 * text * d * d + 4 * T * text * d;  // attention to the text
    sum += 4 * T * d * number(c.ffn_dim);
  }
  return sum;
}

double state_bytes(const Config& c, int64_t tokens) {
  if (!c.fast) return 0;
  const double d = number(c.dim), hidden = number(c.fast_hidden());
  const double weights = 3 * d * hidden * (c.fast->momentum ? 2 : 1);
  const double norms = number(c.fast_heads()) * (2 * hidden + number(c.fast_head_dim()));
  double layers = 0;
  for (int64_t block = 0; block < c.num_layers; ++block) layers += c.has_fast(block);
  return 4 * layers * (weights + norms + 2 * window_keys(*c.fast, tokens) * d);
}

double activation_bytes(const Config& c, const Extent& s, double bytes, bool recompute) {
  const double T = number(s.length()), d = number(c.dim), ffn = number(c.ffn_dim);
  // Tensors of a token that the graph keeps: the residual stream in float32 after each of three
  // branches; inputs of products, queries, keys and values, what attention gave; hidden vectors.
  double all = 0, largest = 0;
  for (int64_t block = 0; block < c.num_layers; ++block) {
    double token = 12 * d + bytes * (16 * d + 2 * ffn);
    if (c.has_fast(block)) token += bytes * (4 * d + 5 * number(c.fast_heads() * c.fast_hidden()));
    all += token;
    largest = std::max(largest, token);
  }
  return T * (recompute ? number(c.num_layers) * 4 * d + largest : all);
}

}  // namespace lact::video
