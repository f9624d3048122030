#pragma once
// What lact-bench verify does with the golden file of a real scene.

#include <lact/verify/kind.hpp>

namespace lact::views {

/// Views of a scene that the case names, read from its folder in Settings::data (or in views/
/// there): pixels, intrinsics, poses, normalised poses. Without such a folder nothing is replayed.
verify::GoldenKind scene_kind();

}  // namespace lact::views
