#include "kernels.hpp"

#include "../../simd/arithmetic.hpp"

#include <cmath>

namespace lact::nn::cpu::LACT_SIMD {
namespace {

using namespace simd::LACT_SIMD;

/// 1 / sqrt(mean(x^2) + epsilon)
template <class T, class A>
A inverse_root(int64_t width, const T* x, A epsilon) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) {
    const A v = load(x + i);
    sum += v * v;
  }
  return 1 / std::sqrt(sum / static_cast<A>(width) + epsilon);
}

/// Of y = gain x s weight, s the inverse root of x: grad_x = gain s (grad_y w - x s^2 mean(grad_y w
/// x)). Returns the sum of grad_y w x.
template <class T, class A>
A norm_backward(int64_t width, const T* x, const A* weight, A s, A gain, const T* grad_y, T* grad_x,
                A* grad_weight) {
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < width; ++i) {
    const A v = load(x + i), g = load(grad_y + i);
    dot += g * weight[i] * v;
    grad_weight[i] += gain * g * v * s;
  }
  const A along = s * s * dot / static_cast<A>(width);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i)
    store(grad_x + i, gain * s * (load(grad_y + i) * weight[i] - load(x + i) * along));
  return dot;
}

template <class T, class A>
void rms_norm(int64_t width, const T* x, const A* weight, A epsilon, T* y) {
  const A s = inverse_root(width, x, epsilon);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) store(y + i, load(x + i) * s * weight[i]);
}

template <class T, class A>
void rms_norm_backward(int64_t width, const T* x, const A* weight, A epsilon, const T* grad_y,
                       T* grad_x, A* grad_weight) {
  norm_backward(width, x, weight, inverse_root(width, x, epsilon), A(1), grad_y, grad_x,
                grad_weight);
}

template <class X, class Y, class A>
void turn_head(const X* x, const Turn<A>& turn, A sign, Y* y) {
  const int64_t half = turn.half;
  if (turn.pairs) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const A a = load(x + 2 * i), b = load(x + 2 * i + 1), c = turn.cos[i], s = sign * turn.sin[i];
      store(y + 2 * i, a * c - b * s);
      store(y + 2 * i + 1, a * s + b * c);
    }
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const A a = load(x + i), b = load(x + half + i), c = turn.cos[i], s = sign * turn.sin[i];
    store(y + i, a * c - b * s);
    store(y + half + i, a * s + b * c);
  }
}

template <class T, class A>
void rotate(Heads heads, const T* x, Turn<A> turn, bool back, T* y) {
  for (int64_t h = 0; h < heads.count; ++h)
    turn_head(x + h * heads.stride, turn, back ? A(-1) : A(1), y + h * heads.width);
}

/// All of one token, in blocks of the table's width.
template <class A>
void turn_token(int64_t width, const Turn<A>& turn, A sign, A* x) {
  if (turn.half == 0) return;
  for (int64_t i = 0; i < width; i += 2 * turn.half) turn_head(x + i, turn, sign, x + i);
}

template <class T, class A>
void affine(const FastShape<A>& shape, const T* x, A* y) {
  const int64_t all = shape.heads * shape.width;
  if (shape.scale == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < all; ++i) y[i] = load(x + i);
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < all; ++i) y[i] = load(x + i) * shape.scale[i] + shape.offset[i];
}

template <class A>
A squares(int64_t width, const A* x) {
  A sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  return sum;
}

template <class T, class A>
void fast_input(const FastShape<A>& shape, const T* x, Turn<A> turn, A* v, T* y, int64_t stride) {
  const int64_t width = shape.width, all = shape.heads * width;
  affine(shape, x, v);
  if (shape.silu) {
#pragma omp simd
    for (int64_t i = 0; i < all; ++i) v[i] *= sigmoid(v[i]);
  }
  if (shape.epsilon >= 0)
    for (int64_t h = 0; h < shape.heads; ++h) {
      A* u = v + h * width;
      const A scale = 1 / (std::sqrt(squares(width, u)) + shape.epsilon);
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) u[i] *= scale;
    }
  turn_token(all, turn, A(1), v);
  for (int64_t h = 0; h < shape.heads; ++h) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) store(y + h * stride + i, v[h * width + i]);
  }
}

/// Through u / (|u| + epsilon): g becomes the gradient by u.
template <class A>
void unit_backward(int64_t width, const A* u, A epsilon, A* g) {
  const A size = std::sqrt(squares(width, u)), scale = 1 / (size + epsilon);
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < width; ++i) dot += g[i] * u[i];
  const A along = size > 0 ? dot * scale * scale / size : A(0);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) g[i] = g[i] * scale - u[i] * along;
}

