#include "mesh.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace lact::views::objects {

void stand(Mesh& mesh, const Rotation& rotation, bool z_up, const std::string& name) {
  const auto& r = rotation;
  const auto turn = [&](const Point& p) {
    const double q[3] = {r[0] * p[0] + r[1] * p[1] + r[2] * p[2],
                         r[3] * p[0] + r[4] * p[1] + r[5] * p[2],
                         r[6] * p[0] + r[7] * p[1] + r[8] * p[2]};
    return z_up ? std::array<double, 3>{q[0], q[1], q[2]}
                : std::array<double, 3>{q[0], -q[2], q[1]};
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::array<double, 3> low{kInfinity, kInfinity, kInfinity},
      high{-kInfinity, -kInfinity, -kInfinity}, middle{};
  const auto each_used = [&](const auto& call) {  // vertices that no face names do not count
    for (const auto& triangle : mesh.triangles)
      for (const auto& corner : triangle.corners)
        call(turn(mesh.places[static_cast<size_t>(corner.place)]));
  };
  each_used([&](const std::array<double, 3>& p) {
    for (size_t i = 0; i < 3; ++i)
      low[i] = std::min(low[i], p[i]), high[i] = std::max(high[i], p[i]);
  });
  for (size_t i = 0; i < 3; ++i) middle[i] = (low[i] + high[i]) / 2;
  double radius = 0;
  each_used([&](const std::array<double, 3>& p) {
    radius = std::max(radius, std::hypot(p[0] - middle[0], p[1] - middle[1], p[2] - middle[2]));
  });
  if (!(radius > 0 && std::isfinite(radius)))
    throw Error(Exit::data, name, ": the model has no extent");
  for (auto& place : mesh.places) {
    const auto p = turn(place);
    for (size_t i = 0; i < 3; ++i) place[i] = static_cast<float>((p[i] - middle[i]) / radius);
  }
  for (auto& normal : mesh.normals) {
    const auto p = turn(normal);
    for (size_t i = 0; i < 3; ++i) normal[i] = static_cast<float>(p[i]);
  }
}

}  // namespace lact::views::objects
