#pragma once
// One triangle on a picture, and its colours.

#include "mesh.hpp"

#include <array>
#include <cstdint>

namespace lact::views::objects {

float dot3(const Point& a, const Point& b);
/// (0, 0, 1) of what has no direction.
Point unit3(const Point& a);

/// Positions on a picture are whole numbers, so that neighbours share each point of their common
/// edge exactly once: 1 / kSub of the distance of two sample points, which lie in the middle of
/// their squares.
constexpr int64_t kSub = 256;

constexpr float kOpaque = 0.995f;  ///< what is seen through less is not seen through

struct Surface {
  std::array<int64_t, 3> x{}, y{};  ///< corners, so that area is positive
  std::array<double, 3> iz{};       ///< 1 / distance along the axis of the camera
  std::array<float, 3> u{}, v{};
  std::array<Point, 3> normal{};  ///< all alike unless smooth
  double area = 0;                ///< twice, in kSub^2
  bool front = true;              ///< its front is seen
  bool smooth = false;
  bool sheer = false;  ///< something of it may be seen through
  const Material* material = nullptr;
  const Texture* texture = nullptr;  ///< null: none

  /// Its colour in the light of the world, in a sample point inside it.
  Paint paint(int64_t column, int64_t row) const;

 private:
  std::array<double, 3> shares(int64_t column, int64_t row) const;
  Paint textured(const std::array<double, 3>& share) const;
};

}  // namespace lact::views::objects
