#pragma once
// What a block is made of. Source: spec/views 4.2 to 4.4. x is the normalised residual stream, in
// float32 or better; products are in `compute`; results are in it too.

#include "config.hpp"

#include <lact/nn/parameters.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::views {

/// Those of one sublayer by their names after "module_list.J.": "ln.weight", "f.to_qkv.weight".
using nn::Parameters;

/// LayerNorm without bias, epsilon 1e-5.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight);

/// x [S, L, d]: S sequences that do not see each other -> [S, L, d].
at::Tensor attention(const Sublayer& s, const Parameters& p, const at::Tensor& x,
                     at::ScalarType compute);
at::Tensor mlp(const Parameters& p, const at::Tensor& x, at::ScalarType compute);

/// How the fast weights of a sublayer are updated.
ops::Rule rule(const Config& config, const Sublayer& s, at::ScalarType compute);

/// The initial fast weights for `batch` sequences: [batch * heads, ...], head fastest.
ops::FastWeights initial_weights(const Parameters& p, int64_t batch);

/// x [B, L, d] -> [B, tokens applied, d], in token order; `state` moves on.
at::Tensor fast_weights(const Config& config, const Sublayer& s, const Parameters& p,
                        const at::Tensor& x, const ops::Schedule& plan, ops::FastState& state,
                        at::ScalarType compute, const ops::ScanOptions& options = {});

/// ops::delta of the tokens x [1, L, d] of one sequence: summed over tiles, it is one update's.
ops::FastWeights delta(const Config& config, const Sublayer& s, const Parameters& p,
                       const at::Tensor& x, const ops::FastWeights& w, at::ScalarType compute);
/// The fast weights applied to x [1, L, d].
at::Tensor apply(const Config& config, const Sublayer& s, const Parameters& p, const at::Tensor& x,
                 const ops::FastWeights& w, at::ScalarType compute);

/// How much of what the fast weights give the update on the first `context` tokens of x [1, L, d]
/// changes: |f_1(q) - f_0(q)| / |f_0(q)| over the queries of the others. 0: nothing is learned.
double write_strength(const Config& config, const Sublayer& s, const Parameters& p,
                      const at::Tensor& x, int64_t context, at::ScalarType compute);

/// All sublayers of a block, each x + f(LayerNorm(x)). x [B, L, d]; states: one for each sublayer
/// with fast weights; without any, they start from the parameters. `strengths`, if given, receives
/// the write strength of each of them, for a plan that updates on the first tokens once.
at::Tensor block(const Config& config, const std::vector<Parameters>& parameters,
                 const at::Tensor& x, int64_t tokens_per_view, const ops::Schedule& plan,
                 const std::vector<ops::FastState>* states, at::ScalarType compute,
                 const ops::ScanOptions& options = {}, std::vector<double>* strengths = nullptr);

}  // namespace lact::views
