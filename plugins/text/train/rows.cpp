#include "rows.hpp"

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace lact::text {
namespace {

constexpr int64_t kIgnore = -100;

}  // namespace

std::vector<Row> document_rows(const PackedTokens& data, int64_t length) {
  std::vector<Row> rows;
  for (int64_t d = 0; d < data.documents(); ++d) {
    const int64_t first = data.begin(d), end = data.begin(d + 1);
    if (end - first < 2) continue;  // nothing to predict
    int64_t begin = first;
    for (; begin + length <= end; begin += length) rows.push_back({begin, begin + length});
    if (begin < end) rows.push_back({std::max(first, end - length), end});
  }
  return rows;
}

RowOrder::RowOrder(uint64_t seed, std::vector<Row> rows)
    : seed_(seed),
      tokens_(0),
      row_tokens_(0),
      rows_(static_cast<int64_t>(rows.size())),
      given_(std::move(rows)) {
  if (rows_ < 1) throw Error(Exit::data, "training data: no document has two tokens");
}

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
  if (given_.empty()) offset_ = random.below(tokens_ - rows_ * row_tokens_ + 1);
  order_.resize(static_cast<size_t>(rows_));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  for (int64_t i = rows_ - 1; i > 0; --i)
    std::swap(order_[static_cast<size_t>(i)], order_[static_cast<size_t>(random.below(i + 1))]);
  epoch_ = epoch;
}

Row RowOrder::at(int64_t position) {
  if (position / rows_ != epoch_) shuffle(position / rows_);
  const int64_t row = order_[static_cast<size_t>(position % rows_)];
  if (!given_.empty()) return given_[static_cast<size_t>(row)];
  const int64_t begin = offset_ + row * row_tokens_;
  return {begin, begin + row_tokens_};
}

train::Batch make_batch(const PackedTokens& data, const std::vector<Row>& rows,
                        bool mask_boundaries) {
  int64_t length = 0;
  for (const auto& row : rows) length = std::max(length, row.end - row.begin);
  std::vector<at::Tensor> ids, documents, scored;
  const auto fill = [&](const at::Tensor& x, double with) {
    return at::constant_pad_nd(x, {0, length - x.size(0)}, with);
  };
  bool all = true;
  for (const auto& [begin, end] : rows) {
    ids.push_back(fill(data.ids(begin, end), 0));
    documents.push_back(fill(data.document_numbers(begin, end), -1));
    const auto counts = data.scored(begin, end);
    all = all && end - begin == length && !counts.defined();
    scored.push_back(
        fill(counts.defined() ? counts : at::ones({end - begin}, at::kBool), /*with=*/0));
  }
  train::Batch batch{{"ids", at::stack(ids)}, {"documents", at::stack(documents)}};
  auto labels = batch["ids"].clone();
  if (!all) labels.masked_fill_(at::stack(scored).logical_not(), kIgnore);
  if (mask_boundaries) {
    const auto& number = batch["documents"];
    const auto starts = number.slice(1, 1).ne(number.slice(1, 0, length - 1));
    labels.slice(1, 1).masked_fill_(starts, kIgnore);
  }
  batch["labels"] = labels;
  return batch;
}

}  // namespace lact::text
