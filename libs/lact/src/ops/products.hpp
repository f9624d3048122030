#pragma once
// Matrix products that write where they are told to.

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

namespace lact::ops {

/// CUDA multiplies bfloat16 or float16 into a float32 sum, which then is never rounded between.
inline bool widening(const at::Tensor& out, const at::Tensor& a) {
  return out.is_cuda() && out.scalar_type() == at::kFloat && a.scalar_type() != at::kFloat &&
         c10::elementSize(a.scalar_type()) == 2;
}

/// out <- beta c + alpha a b, where c may be out. All [n, ., .] of one dtype, or out and c wider
/// (see widening); a and b may be transposed views. One matrix on a CPU goes straight to the
/// product of two matrices, which is faster than a batch of one.
inline void combine(const at::Tensor& out, const at::Tensor& c, double beta, const at::Tensor& a,
                    const at::Tensor& b, double alpha) {
  at::Tensor to = out;
  if (out.is_cpu() && out.size(0) == 1) {
    to = out.select(0, 0);
    at::addmm_out(to, c.is_same(out) ? to : c.select(0, 0), a.select(0, 0), b.select(0, 0), beta,
                  alpha);
  } else if (widening(out, a)) {
    at::baddbmm_out(to, c, a, b, out.scalar_type(), beta, alpha);
  } else {
    at::baddbmm_out(to, c, a, b, beta, alpha);
  }
}

/// out <- a b, or out + a b.
inline void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                     bool add = false) {
  if (add) return combine(out, out, 1, a, b, 1);
  at::Tensor to = out;
  if (out.is_cpu() && out.size(0) == 1) {
    to = out.select(0, 0);
    at::mm_out(to, a.select(0, 0), b.select(0, 0));
  } else if (widening(out, a)) {
    at::bmm_out(to, a, b, out.scalar_type());
  } else {
    at::bmm_out(to, a, b);
  }
}

}  // namespace lact::ops
