#include "kernels.hpp"

#include "../simd/best.hpp"
#include "cpu/kernels.hpp"
#include "cuda/launch.hpp"

#include <lact/error.hpp>

#include <ATen/Parallel.h>

#include <algorithm>

namespace lact::ops::kernels {
namespace {

using at::Tensor;

const cpu::AllKernels& best() {
  return LACT_BEST(cpu);
}

template <class T>
T* data(const Tensor& x, int64_t head) {
  return static_cast<T*>(x.data_ptr()) + head * x.stride(0);
}

/// Tokens that are worth a core of their own.
int64_t grain(int64_t width) {
  constexpr int64_t kNumbers = 16384;
  return std::max<int64_t>(1, kNumbers / std::max<int64_t>(width, 1));
}

void require_cpu(const Tensor& x) {
  if (!x.is_cpu())
    throw Error(Exit::unavailable, "scan: no kernels for ", x.device(),
                " in this build (-Dcuda=enabled makes CUDA's)");
}

/// Some rows of one head: where they lie in each tensor.
template <class T, class A>
struct Piece {
  int64_t head, row, rows, width;
  T* operator()(const Tensor& x) const { return data<T>(x, head) + row * width; }
  A* rate(const Tensor& x) const { return data<A>(x, head) + row; }
  cpu::RateRows<A> rates(const TileRates& x) const {
    return {rate(x.gate), rate(x.up), rate(x.down)};
  }
};

template <class T, class A, class F>
void over_pieces(const Tensor& x, const cpu::TokenKernels<T, A>& kernels, const F& f) {
  const int64_t width = x.size(2);
  for (int64_t head = 0; head < x.size(0); ++head)
    at::parallel_for(0, x.size(1), grain(width), [&](int64_t begin, int64_t end) {
      f(kernels, Piece<T, A>{head, begin, end - begin, width});
    });
}

/// f(kernels, piece) over all rows of x [n, T, F], shared out to the cores unless already inside
/// the part of one.
template <class F>
void over_pieces(const Tensor& x, const F& f) {
  require_cpu(x);
  switch (x.scalar_type()) {
    case at::kFloat:
      return over_pieces(x, best().f32, f);
    case at::kDouble:
      return over_pieces(x, best().f64, f);
    case at::kBFloat16:
      return over_pieces(x, best().bf16, f);
    default:
      throw Error(Exit::internal, "scan: no kernels for ", x.dtype().name());
  }
}

#ifdef LACT_CUDA
constexpr bool kCuda = true;
#else
constexpr bool kCuda = false;
#endif

}  // namespace

void swiglu(const Tensor& a, const Tensor& b, const Tensor& h) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::swiglu(a, b, h);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.swiglu(at.rows * at.width, at(a), at(b), at(h));
  });
}

void swiglu_backward(const Tensor& a, const Tensor& b, const Tensor& h) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::swiglu_backward(a, b, h);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.swiglu_backward(at.rows * at.width, at(a), at(b), at(h));
  });
}

void delta_factors(const Tensor& a, const Tensor& b, const Tensor& e, const TileRates& rate,
                   const Tensor& p, const Tensor& r, const Tensor& u) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::delta_factors(a, b, e, rate, p, r, u);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.delta_factors(at.rows, at.width, at(a), at(b), at(e), at.rates(rate), at(p), at(r),
                          at(u));
  });
}

void delta_factors_last(const Tensor& a, const Tensor& b, const TileRates& rate, const Tensor& u) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::delta_factors_last(a, b, rate, u);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.delta_factors_last(at.rows, at.width, at(a), at(b), at.rate(rate.down), at(u));
  });
}

void delta_factors_backward(const Tensor& a, const Tensor& b, const Tensor& e, const Tensor& p,
                            const Tensor& r, const Tensor& u, const TileRates& rate,
                            const TileRates& grad_rate) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::delta_factors_backward(a, b, e, p, r, u, rate, grad_rate);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.delta_factors_backward(at.rows, at.width, at(a), at(b), at(e), at(p), at(r), at(u),
                                   at.rates(rate), at.rate(grad_rate.gate), at.rate(grad_rate.up),
                                   at.rate(grad_rate.down));
  });
}

