#include "rig.hpp"

#include <algorithm>
#include <cmath>

namespace lact::views {
namespace {

constexpr double kDegrees = 180 / 3.14159265358979323846;

/// The mean position, for rigs whose axes do not meet.
Vector mean_position(const std::vector<Camera>& cameras) {
  Vector sum{};
  for (const auto& camera : cameras)
    for (size_t i = 0; i < 3; ++i)
      sum[i] += camera.position()[i] / static_cast<double>(cameras.size());
  return sum;
}

/// Least squares: sum of (I - d d^T) (p - o) = 0 over all axes o + t d.
Vector meeting_point(const std::vector<Camera>& cameras) {
  Matrix all;
  all(0, 0) = all(1, 1) = all(2, 2) = 0;
  Vector right{};
  for (const auto& camera : cameras) {
    const auto d = unit(camera.c2w.column(2)), o = camera.position();
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c) {
        const auto i = static_cast<size_t>(r), j = static_cast<size_t>(c);
        const double one = (r == c ? 1.0 : 0.0) - d[i] * d[j];
        all(r, c) += one;
        right[i] += one * o[j];
      }
  }
  // Parallel axes meet nowhere: the matrix is then nearly singular.
  const double size = dot(all.column(0), cross(all.column(1), all.column(2)));
  const auto count = static_cast<double>(cameras.size());
  if (!(size > 1e-6 * count * count * count)) return mean_position(cameras);
  const auto solved = inverse(all);
  Vector point{};
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c)
      point[static_cast<size_t>(r)] += solved(r, c) * right[static_cast<size_t>(c)];
  return point;
}

}  // namespace

RigShape describe_rig(const std::vector<Camera>& cameras, int64_t width) {
  RigShape rig;
  if (cameras.empty()) return rig;
  rig.centre = meeting_point(cameras);
  rig.nearest = rig.fov_low = INFINITY;
  rig.low = rig.high = cameras[0].position();
  for (const auto& camera : cameras) {
    const auto at = camera.position();
    const Vector off{at[0] - rig.centre[0], at[1] - rig.centre[1], at[2] - rig.centre[2]};
    const double distance = std::sqrt(dot(off, off));
    rig.nearest = std::min(rig.nearest, distance);
    rig.furthest = std::max(rig.furthest, distance);
    const double w = static_cast<double>(width);
    const double fov =
        kDegrees * (std::atan((w - camera.cx) / camera.fx) + std::atan(camera.cx / camera.fx));
    rig.fov_low = std::min(rig.fov_low, fov);
    rig.fov_high = std::max(rig.fov_high, fov);
    for (size_t i = 0; i < 3; ++i) {
      rig.low[i] = std::min(rig.low[i], at[i]);
      rig.high[i] = std::max(rig.high[i], at[i]);
      rig.up[i] -= camera.c2w.column(1)[i];
    }
  }
  rig.up = dot(rig.up, rig.up) > 1e-12 ? unit(rig.up) : Vector{0, 0, 1};
  // A rig of few cameras leans by chance: what is nearly an axis of the world is meant to be it.
  for (size_t i = 0; i < 3; ++i)
    if (std::abs(rig.up[i]) > 0.97) {
      const double sign = std::copysign(1, rig.up[i]);
      rig.up = {};
      rig.up[i] = sign;
      break;
    }
  return rig;
}

}  // namespace lact::views
