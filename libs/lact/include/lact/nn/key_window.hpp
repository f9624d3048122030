#pragma once
// The keys and values that a stream's next query can still see.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace lact::nn {

/// Buffers that are appended to in place and shifted once they are full: constant time and memory
/// per token on average. Without a window they grow.
class KeyWindow {
 public:
  /// k, v [B, A, T, a] of the next tokens.
  void append(const at::Tensor& k, const at::Tensor& v, std::optional<int64_t> window);
  /// Forgets all but the last window - 1.
  void trim(std::optional<int64_t> window);
  /// What is remembered, oldest first: [B, A, size(), a].
  at::Tensor keys() const { return keys_.slice(2, begin_, end_); }
  at::Tensor values() const { return values_.slice(2, begin_, end_); }
  int64_t size() const { return end_ - begin_; }

 private:
  at::Tensor keys_, values_;  // [B, A, capacity, a]
  int64_t begin_ = 0, end_ = 0;
};

}  // namespace lact::nn
