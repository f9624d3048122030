#include "launch.hpp"

#include "kernels.hpp"

#include <lact/error.hpp>

#include <c10/core/DeviceGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace lact::ops::kernels::cuda {
namespace {

using at::Tensor;
namespace device = lact::ops::cuda;

device::Number number(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return device::Number::f32;
    case at::kDouble:
      return device::Number::f64;
    case at::kBFloat16:
      return device::Number::bf16;
    default:
      throw Error(Exit::internal, "scan: no kernels for ", x.dtype().name());
  }
}

device::Rows rows(const Tensor& x) {
  return {x.data_ptr(), x.stride(0)};
}

device::RateRows rows(const TileRates& rate) {
  return {rows(rate.gate), rows(rate.up), rows(rate.down)};
}

device::Shape shape(const Tensor& x) {
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

void swiglu(const Tensor& a, const Tensor& b, const Tensor& h) {
  launch("swiglu", a, [&](cudaStream_t stream) {
    return device::swiglu(number(a), shape(a), rows(a), rows(b), rows(h), stream);
  });
}

void swiglu_backward(const Tensor& a, const Tensor& b, const Tensor& h) {
  launch("swiglu_backward", a, [&](cudaStream_t stream) {
    return device::swiglu_backward(number(a), shape(a), rows(a), rows(b), rows(h), stream);
  });
}

void delta_factors(const Tensor& a, const Tensor& b, const Tensor& e, const TileRates& rate,
                   const Tensor& p, const Tensor& r, const Tensor& u) {
  launch("delta_factors", a, [&](cudaStream_t stream) {
    return device::delta_factors(number(a), shape(a), rows(a), rows(b), rows(e), rows(rate),
                                 rows(p), rows(r), rows(u), stream);
  });
}

void delta_factors_last(const Tensor& a, const Tensor& b, const TileRates& rate, const Tensor& u) {
  launch("delta_factors_last", a, [&](cudaStream_t stream) {
    return device::delta_factors_last(number(a), shape(a), rows(a), rows(b), rows(rate.down),
                                      rows(u), stream);
  });
}

void delta_factors_backward(const Tensor& a, const Tensor& b, const Tensor& e, const Tensor& p,
                            const Tensor& r, const Tensor& u, const TileRates& rate,
                            const TileRates& grad_rate) {
  launch("delta_factors_backward", a, [&](cudaStream_t stream) {
    return device::delta_factors_backward(number(a), shape(a), rows(a), rows(b), rows(e), rows(p),
                                          rows(r), rows(u), rows(rate), rows(grad_rate), stream);
  });
}

void delta_factors_last_backward(const Tensor& a, const Tensor& b, const Tensor& u,
                                 const TileRates& rate, const TileRates& grad_rate) {
  launch("delta_factors_last_backward", a, [&](cudaStream_t stream) {
    return device::delta_factors_last_backward(number(a), shape(a), rows(a), rows(b), rows(u),
                                               rows(rate.down), rows(grad_rate.down), stream);
  });
}

void rescale(const Tensor& base, const Tensor& move, const Tensor& norm, double epsilon,
             bool inside, const Tensor& u, const Tensor& w) {
  launch("rescale", base, [&](cudaStream_t stream) {
    return device::rescale(number(base), all_rows(base), base.size(2), base.data_ptr(),
                           move.data_ptr(), norm.data_ptr(), epsilon, inside,
                           u.defined() ? u.data_ptr() : nullptr, w.data_ptr(), stream);
  });
}

void rescale_backward(const Tensor& u, const Tensor& norm, double epsilon, bool inside,
                      const Tensor& grad_w, const Tensor& grad_norm) {
  launch("rescale_backward", u, [&](cudaStream_t stream) {
    return device::rescale_backward(number(u), all_rows(u), u.size(2), u.data_ptr(),
                                    norm.data_ptr(), epsilon, inside, grad_w.data_ptr(),
                                    grad_norm.data_ptr(), stream);
  });
}

void mirror(const Tensor& x, int64_t block) {
  launch("mirror", x, [&](cudaStream_t stream) {
    return device::mirror(number(x), x.size(0), x.size(1), block, x.data_ptr(), stream);
  });
}

void symmetrize(const Tensor& x) {
  launch("symmetrize", x, [&](cudaStream_t stream) {
    return device::symmetrize(number(x), x.size(0), x.size(1), x.data_ptr(), stream);
  });
}

}  // namespace lact::ops::kernels::cuda
