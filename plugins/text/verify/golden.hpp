#pragma once
// What lact-bench verify does with language models.

#include <lact/verify/kind.hpp>

#include <vector>

namespace lact::text {

/// Golden files of a layer, a model, a stream.
std::vector<verify::GoldenKind> golden_kinds();

/// What must hold of a model on every machine.
std::vector<verify::Check> model_checks();

}  // namespace lact::text
