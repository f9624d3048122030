#include <lact/error.hpp>
#include <lact/ops/window_attention.hpp>

#include "kernels.hpp"
#include "once.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace lact::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// For each key [B, S] the place where its document starts.
Tensor starts(const Tensor& documents) {
  const auto numbers = documents.to(at::kCPU).contiguous();
  const auto out = at::empty_like(numbers);
  const int64_t length = numbers.size(1);
  for (int64_t b = 0; b < numbers.size(0); ++b) {
    const auto* number = numbers.const_data_ptr<int64_t>() + b * length;
    auto* start = out.data_ptr<int64_t>() + b * length;
    for (int64_t i = 0; i < length; ++i)
      start[i] = i > 0 && number[i] == number[i - 1] ? start[i - 1] : i;
  }
  return out;
}

// --- by LibTorch ---------------------------------------------------------------------------------

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

Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, std::optional<int64_t> window,
                const Tensor& documents) {
  const int64_t queries = q.size(2), before = k.size(2) - queries;
  const auto start = documents.defined() ? starts(documents).to(q.device()) : Tensor();
  // A block of b queries reads b + window - 1 keys; a quarter of a window was fastest.
  constexpr int64_t kSmallest = 64, kLargest = 1024;
  const int64_t block = window ? std::clamp(*window / 4, kSmallest, kLargest) : kLargest / 2;
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
      const auto mine = start.slice(1, before + begin, last).unsqueeze(2);
      const auto theirs = start.slice(1, first, last).unsqueeze(1);
      seen = mask.masked_fill(mine.ne(theirs), -std::numeric_limits<double>::infinity())
                 .unsqueeze(1);  // [B, 1, T, S]
    }
    out.push_back(at::scaled_dot_product_attention(some_q, some_k, some_v, seen));
  }
  return out.size() == 1 ? out[0] : at::cat(out, 2);
}

// --- by products on each core ----------------------------------------------------------------

/// Some consecutive queries, and the keys that one of them sees.
struct Block {
  int64_t begin, end, first, last;
  std::vector<kernels::SeenKeys> seen;
};

/// One head of one row: q and what is like it [T, a], k and what is like it [S, a].
struct Blocks {
  Blocks(const Tensor& q, const Tensor& k, std::optional<int64_t> given, const Tensor& documents)
      : queries(q.size(2)),
        keys(k.size(2)),
        window(given.value_or(keys)),
        rows(std::clamp<int64_t>(window / 8, 64, 128)),
        scale(1 / std::sqrt(static_cast<double>(q.size(3)))),
        start(documents.defined() ? starts(documents) : Tensor()) {}

  int64_t count() const { return (queries + rows - 1) / rows; }
  int64_t most_keys() const { return std::min(keys, window + rows); }

  Block block(int64_t index, int64_t row_of_batch) const {
    const int64_t before = keys - queries, begin = index * rows,
                  end = std::min(begin + rows, queries);
    const auto* document =
        start.defined() ? start.const_data_ptr<int64_t>() + row_of_batch * keys : nullptr;
    const auto oldest = [&](int64_t key) {
      const int64_t in_window = std::max<int64_t>(0, key - (window - 1));
      return document == nullptr ? in_window : std::max(in_window, document[key]);
    };
    Block out{begin, end, oldest(before + begin), before + end, {}};
    for (int64_t i = begin; i < end; ++i)
      out.seen.push_back({i - begin, oldest(before + i) - out.first, before + i + 1 - out.first});
    return out;
  }

  int64_t queries, keys, window, rows;
  double scale;
  Tensor start;
};

Tensor head(const Tensor& x, int64_t i) {
  return x.select(0, i / x.size(1)).select(0, i % x.size(1));
}

/// Room for the scores of one block on one core.
Tensor scores_of(const Tensor& room, const Block& block) {
  const int64_t rows = block.end - block.begin, keys = block.last - block.first;
  return room.narrow(0, 0, rows * keys).view({rows, keys});
}

