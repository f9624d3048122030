#include "rig.hpp"

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <cmath>
#include <numbers>

namespace lact::views::objects {
namespace {

constexpr double kDegree = std::numbers::pi / 180;

/// FNV-1a.
uint64_t hash(std::string_view text) {
  uint64_t out = 0xcbf29ce484222325u;
  for (const char c : text) out = (out ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return out;
}

}  // namespace

std::vector<Camera> cameras_of(const Rig& rig, uint64_t seed, std::string_view name) {
  if (rig.rings > 0 && rig.views % rig.rings != 0)
    throw Error(Exit::usage, "--rings ", rig.rings, ": does not divide ", rig.views, " views");
  const auto size = static_cast<double>(rig.size);
  const double f = size / 2 / std::tan(rig.fov * kDegree / 2);
  const double distance = rig.distance > 0
                              ? rig.distance
                              : 2.7 * std::sin(25 * kDegree) / std::sin(rig.fov * kDegree / 2);
  Random random(Random(seed).next() ^ hash(name));
  const double low = std::sin(rig.lowest * kDegree), high = std::sin(rig.highest * kDegree);
  std::vector<Camera> out;
  for (int64_t i = 0; i < rig.views; ++i) {
    double azimuth = 0, elevation = 0;
    if (rig.rings > 0) {
      const int64_t around = rig.views / rig.rings;
      const double share =
          rig.rings > 1 ? static_cast<double>(i / around) / static_cast<double>(rig.rings - 1) : 0;
      elevation = (rig.lowest + share * (rig.highest - rig.lowest)) * kDegree;
      azimuth =
          2 * std::numbers::pi * static_cast<double>(i % around) / static_cast<double>(around);
    } else {
      azimuth = 2 * std::numbers::pi * random.uniform();
      elevation = std::asin(low + random.uniform() * (high - low));
    }
    const Vector eye{distance * std::cos(elevation) * std::cos(azimuth),
                     distance * std::cos(elevation) * std::sin(azimuth),
                     distance * std::sin(elevation)};
    out.push_back({f, f, size / 2, size / 2, look_at(eye, {0, 0, 0})});
  }
  return out;
}

}  // namespace lact::views::objects
