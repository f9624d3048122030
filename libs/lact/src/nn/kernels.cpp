#include "kernels.hpp"

#include "../simd/best.hpp"
#include "cpu/kernels.hpp"

#include <lact/error.hpp>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace lact::nn::kernels {
namespace {

using at::Tensor;

const cpu::AllKernels& best() {
  return LACT_BEST(cpu);
}

/// f(the kernels of x's type)
template <class F>
void by_type(const Tensor& x, const F& f) {
  if (x.scalar_type() == at::kDouble) return f(best().f64);
  if (x.scalar_type() == at::kBFloat16) return f(best().bf16);
  f(best().f32);
}

/// What kernels compute in.
at::ScalarType wide_type(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// A parameter or a table in that type.
Tensor wide(const Tensor& parameter, const Tensor& x) {
  return parameter.defined() ? parameter.to(wide_type(x)).contiguous() : Tensor();
}

template <class T>
T* data(const Tensor& x) {
  return x.defined() ? static_cast<T*>(x.data_ptr()) : nullptr;
}

/// f(begin, end) over rows of `width` numbers, shared out to the cores.
template <class F>
void over_rows(int64_t rows, int64_t width, const F& f) {
  constexpr int64_t kNumbers = 16384;  // worth a core of their own
  at::parallel_for(0, rows, std::max<int64_t>(1, kNumbers / std::max<int64_t>(width, 1)), f);
}

/// Gradients of a parameter of `width` numbers, in as many parts whatever the number of threads:
/// the sum is the same, bit for bit, and no part is long.
struct Sums {
  static constexpr int64_t kParts = 64;
  Sums(const Tensor& like, int64_t width)
      : parts(at::zeros({kParts, width}, like.options().dtype(wide_type(like)))) {}
  template <class A>
  A* part(int64_t i) const {
    return data<A>(parts) + i * parts.size(1);
  }
  Tensor sum() const { return parts.sum(0); }
  Tensor parts;
};

/// f(begin, end, part) over rows in the parts of sums, shared out to the cores.
template <class F>
void over_parts(int64_t rows, const F& f) {
  const int64_t each = (rows + Sums::kParts - 1) / Sums::kParts;
  at::parallel_for(0, Sums::kParts, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      f(std::min(i * each, rows), std::min((i + 1) * each, rows), i);
  });
}

/// Last dimension without gaps.
Tensor dense(const Tensor& x) {
  return x.stride(-1) == 1 || x.size(-1) == 1 ? x : x.contiguous();
}

/// Rows of the last dimension, any distance apart.
Tensor rows_of(const Tensor& x) {
  return dense(x.reshape({-1, x.size(-1)}));
}

/// [B, L, heads, width] token by token.
struct Tokens {
  explicit Tokens(const Tensor& given) : x(dense(given)) {}
  int64_t count() const { return x.size(0) * x.size(1); }
  template <class T>
  T* at(int64_t token) const {
    const int64_t length = x.size(1);
    return data<T>(x) + token / length * x.stride(0) + token % length * x.stride(1);
  }
  cpu::Heads heads() const { return {x.size(2), x.size(3), x.stride(2)}; }
  Tensor x;
};

/// A rotary table's rows for the tokens of [B, L, ...].
struct Turns {
  Turns(const Rotary& table, const Tensor& x)
      : cos(wide(table.cos, x)), sin(wide(table.sin, x)), pairs(table.pairs), length(x.size(1)) {}
  template <class A>
  cpu::Turn<A> at(int64_t token) const {
    if (!cos.defined()) return {nullptr, nullptr, 0, false};
    const int64_t half = cos.size(-1), row = (cos.dim() == 2 ? token % length : token) * half;
    return {data<A>(cos) + row, data<A>(sin) + row, half, pairs};
  }
  Tensor cos, sin;
  bool pairs;
  int64_t length;
};

/// Room for [B, L, heads, width], in memory as [B, heads, L, width].
Tensor heads_first(const Tensor& x, int64_t heads, int64_t width) {
  return at::empty({x.size(0), heads, x.size(1), width}, x.options()).transpose(1, 2);
}

}  // namespace

bool fit(const Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble ||
                        x.scalar_type() == at::kBFloat16);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const auto in = rows_of(x), w = wide(weight, x);
  const auto y = at::empty(x.sizes(), x.options());
  const int64_t width = in.size(1);
  by_type(x, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    over_rows(in.size(0), width, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernels.rms_norm(width, data<T>(in) + i * in.stride(0), data<A>(w), static_cast<A>(epsilon),
                         data<T>(y) + i * width);
    });
  });
  return y;
}

NormGradient rms_norm_backward(const Tensor& x, const Tensor& weight, double epsilon,
                               const Tensor& grad_y) {
  const auto in = rows_of(x), w = wide(weight, x), g = grad_y.contiguous();
  const auto grad_x = at::empty(x.sizes(), x.options());
  const int64_t width = in.size(1);
  const Sums grad_weight(x, width);
  by_type(x, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    over_parts(in.size(0), [&](int64_t begin, int64_t end, int64_t part) {
      for (int64_t i = begin; i < end; ++i)
        kernels.rms_norm_backward(width, data<T>(in) + i * in.stride(0), data<A>(w),
                                  static_cast<A>(epsilon), data<T>(g) + i * width,
                                  data<T>(grad_x) + i * width, grad_weight.part<A>(part));
    });
  });
  return {grad_x, grad_weight.sum()};
}

Tensor rotate(const Tensor& x, const Rotary& table, bool back) {
  const Tokens in(x);
  const Turns turns(table, x);
  const auto y = at::empty(x.sizes(), x.options());
  const int64_t width = x.size(2) * x.size(3);
  by_type(x, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    over_rows(in.count(), width, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernels.rotate(in.heads(), in.at<T>(i), turns.at<A>(i), back, data<T>(y) + i * width);
    });
  });
  return y;
}

