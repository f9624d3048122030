#pragma once
// What the model costs: floating-point operations as spec/llm 13 counts them, and bytes.

#include "config.hpp"

#include <cstdint>

namespace lact::text {

/// Operations of one forward pass over one sequence (a multiply-add is 2). The last chunk makes
/// no update. With `head`, the output head is counted for every token.
double forward_flops(const Config& config, int64_t length, bool head = true);

/// Bytes of the state of one sequence: fast weights, momentum, norms, a full open chunk, window.
/// float32, window and open chunk in `activation_bytes` a number.
int64_t state_bytes(const Config& config, int64_t activation_bytes);

/// An estimate of what a training step holds for its backward pass, in bytes.
double activation_bytes(const Config& config, int64_t batch, int64_t length, int64_t bytes_a_number,
                        bool recompute);

}  // namespace lact::text
