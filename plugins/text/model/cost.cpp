#include "cost.hpp"

#include "model.hpp"

#include <lact/ops/scan.hpp>

#include <algorithm>

namespace lact::text {
namespace {

/// Pairs of a query and a key it sees.
double attention_pairs(const Config& c, double length) {
  const double window = c.window_size ? static_cast<double>(*c.window_size) : length;
  if (length < window) return length * (length + 1) / 2;
  return window * length - window * (window - 1) / 2;
}

}  // namespace

double forward_flops(const Config& c, int64_t tokens, bool head) {
  const double L = static_cast<double>(tokens), d = static_cast<double>(c.hidden_size);
  const double N = static_cast<double>(c.num_lact_heads), D = static_cast<double>(c.fast_width());
  const double H = static_cast<double>(c.fast_hidden());
  double layer = 8 * L * d * d + 4 * d * attention_pairs(c, L);
  layer += 6 * L * d * static_cast<double>(c.mlp_hidden());
  if (c.use_fast_weights) {
    const auto rule = text::rule(c);
    const bool learns = rule.learn != ops::Learn::none;
    const double rates = learns ? (c.linear() ? 1.0 : 3.0) * static_cast<double>(c.lr_dim) : 0;
    const double projections =
        rates + (learns && rule.momentum ? 1 : 0) + (c.learnable_ttt_scale ? 1 : 0);
    layer += 2 * L * d * N * projections;
    const auto scan = ops::scan_cost(ops::shifted_block_causal(tokens, c.lact_chunk_size), rule,
                                     c.num_lact_heads, c.fast_width(), c.fast_width(),
                                     c.linear() ? 0 : c.fast_hidden(), at::kFloat);
    layer += scan.products + scan.orthogonalize;
    if (c.w0_w2_low_rank > 0 && !c.linear())
      layer += 4 * N * H * static_cast<double>(c.w0_w2_low_rank) * D;
  }
  const double output = head ? 2 * L * d * static_cast<double>(c.vocab_size) : 0;
  return layer * static_cast<double>(c.num_hidden_layers) + output;
}

int64_t state_bytes(const Config& c, int64_t activation_bytes) {
  int64_t layer = 0;
  if (c.window_size) layer += 2 * (*c.window_size - 1) * c.hidden_size * activation_bytes;
  if (c.use_fast_weights) {
    const bool learns = c.learn != "none";
    const int64_t matrices = c.linear() ? 1 : 3, momentum = learns && rule(c).momentum ? 1 : 0;
    const int64_t hidden = c.linear() ? c.fast_width() : c.fast_hidden();
    const int64_t weights = matrices * c.num_lact_heads * c.fast_width() * hidden;
    const int64_t norms = c.num_lact_heads * ((matrices - 1) * hidden + c.fast_width());
    const int64_t copies = 1 + momentum + (c.ttt_prenorm ? 1 : 0);
    layer += 4 * (weights * copies + (!learns || c.weight_norm == "off" ? 0 : norms));
    if (learns)
      layer += c.lact_chunk_size * (2 * c.hidden_size * activation_bytes +
                                    4 * c.num_lact_heads * (matrices * c.lr_dim + momentum));
  }
  return layer * c.num_hidden_layers;
}

double activation_bytes(const Config& c, int64_t batch, int64_t length, int64_t bytes,
                        bool recompute) {
  const double tokens = static_cast<double>(batch * length), d = static_cast<double>(c.hidden_size);
  const double mlp = static_cast<double>(c.mlp_hidden());
  // Tensors of a token that the graph keeps, counted in the layer's code: inputs of norms and of
  // products of width d, queries, keys and values; two of the feed-forward network's hidden width.
  double layer = 14 * d + 2 * mlp;
  if (c.use_fast_weights) {
    const auto scan = ops::scan_cost({}, rule(c), c.num_lact_heads, c.fast_width(), c.fast_width(),
                                     c.linear() ? 0 : c.fast_hidden(), at::kFloat);
    layer += 5 * d + scan.saved_per_token / 4;
  }
  const double layers = static_cast<double>(c.num_hidden_layers);
  const double kept = recompute ? layers * d + layer : layers * layer;
  return tokens * kept * static_cast<double>(bytes);
}

}  // namespace lact::text
