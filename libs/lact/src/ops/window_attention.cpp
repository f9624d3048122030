#include <lact/ops/window_attention.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace lact::ops {
namespace {

using at::Tensor;

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

}  // namespace

Tensor window_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        std::optional<int64_t> window, const Tensor& documents) {
  const int64_t queries = q.size(2), before = k.size(2) - queries;
  // A block of b queries reads b + window - 1 keys; half a window keeps the waste at a third.
  constexpr int64_t kSmallest = 64, kLargest = 1024;
  const int64_t block = window ? std::clamp(*window / 2, kSmallest, kLargest) : kLargest / 2;
  std::vector<Tensor> out;
  Tensor mask;  // equal for all blocks of one shape
  int64_t mask_offset = -1;
  for (int64_t begin = 0; begin < queries; begin += block) {
    const int64_t end = std::min(begin + block, queries);
    const int64_t last = before + end;
    const int64_t first = window ? std::max<int64_t>(0, before + begin - (*window - 1)) : 0;
    const int64_t offset = before + begin - first;
    const auto some_q = q.slice(2, begin, end), some_k = k.slice(2, first, last),
               some_v = v.slice(2, first, last);
    const bool plain = !documents.defined() && (!window || last - first <= *window);
    if (plain && (offset == 0 || end - begin == 1)) {  // causal alone, or one query that sees all
      out.push_back(
          at::scaled_dot_product_attention(some_q, some_k, some_v, {}, 0.0, end - begin > 1));
      continue;
    }
    if (offset != mask_offset || mask.size(0) != end - begin || mask.size(1) != last - first) {
      mask = window_mask(end - begin, last - first, offset, window, q.detach());
      mask_offset = offset;
    }
    Tensor seen = mask;
    if (documents.defined()) {
      const auto mine = documents.slice(1, before + begin, last).unsqueeze(2);
      const auto theirs = documents.slice(1, first, last).unsqueeze(1);
      seen = mask.masked_fill(mine.ne(theirs), -std::numeric_limits<double>::infinity())
                 .unsqueeze(1);  // [B, 1, T, S]
    }
    out.push_back(at::scaled_dot_product_attention(some_q, some_k, some_v, seen));
  }
  return out.size() == 1 ? out[0] : at::cat(out, 2);
}

}  // namespace lact::ops
