#pragma once
// K-means choice of views. Source: the evaluation of Long-LRM (arXiv:2410.12781), which the paper
// follows: clusters over [position, viewing direction], and of each the view nearest to its centre.

#include "camera.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace lact::views {

/// Cameras as points: position and direction. Positions are centred among some cameras and their
/// largest coordinate is 1, so that the unit of length does not matter.
class Viewpoints {
 public:
  using Point = std::array<double, 6>;
  explicit Viewpoints(const std::vector<Camera>& cameras);
  Point operator()(const Camera& camera) const;
  static double squared_distance(const Point& a, const Point& b);

 private:
  Vector middle_{};
  double scale_ = 1;
};

/// `count` of the cameras, ascending, that stand for all: K-means over position and direction, then
/// of each cluster the view nearest to its centre, as the paper's evaluation chooses context.
/// Positions are centred and their largest coordinate is 1, so that the unit of length does not
/// matter. Centres begin by k-means++ from `seed`: the same seed, the same views. Errors   64 if
/// count < 1 or more than there are cameras
std::vector<int64_t> choose_views(const std::vector<Camera>& cameras, int64_t count, uint64_t seed);

}  // namespace lact::views
