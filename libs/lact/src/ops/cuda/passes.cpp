#include "passes.hpp"

#include "kernels.hpp"

#include <lact/error.hpp>

#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace lact::ops::passes::cuda {
namespace {

using at::Tensor;
namespace kernels = lact::ops::cuda;

kernels::Number number(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return kernels::Number::f32;
    case at::kDouble:
      return kernels::Number::f64;
    case at::kBFloat16:
      return kernels::Number::bf16;
    default:
      throw Error(Exit::internal, "scan: no passes for ", x.dtype().name());
  }
}

kernels::Rows rows(const Tensor& x) {
  return {x.data_ptr(), x.stride(0)};
}

kernels::RateRows rows(const TileRates& rate) {
  return {rows(rate.gate), rows(rate.up), rows(rate.down)};
}

kernels::Shape shape(const Tensor& x) {
  return {x.size(0), x.size(1), x.size(2)};
}

/// Rows of a contiguous tensor of matrices.
int64_t all_rows(const Tensor& x) {
  return x.size(0) * x.size(1);
}

/// start(stream) on x's device.
template <class F>
void launch(const char* what, const Tensor& x, const F& start) {
  const c10::DeviceGuard guard(x.device());
  const cudaError_t error = start(c10::cuda::getCurrentCUDAStream(x.get_device()).stream());
  if (error != cudaSuccess)
    throw Error(Exit::internal, "scan: ", what, " on ", x.device(), ": ",
                cudaGetErrorString(error));
}

}  // namespace

void gate(const Tensor& a, const Tensor& b, const Tensor& h) {
  launch("gate", a, [&](cudaStream_t stream) {
    return kernels::gate(number(a), shape(a), rows(a), rows(b), rows(h), stream);
  });
}

void gate_backward(const Tensor& a, const Tensor& b, const Tensor& h) {
  launch("gate_backward", a, [&](cudaStream_t stream) {
    return kernels::gate_backward(number(a), shape(a), rows(a), rows(b), rows(h), stream);
  });
}

void learn(const Tensor& a, const Tensor& b, const Tensor& e, const TileRates& rate,
           const Tensor& p, const Tensor& r, const Tensor& u) {
  launch("learn", a, [&](cudaStream_t stream) {
    return kernels::learn(number(a), shape(a), rows(a), rows(b), rows(e), rows(rate), rows(p),
                          rows(r), rows(u), stream);
  });
}

void learn_last(const Tensor& a, const Tensor& b, const TileRates& rate, const Tensor& u) {
  launch("learn_last", a, [&](cudaStream_t stream) {
    return kernels::learn_last(number(a), shape(a), rows(a), rows(b), rows(rate.down), rows(u),
                               stream);
  });
}

void learn_backward(const Tensor& a, const Tensor& b, const Tensor& e, const Tensor& p,
                    const Tensor& r, const Tensor& u, const TileRates& rate,
                    const TileRates& rate_) {
  launch("learn_backward", a, [&](cudaStream_t stream) {
    return kernels::learn_backward(number(a), shape(a), rows(a), rows(b), rows(e), rows(p), rows(r),
                                   rows(u), rows(rate), rows(rate_), stream);
  });
}

void learn_last_backward(const Tensor& a, const Tensor& b, const Tensor& u, const TileRates& rate,
                         const TileRates& rate_) {
  launch("learn_last_backward", a, [&](cudaStream_t stream) {
    return kernels::learn_last_backward(number(a), shape(a), rows(a), rows(b), rows(u),
                                        rows(rate.down), rows(rate_.down), stream);
  });
}

void rescale(const Tensor& base, const Tensor& move, const Tensor& norm, double epsilon,
             bool inside, const Tensor& u, const Tensor& w) {
  launch("rescale", base, [&](cudaStream_t stream) {
    return kernels::rescale(number(base), all_rows(base), base.size(2), base.data_ptr(),
                            move.data_ptr(), norm.data_ptr(), epsilon, inside,
                            u.defined() ? u.data_ptr() : nullptr, w.data_ptr(), stream);
  });
}

void rescale_backward(const Tensor& u, const Tensor& norm, double epsilon, bool inside,
                      const Tensor& w_, const Tensor& norm_) {
  launch("rescale_backward", u, [&](cudaStream_t stream) {
    return kernels::rescale_backward(number(u), all_rows(u), u.size(2), u.data_ptr(),
                                     norm.data_ptr(), epsilon, inside, w_.data_ptr(),
                                     norm_.data_ptr(), stream);
  });
}

void mirror(const Tensor& x, int64_t block) {
  launch("mirror", x, [&](cudaStream_t stream) {
    return kernels::mirror(number(x), x.size(0), x.size(1), block, x.data_ptr(), stream);
  });
}

void symmetrize(const Tensor& x) {
  launch("symmetrize", x, [&](cudaStream_t stream) {
    return kernels::symmetrize(number(x), x.size(0), x.size(1), x.data_ptr(), stream);
  });
}

}  // namespace lact::ops::passes::cuda
