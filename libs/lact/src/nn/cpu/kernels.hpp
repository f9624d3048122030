#pragma once
// The kernels of a layer between its products, a token or a row at a time, on one core; built once
// per instruction set, as ops/cpu/kernels.hpp.

#include <cstdint>

namespace lact::nn::cpu {

/// One token's row of a rotary table, `half` numbers each. half 0: nothing turns.
template <class A>
struct Turn {
  const A* cos;
  const A* sin;
  int64_t half;
  bool pairs;  ///< channel 2 i turns with 2 i + 1, not i with i + half
};

/// How a projection becomes fast queries, keys or values (spec/llm 5.4).
template <class A>
struct FastShape {
  int64_t heads, width;     ///< of the fast weights
  const A *scale, *offset;  ///< [heads * width], or null: x as it is
  bool silu;
  A epsilon;  ///< of unit lengths; below 0: lengths as they are
};

/// Heads of one token: how many, their width, and how far apart they are.
struct Heads {
  int64_t count, width, stride;
};

/// All kernels for values stored as T and computed as A (float for bfloat16). A name that ends in _
/// is a gradient; gradients of parameters, in A, are added to.
template <class T, class A>
struct TokenKernels {
  /// y = x / sqrt(mean(x^2) + epsilon) weight
  void (*rms_norm)(int64_t width, const T* x, const A* weight, A epsilon, T* y);
  void (*rms_norm_backward)(int64_t width, const T* x, const A* weight, A epsilon, const T* grad_y,
                            T* grad_x, A* grad_weight);
  /// Two channels each turn, by minus the angle if `back`. y: heads without gaps.
  void (*rotate)(Heads heads, const T* x, Turn<A> turn, bool back, T* y);
  /// Affine, silu, unit length of each head, rotation. y: heads `stride` apart. `scratch` holds
  /// heads * width numbers, and 3 times as many for the backward pass.
  void (*fast_input)(const FastShape<A>& shape, const T* x, Turn<A> turn, A* scratch, T* y,
                     int64_t stride);
  void (*fast_input_backward)(const FastShape<A>& shape, const T* x, Turn<A> turn, const T* grad_y,
                              int64_t stride, A* scratch, T* grad_x, A* grad_scale, A* grad_offset);
  /// y = attention + rms_norm(fast) silu(z), z one number a head, or null: without.
  void (*mix)(Heads attention_heads, const T* attention, Heads fast_heads, const T* fast,
              const A* weight, A epsilon, const T* z, A* scratch, T* y);
  /// attention's gradient is grad_y. grad_fast: heads `stride` apart.
  void (*mix_backward)(Heads fast_heads, const T* fast, const A* weight, A epsilon, const T* z,
                       const T* grad_y, T* grad_fast, int64_t stride, A* grad_weight, T* grad_z);
  /// Cross entropy of one row of logits, in nats; with `factor`, the logits become factor times
  /// their gradient.
  double (*entropy)(int64_t classes, T* logits, int64_t label, const A* factor);
};

struct AllKernels {
  TokenKernels<float, float> f32;
  TokenKernels<double, double> f64;
  TokenKernels<uint16_t, float> bf16;  // bfloat16 by its bits
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

}  // namespace lact::nn::cpu