/// f(begin, end) on each core; no graph there.
template <class F>
void over(int64_t count, const F& f) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_graph;
    f(begin, end);
  });
}

/// Room for [B, A, L, a], in memory as [B, L, A, a].
Tensor tokens_first(const Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

struct CpuAttention : torch::autograd::Function<CpuAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Blocks& blocks) {
    const auto out = tokens_first(q);
    const auto sums = at::empty({q.size(0), q.size(1), q.size(2)}, q.options());
    const int64_t heads = q.size(0) * q.size(1);
    over(heads * blocks.count(), [&](int64_t begin, int64_t end) {
      const auto room = at::empty({blocks.rows * blocks.most_keys()}, q.options());
      for (int64_t i = begin; i < end; ++i) {
        const int64_t h = i / blocks.count();
        const auto block = blocks.block(i % blocks.count(), h / q.size(1));
        auto scores = scores_of(room, block);
        at::mm_out(scores, head(q, h).slice(0, block.begin, block.end),
                   head(k, h).slice(0, block.first, block.last).mT());
        kernels::softmax(scores, block.seen, blocks.scale,
                         head(sums, h).slice(0, block.begin, block.end));
        auto some = head(out, h).slice(0, block.begin, block.end);
        at::mm_out(some, scores, head(v, h).slice(0, block.first, block.last));
      }
    });
    context->save_for_backward({q, k, v, sums, blocks.start});
    context->saved_data["window"] = blocks.window;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_out) {
    once("window attention");
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &sums = saved[3];
    Blocks blocks(q, k, context->saved_data["window"].toInt(), {});
    blocks.start = saved[4];
    const auto grad_q = tokens_first(q), grad_k = tokens_first(k).zero_(),
               grad_v = tokens_first(v).zero_();
    over(q.size(0) * q.size(1), [&](int64_t begin, int64_t end) {
      const auto room = at::empty({2, blocks.rows * blocks.most_keys()}, q.options());
      for (int64_t h = begin; h < end; ++h)
        for (int64_t i = 0; i < blocks.count(); ++i) {
          const auto block = blocks.block(i, h / q.size(1));
          const auto queries = [&](const Tensor& x) {
            return head(x, h).slice(0, block.begin, block.end);
          };
          const auto keys = [&](const Tensor& x) {
            return head(x, h).slice(0, block.first, block.last);
          };
          auto scores = scores_of(room[0], block), grad_scores = scores_of(room[1], block);
          const auto g = queries(grad_out[0]);
          at::mm_out(scores, queries(q), keys(k).mT());
          at::mm_out(grad_scores, g, keys(v).mT());
          kernels::softmax_backward(scores, block.seen, blocks.scale, queries(sums), grad_scores);
          auto some_q = queries(grad_q), some_k = keys(grad_k), some_v = keys(grad_v);
          at::addmm_out(some_v, some_v, scores.mT(), g);
          at::addmm_out(some_k, some_k, grad_scores.mT(), queries(q));
          at::mm_out(some_q, grad_scores, keys(k));
        }
    });
    return {grad_q, grad_k, grad_v, {}};
  }
};

}  // namespace

Tensor window_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        std::optional<int64_t> window, const Tensor& documents) {
  if (documents.defined() && documents.sizes() != at::IntArrayRef({k.size(0), k.size(2)}))
    throw Error(Exit::internal, "window attention: documents do not fit: ", documents.sizes());
  // LibTorch keeps bfloat16's scores in float32, and takes few queries at once.
  constexpr int64_t kFew = 16;
  const auto type = q.scalar_type();
  if (!q.is_cpu() || (type != at::kFloat && type != at::kDouble) || q.size(2) < kFew)
    return composed(q, k, v, window, documents);
  const auto dense = [](const Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); };
  return CpuAttention::apply(dense(q), dense(k), dense(v), Blocks(q, k, window, documents));
}

}  // namespace lact::ops