template <class T, class A>
void fast_input_backward(const FastShape<A>& shape, const T* x, Turn<A> turn, const T* grad_y,
                         int64_t stride, A* scratch, T* grad_x, A* grad_scale, A* grad_offset) {
  const int64_t width = shape.width, all = shape.heads * width;
  A *v = scratch, *u = scratch + all, *g = scratch + 2 * all;
  affine(shape, x, v);
  for (int64_t h = 0; h < shape.heads; ++h) {
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) g[h * width + i] = load(grad_y + h * stride + i);
  }
  turn_token(all, turn, A(-1), g);
#pragma omp simd
  for (int64_t i = 0; i < all; ++i) u[i] = shape.silu ? v[i] * sigmoid(v[i]) : v[i];
  if (shape.epsilon >= 0)
    for (int64_t h = 0; h < shape.heads; ++h)
      unit_backward(width, u + h * width, shape.epsilon, g + h * width);
  if (shape.silu) {
#pragma omp simd
    for (int64_t i = 0; i < all; ++i) {
      const A s = sigmoid(v[i]);
      g[i] *= s * (1 + v[i] * (1 - s));
    }
  }
  if (shape.scale == nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < all; ++i) store(grad_x + i, g[i]);
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < all; ++i) {
    grad_scale[i] += g[i] * load(x + i);
    grad_offset[i] += g[i];
    store(grad_x + i, g[i] * shape.scale[i]);
  }
}

template <class T, class A>
void mix(Heads attention_heads, const T* attention, Heads fast_heads, const T* fast,
         const A* weight, A epsilon, const T* z, A* sum, T* y) {
  for (int64_t h = 0; h < attention_heads.count; ++h) {
    const int64_t width = attention_heads.width;
    const T* from = attention + h * attention_heads.stride;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) sum[h * width + i] = load(from + i);
  }
  for (int64_t h = 0; h < fast_heads.count; ++h) {
    const int64_t width = fast_heads.width, at = h * width;
    const T* from = fast + h * fast_heads.stride;
    A gain = inverse_root(width, from, epsilon);
    if (z != nullptr) gain *= load(z + h) * sigmoid(A(load(z + h)));
#pragma omp simd
    for (int64_t i = 0; i < width; ++i)
      store(y + at + i, sum[at + i] + load(from + i) * gain * weight[i]);
  }
}

template <class T, class A>
void mix_backward(Heads fast_heads, const T* fast, const A* weight, A epsilon, const T* z,
                  const T* grad_y, T* grad_fast, int64_t stride, A* grad_weight, T* grad_z) {
  for (int64_t h = 0; h < fast_heads.count; ++h) {
    const int64_t width = fast_heads.width;
    const T* from = fast + h * fast_heads.stride;
    const A s = inverse_root(width, from, epsilon), x = z == nullptr ? A(0) : A(load(z + h));
    const A t = sigmoid(x), gain = z == nullptr ? A(1) : x * t;
    const A dot = norm_backward(width, from, weight, s, gain, grad_y + h * width,
                                grad_fast + h * stride, grad_weight);
    if (z != nullptr) store(grad_z + h, dot * s * t * (1 + x * (1 - t)));
  }
}

template <class T, class A>
double entropy(int64_t classes, T* logits, int64_t label, const A* factor) {
  A most = load(logits), sum = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < classes; ++i) {
    const A x = load(logits + i);
    most = x > most ? x : most;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < classes; ++i) sum += exp_of_negative(A(load(logits + i) - most));
  const A wanted = load(logits + label) - most;
  if (factor != nullptr) {
    const A scale = *factor / sum;
#pragma omp simd
    for (int64_t i = 0; i < classes; ++i)
      store(logits + i, exp_of_negative(A(load(logits + i) - most)) * scale);
    // Not from the stored number, which may be rounded.
    store(logits + label, *factor * (exp_of_negative(wanted) / sum - 1));
  }
  return std::log(static_cast<double>(sum)) - static_cast<double>(wanted);
}

template <class T, class A>
constexpr TokenKernels<T, A> all_kernels() {
  return {rms_norm<T, A>,
          rms_norm_backward<T, A>,
          rotate<T, A>,
          fast_input<T, A>,
          fast_input_backward<T, A>,
          mix<T, A>,
          mix_backward<T, A>,
          entropy<T, A>};
}

}  // namespace

const AllKernels& kernels() {
  static const AllKernels all{all_kernels<float, float>(), all_kernels<double, double>(),
                              all_kernels<uint16_t, float>()};
  return all;
}

}  // namespace lact::nn::cpu::LACT_SIMD
