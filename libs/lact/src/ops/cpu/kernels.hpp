#pragma once
// The kernels between two products, on one core: plain loops that a compiler turns into vector
// code, built once per instruction set. No LibTorch header here: inline functions of theirs,
// compiled for AVX-512, would reach programs on machines without.

#include <cstdint>

namespace lact::ops::cpu {

/// Inner rates of consecutive tokens, one number each.
template <class A>
struct RateRows {
  const A* gate;
  const A* up;
  const A* down;
};

/// All kernels for values stored as T and computed as A (float for bfloat16). Matrices are
/// [rows, width], rows one after another; any output may be one of the inputs.
template <class T, class A>
struct TokenKernels {
  /// h = silu(a) b
  void (*swiglu)(int64_t count, const T* a, const T* b, T* h);
  /// a, b, and h's gradient in; their places receive a's and b's gradients, and h.
  void (*swiglu_backward)(int64_t count, T* a, T* b, T* h);
  /// a, b, e in; p = rate.gate e b silu'(a), r = rate.up e silu(a), u = rate.down silu(a) b.
  void (*delta_factors)(int64_t rows, int64_t width, const T* a, const T* b, const T* e,
                        RateRows<A> rate, T* p, T* r, T* u);
  /// u alone, where only `down` is updated.
  void (*delta_factors_last)(int64_t rows, int64_t width, const T* a, const T* b, const A* rate,
                             T* u);
  /// In: a, b, e and the gradients of p, r, u. Out, in the same places: p, r, u and the gradients
  /// of a, b, e. The rates' gradients go to rate_gate, rate_up, rate_down [rows].
  void (*delta_factors_backward)(int64_t rows, int64_t width, T* a, T* b, T* e, T* p, T* r, T* u,
                                 RateRows<A> rate, A* rate_gate, A* rate_up, A* rate_down);
  /// In: a, b and the gradient of u. Out, in the same places: the gradients of a and b, and u.
  void (*delta_factors_last_backward)(int64_t rows, int64_t width, T* a, T* b, T* u, const A* rate,
                                      A* rate_down);
};

/// TokenKernels in float32 or float64 alone.
template <class A>
struct RowKernels {
  /// w = u / (|u| + epsilon) r of each row (or u / sqrt(|u|^2 + epsilon) r), u = base + move.
  /// u may be null, or base or move.
  void (*rescale)(int64_t rows, int64_t width, const A* base, const A* move, const A* norm,
                  double epsilon, bool inside, A* u, A* w);
  /// gradient of w in, gradient of u out (the same place allowed); r's is added to grad_norm.
  void (*rescale_backward)(int64_t rows, int64_t width, const A* u, const A* norm, double epsilon,
                           bool inside, const A* grad_w, A* grad_u, A* grad_norm);
  /// Copies what lies below the diagonal of blocks to above it: x [n, n] becomes symmetric.
  void (*mirror)(int64_t n, int64_t block, A* x);
  /// x <- x + x^T
  void (*symmetrize)(int64_t n, A* x);
  /// The scores of one query with the keys that it sees become their probabilities. Returns the
  /// logarithm of the sum of exp(scale scores).
  A (*softmax)(int64_t keys, A scale, A* scores);
  /// In: scores and the gradients of the probabilities. Out, in the same places: the probabilities,
  /// and the gradients of q . k.
  void (*softmax_backward)(int64_t keys, A scale, A log_sum, A* scores, A* gradients);
};

struct AllKernels {
  TokenKernels<float, float> f32;
  TokenKernels<double, double> f64;
  TokenKernels<uint16_t, float> bf16;  // bfloat16 by its bits
  RowKernels<float> rows32;
  RowKernels<double> rows64;
};

namespace base {
const AllKernels& kernels();
}
#ifdef __x86_64__
namespace avx2 {
const AllKernels& kernels();
}
namespace avx512 {
const AllKernels& kernels();
}
#endif

}  // namespace lact::ops::cpu
