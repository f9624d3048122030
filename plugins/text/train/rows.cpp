#include "rows.hpp"

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/ops/stack.h>

#include <numeric>
#include <utility>

namespace lact::text {
namespace {

constexpr int64_t kIgnore = -100;

}  // namespace

RowOrder::RowOrder(uint64_t seed, int64_t tokens, int64_t row_tokens)
    : seed_(seed), tokens_(tokens), row_tokens_(row_tokens), rows_(tokens / row_tokens) {
  // One row less leaves room to cut at another offset in every epoch.
  if (rows_ > 1) --rows_;
  if (rows_ < 1)
    throw Error(Exit::data, "training data: ", tokens, " tokens are fewer than one row of ",
                row_tokens, "; give a smaller --seq-len or more text");
}

void RowOrder::shuffle(int64_t epoch) {
  Random random(seed_ * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(epoch));
  random.next();
  offset_ = random.below(tokens_ - rows_ * row_tokens_ + 1);
  order_.resize(static_cast<size_t>(rows_));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  for (int64_t i = rows_ - 1; i > 0; --i)
    std::swap(order_[static_cast<size_t>(i)], order_[static_cast<size_t>(random.below(i + 1))]);
  epoch_ = epoch;
}

int64_t RowOrder::begin(int64_t position) {
  if (position / rows_ != epoch_) shuffle(position / rows_);
  return offset_ + order_[static_cast<size_t>(position % rows_)] * row_tokens_;
}

train::Batch make_batch(const PackedTokens& data, const std::vector<int64_t>& begins,
                        int64_t length, bool mask_boundaries) {
  std::vector<at::Tensor> ids, documents;
  for (const int64_t begin : begins) {
    ids.push_back(data.ids(begin, begin + length));
    documents.push_back(data.document_numbers(begin, begin + length));
  }
  train::Batch batch{{"ids", at::stack(ids)}, {"documents", at::stack(documents)}};
  auto labels = batch["ids"].clone();
  if (mask_boundaries) {
    const auto& number = batch["documents"];
    const auto starts = number.slice(1, 1).ne(number.slice(1, 0, length - 1));
    labels.slice(1, 1).masked_fill_(starts, kIgnore);
  }
  batch["labels"] = labels;
  return batch;
}

}  // namespace lact::text
