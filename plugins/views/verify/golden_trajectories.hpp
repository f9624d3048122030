#pragma once
// Golden files of camera paths.

#include <lact/verify/kind.hpp>

namespace lact::views {

verify::GoldenKind trajectories_kind();

}  // namespace lact::views
