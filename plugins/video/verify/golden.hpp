#pragma once
// What of the video model can be verified.

#include <lact/verify/kind.hpp>

#include <vector>

namespace lact::video {

std::vector<verify::GoldenKind> model_kinds();  ///< golden_model.cpp
std::vector<verify::GoldenKind> flow_kinds();   ///< golden_flow.cpp
std::vector<verify::GoldenKind> wan_kinds();    ///< wan/golden_wan.cpp
std::vector<verify::Check> model_checks();

}  // namespace lact::video
