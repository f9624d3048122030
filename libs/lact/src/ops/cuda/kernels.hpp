#pragma once
// The CUDA twins of ../cpu/kernels.hpp on raw memory. No LibTorch header here: nvcc then takes
// seconds, and LibTorch's runtime is the only one.
//
// All launchers return once the work is queued on `stream`, can be captured in a graph, and give
// the launch's error. Outputs may be inputs where the formulas say so.

#include <cuda_runtime_api.h>

#include <cstdint>

namespace lact::ops::cuda {

/// How numbers are stored. bfloat16 is computed in float32, and its rates are float32.
enum class Number { f32, f64, bf16 };

/// Rows of all heads: those of head i begin at data + i * stride numbers, one after another.
struct Rows {
  void* data;
  int64_t stride;
};

/// Of tensors of tokens [heads, rows, width]; rates have one number a row.
struct Shape {
  int64_t heads, rows, width;
};

struct RateRows {
  Rows gate, up, down;
};

// Formulas: ../cpu/kernels.hpp.
cudaError_t swiglu(Number number, const Shape& shape, Rows a, Rows b, Rows h, cudaStream_t stream);
cudaError_t swiglu_backward(Number number, const Shape& shape, Rows a, Rows b, Rows h,
                            cudaStream_t stream);
cudaError_t delta_factors(Number number, const Shape& shape, Rows a, Rows b, Rows e,
                          const RateRows& rate, Rows p, Rows r, Rows u, cudaStream_t stream);
cudaError_t delta_factors_last(Number number, const Shape& shape, Rows a, Rows b, Rows rate, Rows u,
                               cudaStream_t stream);
cudaError_t delta_factors_backward(Number number, const Shape& shape, Rows a, Rows b, Rows e,
                                   Rows p, Rows r, Rows u, const RateRows& rate,
                                   const RateRows& grad_rate, cudaStream_t stream);
cudaError_t delta_factors_last_backward(Number number, const Shape& shape, Rows a, Rows b, Rows u,
                                        Rows rate, Rows grad_rate, cudaStream_t stream);

/// Matrices [rows, width], contiguous, norm [rows]; float32 or float64. u may be null.
cudaError_t rescale(Number number, int64_t rows, int64_t width, const void* base, const void* move,
                    const void* norm, double epsilon, bool inside, void* u, void* w,
                    cudaStream_t stream);
/// grad_w becomes u's gradient; norm's is added to grad_norm.
cudaError_t rescale_backward(Number number, int64_t rows, int64_t width, const void* u,
                             const void* norm, double epsilon, bool inside, void* grad_w,
                             void* grad_norm, cudaStream_t stream);

/// Square matrices x [count, n, n]: x <- x + x^T.
cudaError_t symmetrize(Number number, int64_t count, int64_t n, void* x, cudaStream_t stream);
/// What lies below the diagonal of blocks of `block` rows is copied to above it.
cudaError_t mirror(Number number, int64_t count, int64_t n, int64_t block, void* x,
                   cudaStream_t stream);

}  // namespace lact::ops::cuda
