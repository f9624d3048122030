#pragma once
// Training rows cut from packed tokens: a pure function of seed, step and place in the batch.

#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/train/task.hpp>

#include <cstdint>
#include <vector>

namespace lact::text {

/// A stretch of packed tokens that is read as one row.
struct Row {
  int64_t begin, end;
};

/// Every document as rows of `length` tokens of its own, the last one as far back as it must begin
/// to be whole; a document that is shorter is a row of its length.
std::vector<Row> document_rows(const PackedTokens& data, int64_t length);

/// Row numbers in an order of their own for every epoch, without repeats. Positions count rows from
/// the start of the run.
class RowOrder {
 public:
  RowOrder(uint64_t seed, int64_t tokens, int64_t row_tokens);
  /// Rows that are what they are, as document_rows() gives them.
  RowOrder(uint64_t seed, std::vector<Row> rows);
  /// Rows of one epoch.
  int64_t rows() const { return rows_; }
  /// The row at `position`. Every epoch cuts rows elsewhere that are not given.
  Row at(int64_t position);

 private:
  void shuffle(int64_t epoch);
  uint64_t seed_;
  int64_t tokens_, row_tokens_, rows_;
  int64_t epoch_ = -1, offset_ = 0;
  std::vector<int64_t> order_;
  std::vector<Row> given_;
};

/// A batch: "ids" and "labels" [B, L] int64, "documents" [B, L] int64. With `mask_boundaries` the
/// first token of a document is nobody's label (-100), as are tokens that are not scored. Rows
/// shorter than the longest end in tokens 0 of a document of their own, which are nobody's labels.
train::Batch make_batch(const PackedTokens& data, const std::vector<Row>& rows,
                        bool mask_boundaries);

}  // namespace lact::text
