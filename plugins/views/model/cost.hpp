#pragma once
// What the model costs. Source: spec views 9; a multiply-add counts as 2.

#include "config.hpp"

#include <cstdint>

namespace lact::views {

/// Tokens of a pass: learned (of context views; 0: rendering from a state), answered (of all
/// views), rendered (of target views).
struct Tokens {
  double learned = 0, answered = 0, rendered = 0;
  double per_view = 0;
};

/// FLOPs of one scene's forward pass.
double forward_flops(const Config& config, const Tokens& tokens);
int64_t parameter_count(const Config& config);
/// Bytes of a scene's state, float32.
int64_t state_bytes(const Config& config);
/// What the backward pass needs of `tokens` tokens, in numbers of `bytes` bytes.
double activation_bytes(const Config& config, double tokens, double bytes, bool recompute);

}  // namespace lact::views
