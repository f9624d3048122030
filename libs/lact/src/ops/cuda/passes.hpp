#pragma once
// The passes of ../passes.hpp on CUDA tensors: started on the current stream, never waited for.

#include "../passes.hpp"

namespace lact::ops::passes::cuda {

void gate(const at::Tensor& a, const at::Tensor& b, const at::Tensor& h);
void gate_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& h);
void learn(const at::Tensor& a, const at::Tensor& b, const at::Tensor& e, const TileRates& rate,
           const at::Tensor& p, const at::Tensor& r, const at::Tensor& u);
void learn_last(const at::Tensor& a, const at::Tensor& b, const TileRates& rate,
                const at::Tensor& u);
void learn_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& e,
                    const at::Tensor& p, const at::Tensor& r, const at::Tensor& u,
                    const TileRates& rate, const TileRates& rate_);
void learn_last_backward(const at::Tensor& a, const at::Tensor& b, const at::Tensor& u,
                         const TileRates& rate, const TileRates& rate_);
void rescale(const at::Tensor& base, const at::Tensor& move, const at::Tensor& norm, double epsilon,
             bool inside, const at::Tensor& u, const at::Tensor& w);
void rescale_backward(const at::Tensor& u, const at::Tensor& norm, double epsilon, bool inside,
                      const at::Tensor& w_, const at::Tensor& norm_);
void mirror(const at::Tensor& x, int64_t block);
void symmetrize(const at::Tensor& x);

}  // namespace lact::ops::passes::cuda
