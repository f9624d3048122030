#pragma once
// What each file of this folder adds to the registry in rule.cpp.

#include <lact/ops/rule.hpp>

namespace lact::ops {

const Transform* newton_schulz();

}  // namespace lact::ops
