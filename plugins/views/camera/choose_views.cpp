#include "choose_views.hpp"

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace lact::views {
namespace {

using Point = Viewpoints::Point;

constexpr int kMostRounds = 300;

double squared(const Point& a, const Point& b) {
  return Viewpoints::squared_distance(a, b);
}

/// k-means++: each next centre is a point drawn with its squared distance to those before.
std::vector<Point> first_centres(const std::vector<Point>& points, size_t count, Random& random) {
  std::vector<Point> centres{
      points[std::min(points.size() - 1,
                      static_cast<size_t>(random.uniform() * static_cast<double>(points.size())))]};
  std::vector<double> distance(points.size(), std::numeric_limits<double>::infinity());
  while (centres.size() < count) {
    double sum = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      distance[i] = std::min(distance[i], squared(points[i], centres.back()));
      sum += distance[i];
    }
    double drawn = random.uniform() * sum;
    size_t chosen = 0;  // where all points are centres already, any will do
    for (size_t i = 0; i < points.size(); ++i) {
      if (distance[i] <= 0) continue;
      chosen = i;
      if ((drawn -= distance[i]) < 0) break;
    }
    centres.push_back(points[chosen]);
  }
  return centres;
}

std::vector<size_t> nearest(const std::vector<Point>& points, const std::vector<Point>& centres) {
  std::vector<size_t> out(points.size());
  for (size_t i = 0; i < points.size(); ++i)
    for (size_t c = 1; c < centres.size(); ++c)
      if (squared(points[i], centres[c]) < squared(points[i], centres[out[i]])) out[i] = c;
  return out;
}

/// The mean of each cluster; one that is empty takes the point farthest from its own centre.
void move_centres(const std::vector<Point>& points, const std::vector<size_t>& cluster,
                  std::vector<Point>& centres) {
  std::vector<double> members(centres.size(), 0);
  std::vector<Point> sums(centres.size(), Point{});
  for (size_t i = 0; i < points.size(); ++i) {
    members[cluster[i]] += 1;
    for (size_t k = 0; k < 6; ++k) sums[cluster[i]][k] += points[i][k];
  }
  std::vector<bool> taken(points.size(), false);
  for (size_t c = 0; c < centres.size(); ++c) {
    if (members[c] > 0) {
      for (size_t k = 0; k < 6; ++k) centres[c][k] = sums[c][k] / members[c];
      continue;
    }
    size_t farthest = points.size();
    for (size_t i = 0; i < points.size(); ++i)
      if (!taken[i] &&
          (farthest == points.size() || squared(points[i], centres[cluster[i]]) >
                                            squared(points[farthest], centres[cluster[farthest]])))
        farthest = i;
    taken[farthest] = true;
    centres[c] = points[farthest];
  }
}

}  // namespace

Viewpoints::Viewpoints(const std::vector<Camera>& cameras) {
  for (const auto& camera : cameras)
    for (size_t i = 0; i < 3; ++i)
      middle_[i] += camera.position()[i] / static_cast<double>(cameras.size());
  double largest = 0;
  for (const auto& camera : cameras)
    for (size_t i = 0; i < 3; ++i)
      largest = std::max(largest, std::abs(camera.position()[i] - middle_[i]));
  // Of cameras at one spot, rounding is no distance.
  const double rounding = 1e-9 * (1 + std::sqrt(dot(middle_, middle_)));
  if (largest > rounding) scale_ = 1 / largest;
}

Viewpoints::Point Viewpoints::operator()(const Camera& camera) const {
  const auto at = camera.position(), ahead = unit(camera.c2w.column(2));
  return {(at[0] - middle_[0]) * scale_,
          (at[1] - middle_[1]) * scale_,
          (at[2] - middle_[2]) * scale_,
          ahead[0],
          ahead[1],
          ahead[2]};
}

double Viewpoints::squared_distance(const Point& a, const Point& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

std::vector<int64_t> choose_views(const std::vector<Camera>& cameras, int64_t count,
                                  uint64_t seed) {
  if (count < 1 || count > static_cast<int64_t>(cameras.size()))
    throw Error(Exit::usage, "views to choose: expected 1 to ", cameras.size(), ", found ", count);
  const Viewpoints place(cameras);
  std::vector<Point> points;
  for (const auto& camera : cameras) points.push_back(place(camera));
  Random random(seed);
  auto centres = first_centres(points, static_cast<size_t>(count), random);
  auto cluster = nearest(points, centres);
  for (int round = 0; round < kMostRounds; ++round) {
    move_centres(points, cluster, centres);
    auto next = nearest(points, centres);
    if (next == cluster) break;
    cluster = std::move(next);
  }
  // Cameras that stand together may share a centre; each still stands for one only.
  std::vector<bool> taken(points.size(), false);
  for (const auto& centre : centres) {
    size_t best = points.size();
    for (size_t i = 0; i < points.size(); ++i)
      if (!taken[i] &&
          (best == points.size() || squared(points[i], centre) < squared(points[best], centre)))
        best = i;
    taken[best] = true;
  }
  std::vector<int64_t> out;
  for (size_t i = 0; i < taken.size(); ++i)
    if (taken[i]) out.push_back(static_cast<int64_t>(i));
  return out;
}

}  // namespace lact::views
