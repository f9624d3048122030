#pragma once
// What the model costs. Source: spec/views 9; a multiply-add counts as 2.

#include "config.hpp"

#include <cstdint>

namespace lact::views {

/// Tokens of a pass: of context views, which the update learns from (0: rendering from a state); of
/// all views, to which the fast weights are applied; of target views, which are decoded.
struct Tokens {
  double context = 0, applied = 0, targets = 0;
  double per_view = 0;
};

/// FLOPs of one scene's forward pass.
double forward_flops(const Config& config, const Tokens& tokens);
/// Bytes of a scene's state, float32.
int64_t state_bytes(const Config& config);
/// What the backward pass needs of `tokens` tokens, in numbers of `bytes` bytes.
double activation_bytes(const Config& config, double tokens, double bytes, bool recompute);

}  // namespace lact::views
