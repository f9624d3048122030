#pragma once
// What training costs. A multiply-add counts as 2.

#include "config.hpp"

#include <cstdint>

namespace lact::video {

/// One video under teacher forcing: noisy and clean entries of `tokens` tokens each.
struct Extent {
  int64_t chunks = 1, repeats = 1, tokens = 1;
  int64_t entries() const { return (repeats + 1) * chunks - 1; }
  int64_t length() const { return entries() * tokens; }
};

/// FLOPs of one video's forward pass.
double forward_flops(const Config& config, const Extent& extent);
/// Bytes of a film's state: fast weights, their norms and momentum, the window. float32.
double state_bytes(const Config& config, int64_t tokens);
/// What the backward pass needs of a video, in numbers of `bytes` bytes.
double activation_bytes(const Config& config, const Extent& extent, double bytes, bool recompute);

}  // namespace lact::video
