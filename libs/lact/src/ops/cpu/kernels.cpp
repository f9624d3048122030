#include "kernels.hpp"

#include "../../simd/arithmetic.hpp"

#include <cmath>

namespace lact::ops::cpu::LACT_SIMD {
namespace {

using namespace simd::LACT_SIMD;

template <class T, class A>
void swiglu(int64_t count, const T* a, const T* b, T* h) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A x = load(a + i);
    store(h + i, x * sigmoid(x) * load(b + i));
  }
}

template <class T, class A>
void swiglu_backward(int64_t count, T* a, T* b, T* h) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A x = load(a + i), y = load(b + i), g = load(h + i);
    const A s = sigmoid(x), silu = x * s;
    store(a + i, g * y * s * (1 + x * (1 - s)));
    store(b + i, g * silu);
    store(h + i, silu * y);
  }
}

template <class T, class A>
void delta_factors(int64_t rows, int64_t width, const T* a, const T* b, const T* e,
                   RateRows<A> rate, T* p, T* r, T* u) {
  for (int64_t t = 0; t < rows; ++t) {
    const A gate = rate.gate[t], up = rate.up[t], down = rate.down[t];
    const int64_t begin = t * width, end = begin + width;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const A x = load(a + i), y = load(b + i), z = load(e + i);
      const A s = sigmoid(x), silu = x * s;
      store(p + i, gate * z * y * s * (1 + x * (1 - s)));
      store(r + i, up * z * silu);
      store(u + i, down * silu * y);
    }
  }
}

template <class T, class A>
void delta_factors_last(int64_t rows, int64_t width, const T* a, const T* b, const A* rate, T* u) {
  for (int64_t t = 0; t < rows; ++t) {
    const A down = rate[t];
    const int64_t begin = t * width, end = begin + width;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const A x = load(a + i);
      store(u + i, down * x * sigmoid(x) * load(b + i));
    }
  }
}

template <class T, class A>
void delta_factors_backward(int64_t rows, int64_t width, T* a, T* b, T* e, T* p, T* r, T* u,
                            RateRows<A> rate, A* rate_gate, A* rate_up, A* rate_down) {
  for (int64_t t = 0; t < rows; ++t) {
    const A gate = rate.gate[t], up = rate.up[t], down = rate.down[t];
    const int64_t begin = t * width, end = begin + width;
    A sum_gate = 0, sum_up = 0, sum_down = 0;
#pragma omp simd reduction(+ : sum_gate, sum_up, sum_down)
    for (int64_t i = begin; i < end; ++i) {
      const A x = load(a + i), y = load(b + i), z = load(e + i);
      const A grad_p = load(p + i), grad_r = load(r + i), grad_u = load(u + i);
      const A s = sigmoid(x), silu = x * s;
      const A phi = s * (1 + x * (1 - s));                // silu'
      const A psi = s * (1 - s) * (2 + x * (1 - 2 * s));  // silu''
      sum_gate += grad_p * z * y * phi;
      sum_up += grad_r * z * silu;
      sum_down += grad_u * y * silu;
      store(a + i, gate * z * y * phi);
      store(b + i, up * z * silu);
      store(e + i, down * silu * y);
      store(p + i, (up * grad_r * z + down * grad_u * y) * phi + gate * grad_p * z * y * psi);
      store(r + i, gate * grad_p * z * phi + down * grad_u * silu);
      store(u + i, gate * grad_p * y * phi + up * grad_r * silu);
    }
    rate_gate[t] = sum_gate;
    rate_up[t] = sum_up;
    rate_down[t] = sum_down;
  }
}

template <class T, class A>
void delta_factors_last_backward(int64_t rows, int64_t width, T* a, T* b, T* u, const A* rate,
                                 A* rate_down) {
  for (int64_t t = 0; t < rows; ++t) {
    const A down = rate[t];
    const int64_t begin = t * width, end = begin + width;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) {
      const A x = load(a + i), y = load(b + i), grad_u = load(u + i);
      const A s = sigmoid(x), silu = x * s;
      sum += grad_u * y * silu;
      store(a + i, down * grad_u * y * s * (1 + x * (1 - s)));
      store(b + i, down * grad_u * silu);
      store(u + i, down * silu * y);
    }
    rate_down[t] = sum;
  }
}

/// What a row is multiplied by, and the size in the denominator.
template <class A>
struct RowScale {
  A squares, size;
  RowScale(A sum, double epsilon, bool inside)
      : squares(sum),
        size(inside ? std::sqrt(sum + static_cast<A>(epsilon))
                    : std::sqrt(sum) + static_cast<A>(epsilon)) {}
};

