#pragma once
// Polygons to triangles.

#include <array>
#include <cstddef>
#include <vector>

namespace lact::views::objects {

/// Triangles, by index, that cover a polygon in space with the way around that it has. Concave ones
/// lose ear after ear; those of more than 512 corners are taken for convex.
std::vector<std::array<size_t, 3>> triangulate(const std::vector<std::array<float, 3>>& corners);

}  // namespace lact::views::objects