void delta_factors_last_backward(const Tensor& a, const Tensor& b, const Tensor& u,
                                 const TileRates& rate, const TileRates& grad_rate) {
  if constexpr (kCuda)
    if (a.is_cuda()) return cuda::delta_factors_last_backward(a, b, u, rate, grad_rate);
  over_pieces(a, [&](const auto& kernels, const auto& at) {
    kernels.delta_factors_last_backward(at.rows, at.width, at(a), at(b), at(u), at.rate(rate.down),
                                        at.rate(grad_rate.down));
  });
}

namespace {

/// f(row kernels, compute type) for float32 or float64.
template <class F>
void by_wide_type(const Tensor& x, const F& f) {
  require_cpu(x);
  if (x.scalar_type() == at::kFloat) return f(best().rows32, float{});
  if (x.scalar_type() == at::kDouble) return f(best().rows64, double{});
  throw Error(Exit::internal, "scan: fast weights in ", x.dtype().name());
}

}  // namespace

void rescale(const Tensor& base, const Tensor& move, const Tensor& norm, double epsilon,
             bool inside, const Tensor& u, const Tensor& w) {
  if constexpr (kCuda)
    if (base.is_cuda()) return cuda::rescale(base, move, norm, epsilon, inside, u, w);
  by_wide_type(base, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    const int64_t width = base.size(2);
    const auto all = [&](const Tensor& x) { return static_cast<A*>(x.data_ptr()); };
    at::parallel_for(0, base.numel() / width, grain(width), [&](int64_t begin, int64_t end) {
      const int64_t at = begin * width;
      kernels.rescale(end - begin, width, all(base) + at, all(move) + at, all(norm) + begin,
                      epsilon, inside, u.defined() ? all(u) + at : nullptr, all(w) + at);
    });
  });
}

void rescale_backward(const Tensor& u, const Tensor& norm, double epsilon, bool inside,
                      const Tensor& grad_w, const Tensor& grad_norm) {
  if constexpr (kCuda)
    if (u.is_cuda()) return cuda::rescale_backward(u, norm, epsilon, inside, grad_w, grad_norm);
  by_wide_type(u, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    const int64_t width = u.size(2);
    const auto all = [&](const Tensor& x) { return static_cast<A*>(x.data_ptr()); };
    at::parallel_for(0, u.numel() / width, grain(width), [&](int64_t begin, int64_t end) {
      const int64_t at = begin * width;
      kernels.rescale_backward(end - begin, width, all(u) + at, all(norm) + begin, epsilon, inside,
                               all(grad_w) + at, all(grad_w) + at, all(grad_norm) + begin);
    });
  });
}

void symmetrize(const Tensor& x) {
  if constexpr (kCuda)
    if (x.is_cuda()) return cuda::symmetrize(x);
  by_wide_type(x, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    for (int64_t i = 0; i < x.size(0); ++i) kernels.symmetrize(x.size(1), data<A>(x, i));
  });
}

void mirror(const Tensor& x, int64_t block) {
  if constexpr (kCuda)
    if (x.is_cuda()) return cuda::mirror(x, block);
  by_wide_type(x, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    for (int64_t i = 0; i < x.size(0); ++i) kernels.mirror(x.size(1), block, data<A>(x, i));
  });
}

namespace {

/// Row `one` of scores, with zeros where its query sees nothing.
template <class A>
A* seen_row(const Tensor& scores, const SeenKeys& one) {
  A* row = static_cast<A*>(scores.data_ptr()) + one.row * scores.size(1);
  std::fill(row, row + one.first, A(0));
  std::fill(row + one.last, row + scores.size(1), A(0));
  return row + one.first;
}

}  // namespace

void softmax(const Tensor& scores, const std::vector<SeenKeys>& seen, double scale,
             const Tensor& sums) {
  by_wide_type(scores, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    for (const auto& one : seen)
      static_cast<A*>(sums.data_ptr())[one.row] =
          kernels.softmax(one.last - one.first, static_cast<A>(scale), seen_row<A>(scores, one));
  });
}

void softmax_backward(const Tensor& scores, const std::vector<SeenKeys>& seen, double scale,
                      const Tensor& sums, const Tensor& gradients) {
  by_wide_type(scores, [&](const auto& kernels, auto computed) {
    using A = decltype(computed);
    for (const auto& one : seen)
      kernels.softmax_backward(one.last - one.first, static_cast<A>(scale),
                               static_cast<const A*>(sums.const_data_ptr())[one.row],
                               seen_row<A>(scores, one), seen_row<A>(gradients, one));
  });
}

}  // namespace lact::ops::kernels
