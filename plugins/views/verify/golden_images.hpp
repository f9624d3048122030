#pragma once
// Recorded values of how originals become images of one size.

#include <lact/verify/kind.hpp>

namespace lact::views {

/// Images of any size and their intrinsics, resized to cover, cropped, put on white: pixels
/// exactly.
verify::GoldenKind image_prep_kind();

}  // namespace lact::views
