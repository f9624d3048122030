#pragma once
// The kernels of ../kernels.hpp on CUDA tensors: started on the current stream, never waited for.

#include "../kernels.hpp"

namespace lact::ops::kernels::cuda {

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
void rescale(const at::Tensor& base, const at::Tensor& move, const at::Tensor& norm, double epsilon,
             bool inside, const at::Tensor& u, const at::Tensor& w);
void rescale_backward(const at::Tensor& u, const at::Tensor& norm, double epsilon, bool inside,
                      const at::Tensor& grad_w, const at::Tensor& grad_norm);
void mirror(const at::Tensor& x, int64_t block);
void symmetrize(const at::Tensor& x);

}  // namespace lact::ops::kernels::cuda
