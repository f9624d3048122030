#pragma once
// For backward passes written by hand.

#include <lact/error.hpp>

#include <ATen/core/grad_mode.h>

namespace lact::ops {

/// What is computed by hand has no graph: a second derivative would silently lack it.
inline void once(const char* what) {
  if (at::GradMode::is_enabled()) throw Error(Exit::internal, what, " is differentiable once");
}

}  // namespace lact::ops
