#pragma once
// Training rows cut from packed tokens: a pure function of seed, step and place in the batch.

#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/train/task.hpp>

#include <cstdint>
#include <vector>

namespace lact::text {

/// Row numbers in an order of their own for every epoch, without repeats. Positions count rows from
/// the start of the run.
class RowOrder {
 public:
  RowOrder(uint64_t seed, int64_t tokens, int64_t row_tokens);
  /// Rows of one epoch.
  int64_t rows() const { return rows_; }
  /// The first token of the row at `position`. Every epoch cuts the rows elsewhere.
  int64_t begin(int64_t position);

 private:
  void shuffle(int64_t epoch);
  uint64_t seed_;
  int64_t tokens_, row_tokens_, rows_;
  int64_t epoch_ = -1, offset_ = 0;
  std::vector<int64_t> order_;
};

/// A batch: "ids" and "labels" [B, L] int64, "documents" [B, L] int64. With `mask_boundaries` the
/// first token of a document is nobody's label (-100).
train::Batch make_batch(const PackedTokens& data, const std::vector<int64_t>& begins,
                        int64_t length, bool mask_boundaries);

}  // namespace lact::text
