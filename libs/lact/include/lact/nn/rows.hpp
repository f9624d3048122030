#pragma once
// Where the tokens of a batch of rows stand, and how documents cut the rows.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lact::nn {

/// Computed once a batch and shared by all layers.
struct Rows {
  /// Segments of equally many chunks, padded to the longest of them. Only the last chunk of a
  /// segment can be padded, and the last chunk makes no update: padding reaches nothing.
  struct Group {
    at::Tensor
        index;  ///< [segments, longest] places in the flat [B * L]; undefined: all rows as is
  };

  int64_t batch = 0, length = 0;
  at::Tensor positions;  ///< [L], or [B, L] where they start anew inside a row
  at::Tensor documents;  ///< [B, L] for attention; undefined: no boundaries
  std::vector<Group> groups;
  at::Tensor inverse;  ///< [B * L]: where each token lies in the groups' outputs, one after another
};

/// Rows of L tokens without boundaries.
Rows whole_rows(int64_t batch, int64_t length, at::Device device);

/// documents [B, L] int64: a token whose number differs from the one before it starts a document.
/// Attention and positions start anew there, and with `fast_weights` the fast weights do too: rows
/// are cut into segments, and segments of equally many chunks run together as one batch.
/// The rows' tensors lie on `device`.
Rows cut_rows(const at::Tensor& documents, int64_t chunk, bool fast_weights,
              at::Device device = at::kCPU);

}  // namespace lact::nn
