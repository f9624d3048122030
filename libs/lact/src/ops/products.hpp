#pragma once
// Matrix products that write where they are told to.

#include <ATen/core/Tensor.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

namespace lact::ops {

/// out <- a b, or out + a b. All [n, ., .] of one dtype; a and b may be transposed views. One
/// matrix on a CPU goes straight to the product of two matrices, which is faster than a batch of
/// one.
inline void multiply(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                     bool add = false) {
  at::Tensor to = out;
  if (out.is_cpu() && out.size(0) == 1) {
    to = out.select(0, 0);
    if (add)
      at::addmm_out(to, to, a.select(0, 0), b.select(0, 0));
    else
      at::mm_out(to, a.select(0, 0), b.select(0, 0));
  } else if (add) {
    at::baddbmm_out(to, to, a, b);
  } else {
    at::bmm_out(to, a, b);
  }
}

}  // namespace lact::ops
