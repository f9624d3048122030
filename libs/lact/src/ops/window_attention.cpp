#include <lact/ops/window_attention.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace lact::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// 0 where query row may see key column, -inf elsewhere. The first query stands at key `offset`.
Tensor window_mask(int64_t queries, int64_t keys, int64_t offset, std::optional<int64_t> window,
                   const Tensor& like) {
  const auto numbers = like.options().dtype(at::kLong);
  const auto gap = at::arange(offset, offset + queries, numbers).unsqueeze(1) -
                   at::arange(keys, numbers).unsqueeze(0);  // [T, S]
  auto hidden = gap.lt(0);
  if (window) hidden = hidden.logical_or_(gap.ge(*window));
  return at::zeros({queries, keys}, like.options())
      .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

/// Some consecutive queries and the keys that they may see.
struct Block {
  int64_t begin, end, first, last;
  bool causal;  ///< each sees the keys up to its own
  Tensor mask;  ///< undefined: all see all, or causal

  Tensor queries(const Tensor& x) const { return x.slice(2, begin, end); }
  Tensor keys(const Tensor& x) const { return x.slice(2, first, last); }
};

/// The window over `queries`, the last of `keys`, block by block.
struct Plan {
  int64_t queries, keys;
  std::optional<int64_t> window;
  Tensor documents;

  template <class F>
  void each_block(const Tensor& like, const F& f) const {
    const int64_t before = keys - queries;
    // A block of b queries reads b + window - 1 keys; half a window keeps the waste at a third.
    constexpr int64_t kSmallest = 64, kLargest = 1024;
    const int64_t size = window ? std::clamp(*window / 2, kSmallest, kLargest) : kLargest / 2;
    Tensor mask;  // equal for all blocks of one shape
    int64_t mask_offset = -1;
    for (int64_t begin = 0; begin < queries; begin += size) {
      const int64_t end = std::min(begin + size, queries), last = before + end;
      const int64_t first = window ? std::max<int64_t>(0, before + begin - (*window - 1)) : 0;
      const int64_t offset = before + begin - first;
      Block block{begin, end, first, last, false, {}};
      const bool plain = !documents.defined() && (!window || last - first <= *window);
      block.causal = plain && offset == 0 && end - begin > 1;
      if (!block.causal && !(plain && end - begin == 1)) {
        if (offset != mask_offset || mask.size(0) != end - begin || mask.size(1) != last - first) {
          mask = window_mask(end - begin, last - first, offset, window, like);
          mask_offset = offset;
        }
        block.mask = mask;
        if (documents.defined()) {
          const auto mine = documents.slice(1, before + begin, last).unsqueeze(2);
          const auto theirs = documents.slice(1, first, last).unsqueeze(1);
          block.mask = mask.masked_fill(mine.ne(theirs), -std::numeric_limits<double>::infinity())
                           .unsqueeze(1);  // [B, 1, T, S]
        }
      }
      f(block);
    }
  }

  std::optional<Tensor> mask(const Block& block) const {
    return block.mask.defined() ? std::optional(block.mask) : std::nullopt;
  }
};

/// Room for [B, A, L, a], in memory as [B, L, A, a].
Tensor tokens_first(const Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

/// One node for all blocks: autograd would pad each block's gradients to the length of the whole.
struct CpuAttention : torch::autograd::Function<CpuAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Plan& plan) {
    const auto out = tokens_first(q);
    const auto sums =
        at::empty({q.size(0), q.size(2), q.size(1)}, q.options().dtype(sum_type(q)));  // [B, L, A]
    plan.each_block(q, [&](const Block& block) {
      const auto [some, sum] = at::_scaled_dot_product_flash_attention_for_cpu(
          block.queries(q), block.keys(k), block.keys(v), 0, block.causal, plan.mask(block));
      block.queries(out).copy_(some);
      sums.slice(1, block.begin, block.end).copy_(sum.transpose(1, 2));
    });
    context->save_for_backward({q, k, v, out, sums, plan.documents});
    if (plan.window) context->saved_data["window"] = *plan.window;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& out_) {
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &sums = saved[4];
    Plan plan{q.size(2), k.size(2), {}, saved[5]};
    const auto window = context->saved_data.find("window");
    if (window != context->saved_data.end()) plan.window = window->second.toInt();
    const auto q_ = tokens_first(q), k_ = tokens_first(k).zero_(), v_ = tokens_first(v).zero_();
    plan.each_block(q, [&](const Block& block) {
      const auto sum = sums.slice(1, block.begin, block.end).transpose(1, 2).contiguous();
      const auto [some_q, some_k, some_v] =
          at::_scaled_dot_product_flash_attention_for_cpu_backward(
              block.queries(out_[0]), block.queries(q), block.keys(k), block.keys(v),
              block.queries(out), sum, 0, block.causal, plan.mask(block));
      block.queries(q_).copy_(some_q);
      block.keys(k_).add_(some_k);
      block.keys(v_).add_(some_v);
    });
    return {q_, k_, v_, {}};
  }

  static at::ScalarType sum_type(const Tensor& q) {
    return q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  }
};

}  // namespace

Tensor window_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        std::optional<int64_t> window, const Tensor& documents) {
  const Plan plan{q.size(2), k.size(2), window, documents};
  if (q.is_cpu()) return CpuAttention::apply(q, k, v, plan);
  std::vector<Tensor> out;
  plan.each_block(q.detach(), [&](const Block& block) {
    out.push_back(at::scaled_dot_product_attention(block.queries(q), block.keys(k), block.keys(v),
                                                   plan.mask(block), 0.0, block.causal));
  });
  return out.size() == 1 ? out[0] : at::cat(out, 2);
}

}  // namespace lact::ops
