#pragma once
// A camera rig: what can be said of it, and a drawing.

#include <plugins/views/camera/camera.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::views {

/// Where cameras stand, and what they look at.
struct RigShape {
  Vector centre{};                   ///< the point nearest all optical axes
  double nearest = 0, furthest = 0;  ///< distances of the cameras to it
  Vector low{}, high{};              ///< the corners of a box around the cameras
  double fov_low = 0, fov_high = 0;  ///< horizontal fields of view, in degrees
  Vector up{};  ///< mean of what is up in the images, of length 1; an axis if it is near
};
/// `width` in pixels of the images that the cameras are for.
RigShape describe_rig(const std::vector<Camera>& cameras, int64_t width);

/// The rig as SVG: in parallel projection, from above and from the side, frusta with their numbers,
/// coloured by their order. The same rig gives the same bytes.
std::string rig_svg(const std::string& title, const std::vector<Camera>& cameras, int64_t width,
                    int64_t height);

}  // namespace lact::views
