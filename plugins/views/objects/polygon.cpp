#include "polygon.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lact::views::objects {
namespace {

using Place = std::array<double, 2>;
using Triangles = std::vector<std::array<size_t, 3>>;

constexpr size_t kMostCorners = 512;  // each ear is looked for among all

/// The polygon in the plane that it covers most of, counter-clockwise; empty if it has no area.
std::vector<Place> flat(const std::vector<std::array<float, 3>>& corners) {
  double normal[3] = {};
  for (size_t i = 0; i < corners.size(); ++i) {
    const auto &a = corners[i], &b = corners[(i + 1) % corners.size()];
    for (size_t k = 0; k < 3; ++k) {
      const size_t x = (k + 1) % 3, y = (k + 2) % 3;
      normal[k] += (static_cast<double>(a[x]) - b[x]) * (static_cast<double>(a[y]) + b[y]);
    }
  }
  const auto size = [&](size_t k) { return std::abs(normal[k]); };
  const size_t drop = size(0) > size(1) ? (size(0) > size(2) ? 0 : 2) : (size(1) > size(2) ? 1 : 2);
  if (!(size(drop) > 0)) return {};
  std::vector<Place> out;
  for (const auto& corner : corners) {
    const double x = corner[(drop + 1) % 3], y = corner[(drop + 2) % 3];
    out.push_back(normal[drop] > 0 ? Place{x, y} : Place{y, x});
  }
  return out;
}

/// Twice the area of a triangle, positive if counter-clockwise.
double area(const Place& a, const Place& b, const Place& c) {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

Triangles fan(size_t corners, size_t from = 0) {
  Triangles out;
  for (size_t i = 1; i + 1 < corners; ++i)
    out.push_back({from, (from + i) % corners, (from + i + 1) % corners});
  return out;
}

class Ears {
 public:
  explicit Ears(const std::vector<Place>& places) : places_(places), rest_(places.size()) {
    std::iota(rest_.begin(), rest_.end(), size_t{0});
  }

  Triangles cut() {
    Triangles out;
    size_t at = 0, tried = 0;
    while (rest_.size() > 3) {
      at %= rest_.size();
      // Where no corner is an ear the polygon crosses itself; any will do then.
      if (tried < rest_.size() && !ear(at)) {
        ++at, ++tried;
        continue;
      }
      out.push_back({before(at), rest_[at], after(at)});
      rest_.erase(rest_.begin() + static_cast<std::ptrdiff_t>(at));
      tried = 0;
    }
    out.push_back({rest_[0], rest_[1], rest_[2]});
    return out;
  }

 private:
  size_t before(size_t at) const { return rest_[(at + rest_.size() - 1) % rest_.size()]; }
  size_t after(size_t at) const { return rest_[(at + 1) % rest_.size()]; }

  /// A corner that bends outwards, and whose triangle holds no other one.
  bool ear(size_t at) const {
    const auto &a = places_[before(at)], &b = places_[rest_[at]], &c = places_[after(at)];
    if (!(area(a, b, c) > 0)) return false;
    for (const size_t other : rest_) {
      const auto& p = places_[other];
      if (p == a || p == b || p == c) continue;  // a bridge to a hole passes a place twice
      if (area(a, b, p) >= 0 && area(b, c, p) >= 0 && area(c, a, p) >= 0) return false;
    }
    return true;
  }

  const std::vector<Place>& places_;
  std::vector<size_t> rest_;
};

}  // namespace

Triangles triangulate(const std::vector<std::array<float, 3>>& corners) {
  const size_t count = corners.size();
  if (count < 3) return {};
  if (count == 3 || count > kMostCorners) return fan(count);
  const auto places = flat(corners);
  if (places.empty()) return fan(count);
  bool convex = true;
  for (size_t i = 0; convex && i < count; ++i)
    convex = area(places[i], places[(i + 1) % count], places[(i + 2) % count]) >= 0;
  if (!convex) return Ears(places).cut();
  if (count > 4) return fan(count);
  const auto apart = [&](size_t a, size_t b) {
    double sum = 0;
    for (size_t k = 0; k < 3; ++k) {
      const double by = static_cast<double>(corners[a][k]) - corners[b][k];
      sum += by * by;
    }
    return sum;
  };
  return fan(count, apart(0, 2) <= apart(1, 3) ? 0 : 1);  // quads along the shorter diagonal
}

}  // namespace lact::views::objects
