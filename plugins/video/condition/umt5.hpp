#pragma once
// The text encoder of Wan 2.1: UMT5-XXL, or smaller ones of its kind.
// Source: Wan 2.1 (wan/modules/t5.py), transformers' UMT5EncoderModel; spec/video 8.2.

#include <lact/io/checkpoint.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

namespace lact::video {

class Umt5 {
 public:
  /// Official names or those of transformers; sizes follow from shapes. On a CPU the weights stay
  /// where the file has them mapped, in the dtype they are stored in, and are made `products` wide
  /// when their turn comes: the 5.7 billion of the XXL need no memory of their own.
  /// Errors   65 naming `where`, tensor, expected, found
  static Umt5 load(const io::Checkpoint& file, const std::string& where, at::Device device,
                   at::ScalarType products = at::kFloat);

  int64_t width() const;
  int64_t vocabulary() const;
  /// ids [B, L] in [0, vocabulary), mask [B, L]: 1 for tokens that are there, at least one a row.
  /// Returns [B, L, width] in `products`; rows of tokens that are not there are zeros.
  at::Tensor encode(const at::Tensor& ids, const at::Tensor& mask) const;

 private:
  struct Weights;
  std::shared_ptr<const Weights> weights_;
};

/// Bucket of each relative position (key - query), int64: 16 to a side, distances below 8 exact,
/// above in steps of their logarithm, in float32 as the published models were trained.
at::Tensor umt5_bucket(const at::Tensor& relative);

}  // namespace lact::video
