#pragma once
// Softmax attention of the video model: inside an entry, over the window of chunks, to the text.
// Source: spec/video 3, 4.1. No mask is ever formed: queries that see the same keys run together.

#include <lact/nn/parameters.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace lact::video {

using nn::Parameters;

/// Who stands where in the tokens of one video [E n]: `lead` noisy entries of the first chunk, then
/// `groups` times a clean entry and `repeats` noisy ones of the chunk after it.
struct Sequence {
  int64_t lead = 0, groups = 0, repeats = 0;
  int64_t tokens = 0;  ///< of an entry, n
  int64_t entries() const { return lead + groups * (1 + repeats); }
  int64_t length() const { return entries() * tokens; }
  /// The tokens of clean entries: x [B, E n, ...] -> [B, groups * n, ...].
  at::Tensor clean(const at::Tensor& x) const;
};

/// q, k, v [B, L, heads, width] -> [B, L, heads, width]; everyone sees all keys.
/// bias: added to the scores, [keys], or undefined.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& bias = {});

/// Each entry of n tokens for itself.
at::Tensor entry_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           int64_t tokens);

/// Clean entries see themselves; noisy ones themselves and the last kv tokens of the clean chunk
/// before. q, k, v [B, E n, heads, width]. before_k, before_v [B, kv, heads, width]: of the chunk
/// before the leading entries, or undefined.
at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Sequence& sequence, int64_t kv, const at::Tensor& before_k = {},
                            const at::Tensor& before_v = {});

/// x [B, L, d], normalised; context [B, R, d], whose last row stands for `padding` equal ones.
/// -> [B, L, d]; where one row is all there is to see, x is not looked at: [B, 1, d].
at::Tensor cross_attention(const Parameters& p, const at::Tensor& x, const at::Tensor& context,
                           int64_t padding, int64_t heads, double eps);

/// Queries and keys [B, L, heads, width], each normalised over all heads' channels, and values.
struct Projected {
  at::Tensor q, k, v;
};
Projected project(const Parameters& p, const at::Tensor& x, int64_t heads, double eps);

}  // namespace lact::video