template <class A>
void rescale(int64_t rows, int64_t width, const A* base, const A* move, const A* norm,
             double epsilon, bool inside, A* u, A* w) {
  for (int64_t t = 0; t < rows; ++t, base += width, move += width, w += width) {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) {
      const A x = base[i] + move[i];
      if (u != nullptr) u[i] = x;
      w[i] = x;
      sum += x * x;
    }
    const A scale = norm[t] / RowScale<A>(sum, epsilon, inside).size;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) w[i] *= scale;
    if (u != nullptr) u += width;
  }
}

template <class A>
void rescale_backward(int64_t rows, int64_t width, const A* u, const A* norm, double epsilon,
                      bool inside, const A* grad_w, A* grad_u, A* grad_norm) {
  for (int64_t t = 0; t < rows; ++t, u += width, grad_w += width, grad_u += width) {
    A sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int64_t i = 0; i < width; ++i) {
      sum += u[i] * u[i];
      dot += u[i] * grad_w[i];
    }
    const RowScale<A> row(sum, epsilon, inside);
    grad_norm[t] += dot / row.size;
    const A scale = norm[t] / row.size;
    // d size / d u = u / |u|, or u / size with the epsilon inside; a row of zeros has none.
    const A radius = inside ? row.size : std::sqrt(sum);
    const A along = radius > 0 ? scale * dot / (row.size * radius) : A(0);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) grad_u[i] = scale * grad_w[i] - along * u[i];
  }
}

constexpr int64_t kTile = 16;  // of a transposition: both sides stay in the first cache

template <class A>
void symmetrize(int64_t n, A* x) {
  for (int64_t i0 = 0; i0 < n; i0 += kTile) {
    const int64_t i1 = i0 + kTile < n ? i0 + kTile : n;
    for (int64_t j0 = 0; j0 <= i0; j0 += kTile)
      for (int64_t i = i0; i < i1; ++i) {
        const int64_t j1 = j0 + kTile < i + 1 ? j0 + kTile : i + 1;
        for (int64_t j = j0; j < j1; ++j) x[j * n + i] = x[i * n + j] = x[i * n + j] + x[j * n + i];
      }
  }
}

template <class A>
void mirror(int64_t n, int64_t block, A* x) {
  for (int64_t i0 = block; i0 < n; i0 += kTile) {
    const int64_t i1 = i0 + kTile < n ? i0 + kTile : n;
    const int64_t until = i0 / block * block;  // columns of whole blocks left of the diagonal
    for (int64_t j0 = 0; j0 < until; j0 += kTile) {
      const int64_t j1 = j0 + kTile < until ? j0 + kTile : until;
      for (int64_t j = j0; j < j1; ++j)
        for (int64_t i = i0; i < i1; ++i) x[j * n + i] = x[i * n + j];
    }
  }
}

template <class A>
A softmax(int64_t keys, A scale, A* scores) {
  A most = scores[0], sum = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < keys; ++i) most = scores[i] > most ? scores[i] : most;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < keys; ++i) {
    scores[i] = exp_of_negative(A((scores[i] - most) * scale));
    sum += scores[i];
  }
  const A share = 1 / sum;
#pragma omp simd
  for (int64_t i = 0; i < keys; ++i) scores[i] *= share;
  return most * scale + std::log(sum);
}

template <class A>
void softmax_backward(int64_t keys, A scale, A log_sum, A* scores, A* gradients) {
  A along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t i = 0; i < keys; ++i) {
    const A x = scores[i] * scale - log_sum;
    scores[i] = exp_of_negative(x < 0 ? x : A(0));  // rounding may have left it above
    along += scores[i] * gradients[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < keys; ++i) gradients[i] = scale * scores[i] * (gradients[i] - along);
}

template <class T, class A>
constexpr TokenKernels<T, A> token_kernels() {
  return {swiglu<T, A>,
          swiglu_backward<T, A>,
          delta_factors<T, A>,
          delta_factors_last<T, A>,
          delta_factors_backward<T, A>,
          delta_factors_last_backward<T, A>};
}

template <class A>
constexpr RowKernels<A> row_kernels() {
  return {rescale<A>,    rescale_backward<A>, mirror<A>,
          symmetrize<A>, softmax<A>,          softmax_backward<A>};
}

}  // namespace

const AllKernels& kernels() {
  static const AllKernels all{token_kernels<float, float>(), token_kernels<double, double>(),
                              token_kernels<uint16_t, float>(), row_kernels<float>(),
                              row_kernels<double>()};
  return all;
}

}  // namespace lact::ops::cpu::LACT_SIMD
