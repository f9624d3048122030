#pragma once
// The kernels between two products, by device: the CPU's in cpu/, CUDA's in cuda/.

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::ops::kernels {

/// Rates of the tokens of a tile, [n, T, 1] each.
struct TileRates {
  at::Tensor gate, up, down;
};

// Tensors of tokens are [n, T, F] with rows one after another, float32, float64 or bfloat16 (then
// computed in float32, and rates float32); see cpu/kernels.hpp for the formulas. Work is in place
// where outputs are inputs.

void swiglu(const at::Tensor& a, const at::Tensor& b, const at::Tensor& h);
void swiglu_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& h);
void delta_factors(const at::Tensor& a, const at::Tensor& b, const at::Tensor& e,
                   const TileRates& rate, const at::Tensor& p, const at::Tensor& r,
                   const at::Tensor& u);
void delta_factors_last(const at::Tensor& a, const at::Tensor& b, const TileRates& rate,
                        const at::Tensor& u);
void delta_factors_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& e,
                            const at::Tensor& p, const at::Tensor& r, const at::Tensor& u,
                            const TileRates& rate, const TileRates& grad_rate);
void delta_factors_last_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& u,
                                 const TileRates& rate, const TileRates& grad_rate);

/// w = base + move with rows rescaled to `norm` [n, rows, 1]; `u` receives base + move if defined.
/// Matrices [n, rows, columns], contiguous.
void rescale(const at::Tensor& base, const at::Tensor& move, const at::Tensor& norm, double epsilon,
             bool inside, const at::Tensor& u, const at::Tensor& w);
/// grad_w becomes u's gradient; norm's is added to grad_norm.
void rescale_backward(const at::Tensor& u, const at::Tensor& norm, double epsilon, bool inside,
                      const at::Tensor& grad_w, const at::Tensor& grad_norm);
/// The lower blocks of x [n, rows, rows], contiguous, are copied to above the diagonal. bfloat16 on
/// CUDA only.
void mirror(const at::Tensor& x, int64_t block);
/// x <- x + x^T, as above.
void symmetrize(const at::Tensor& x);

/// Some keys of a block of scores: what query `row` sees.
struct SeenKeys {
  int64_t row, first, last;
};
/// Scores [queries, keys], contiguous, float32 or float64 on a CPU, of which each query sees some:
/// they become probabilities, those not seen 0. `sums` [queries] receives the logarithms of sums.
void softmax(const at::Tensor& scores, const std::vector<SeenKeys>& seen, double scale,
             const at::Tensor& sums);
/// Scores become probabilities, gradients of these the gradients of q . k.
void softmax_backward(const at::Tensor& scores, const std::vector<SeenKeys>& seen, double scale,
                      const at::Tensor& sums, const at::Tensor& gradients);

}  // namespace lact::ops::kernels
