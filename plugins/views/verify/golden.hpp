#pragma once
// What of the views model can be verified.

#include <lact/verify/kind.hpp>

#include <vector>

namespace lact::views {

std::vector<verify::GoldenKind> golden_kinds();
std::vector<verify::Check> model_checks();

}  // namespace lact::views