namespace {

template <class A>
cpu::FastShape<A> shape_of(const FastInput& how, int64_t width, const Tensor& scale,
                           const Tensor& offset) {
  return {how.heads,       width / how.heads, data<A>(scale),
          data<A>(offset), how.silu,          static_cast<A>(how.unit_epsilon)};
}

}  // namespace

Tensor fast_input(const Tensor& x, const FastInput& how) {
  const int64_t width = x.size(2);
  const Tokens in(x.unsqueeze(2)), out(heads_first(x, how.heads, width / how.heads));
  const Turns turns(how.table, x);
  const auto scale = wide(how.scale, x), offset = wide(how.offset, x);
  by_type(x, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    const auto shape = shape_of<A>(how, width, scale, offset);
    over_rows(in.count(), width, [&](int64_t begin, int64_t end) {
      std::vector<A> scratch(static_cast<size_t>(width));
      for (int64_t i = begin; i < end; ++i)
        kernels.fast_input(shape, in.at<T>(i), turns.at<A>(i), scratch.data(), out.at<T>(i),
                           out.heads().stride);
    });
  });
  return out.x;
}

FastInputGradient fast_input_backward(const Tensor& x, const FastInput& how, const Tensor& grad_y) {
  const int64_t width = x.size(2);
  const Tokens in(x.unsqueeze(2)), g(grad_y);
  const Turns turns(how.table, x);
  const auto scale = wide(how.scale, x), offset = wide(how.offset, x);
  const auto grad_x = at::empty(x.sizes(), x.options());
  const Sums grad_scale(x, width), grad_offset(x, width);
  by_type(x, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    const auto shape = shape_of<A>(how, width, scale, offset);
    over_parts(in.count(), [&](int64_t begin, int64_t end, int64_t part) {
      std::vector<A> scratch(static_cast<size_t>(3 * width));
      for (int64_t i = begin; i < end; ++i)
        kernels.fast_input_backward(shape, in.at<T>(i), turns.at<A>(i), g.at<T>(i),
                                    g.heads().stride, scratch.data(), data<T>(grad_x) + i * width,
                                    grad_scale.part<A>(part), grad_offset.part<A>(part));
    });
  });
  if (!scale.defined()) return {grad_x, {}, {}};
  return {grad_x, grad_scale.sum(), grad_offset.sum()};
}

Tensor mix(const Tensor& attention, const Tensor& fast, const Tensor& weight, double epsilon,
           const Tensor& z) {
  const Tokens seen(attention), read(fast);
  const int64_t heads = fast.size(2), width = heads * fast.size(3);
  const auto w = wide(weight, fast), gain = z.defined() ? z.contiguous() : Tensor();
  const auto y = at::empty({fast.size(0), fast.size(1), width}, attention.options());
  by_type(fast, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    over_rows(read.count(), width, [&](int64_t begin, int64_t end) {
      std::vector<A> scratch(static_cast<size_t>(width));
      for (int64_t i = begin; i < end; ++i)
        kernels.mix(seen.heads(), seen.at<T>(i), read.heads(), read.at<T>(i), data<A>(w),
                    static_cast<A>(epsilon), gain.defined() ? data<T>(gain) + i * heads : nullptr,
                    scratch.data(), data<T>(y) + i * width);
    });
  });
  return y;
}

MixGradient mix_backward(const Tensor& fast, const Tensor& weight, double epsilon, const Tensor& z,
                         const Tensor& grad_y) {
  const int64_t heads = fast.size(2), width = heads * fast.size(3);
  const Tokens read(fast), grad_fast(heads_first(fast, heads, fast.size(3)));
  const auto w = wide(weight, fast), gain = z.defined() ? z.contiguous() : Tensor();
  const auto g = grad_y.contiguous(), grad_z = z.defined() ? at::empty_like(gain) : Tensor();
  const Sums grad_weight(fast, fast.size(3));
  by_type(fast, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    const auto of = [&](const Tensor& x, int64_t i) {
      return x.defined() ? data<T>(x) + i * heads : nullptr;
    };
    over_parts(read.count(), [&](int64_t begin, int64_t end, int64_t part) {
      for (int64_t i = begin; i < end; ++i)
        kernels.mix_backward(read.heads(), read.at<T>(i), data<A>(w), static_cast<A>(epsilon),
                             of(gain, i), data<T>(g) + i * width, grad_fast.at<T>(i),
                             grad_fast.heads().stride, grad_weight.part<A>(part), of(grad_z, i));
    });
  });
  return {grad_fast.x, grad_weight.sum(), grad_z};
}

double entropy(const Tensor& logits, const Tensor& labels, double factor) {
  const auto label = labels.contiguous();
  const int64_t rows = logits.size(0), classes = logits.size(1);
  const auto* wanted = label.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < rows; ++i)
    if (wanted[i] >= classes)
      throw Error(Exit::data, "label ", wanted[i], " is none of ", classes, " classes");
  std::vector<double> each(static_cast<size_t>(rows));
  by_type(logits, [&]<class T, class A>(const cpu::TokenKernels<T, A>& kernels) {
    const A scale = static_cast<A>(factor);
    over_rows(rows, classes, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        T* row = data<T>(logits) + i * classes;
        if (wanted[i] >= 0)
          each[static_cast<size_t>(i)] =
              kernels.entropy(classes, row, wanted[i], factor != 0 ? &scale : nullptr);
        else if (factor != 0)
          std::fill(row, row + classes, T(0));
      }
    });
  });
  double sum = 0;
  for (const double one : each) sum += one;
  return sum;
}

}  // namespace lact::nn::kernels
