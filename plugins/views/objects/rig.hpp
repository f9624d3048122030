#pragma once
// Cameras around an object in the origin.

#include <plugins/views/camera/camera.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace lact::views::objects {

/// Square pictures of cameras that look at the origin, world z upright. Angles in degrees.
struct Rig {
  int64_t views = 32, size = 128;
  double fov = 50;      ///< of a side
  double distance = 0;  ///< 0: as far as fov makes objects as large as from 2.7 at 50 degrees
  double lowest = -10, highest = 70;  ///< elevation
  int64_t rings = 0;  ///< 0: anywhere between; else rings of views / rings cameras each
};

/// In rings, lowest first, each begun on the x axis; or at random, each area alike, from `seed` and
/// the name of the object.
/// Errors   64 if rings does not divide views
std::vector<Camera> cameras_of(const Rig& rig, uint64_t seed, std::string_view name);

}  // namespace lact::views::objects
