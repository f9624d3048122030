#include "lens.hpp"

#include <lact/error.hpp>

#include <cmath>

namespace lact::views {

Camera pinhole(const Lens& lens, int64_t width, int64_t height) {
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  const double stated_w = lens.width > 0 ? lens.width : w,
               stated_h = lens.height > 0 ? lens.height : h;
  Camera camera{lens.fx, lens.fy, lens.cx, lens.cy, {}};
  if (camera.fx <= 0 && lens.angle_x > 0) camera.fx = stated_w / (2 * std::tan(lens.angle_x / 2));
  if (camera.fy <= 0 && lens.angle_y > 0) camera.fy = stated_h / (2 * std::tan(lens.angle_y / 2));
  if (camera.fy <= 0) camera.fy = camera.fx;
  if (std::isnan(camera.cx)) camera.cx = stated_w / 2;
  if (std::isnan(camera.cy)) camera.cy = stated_h / 2;
  if (lens.scales) {
    camera.fx *= w / stated_w;
    camera.cx *= w / stated_w;
    camera.fy *= h / stated_h;
    camera.cy *= h / stated_h;
  }
  const bool finite = std::isfinite(camera.fx + camera.fy + camera.cx + camera.cy);
  if (!finite || camera.fx <= 0 || camera.fy <= 0)
    throw Error(Exit::data, "no focal length: it is ", camera.fx, ", ", camera.fy);
  return camera;
}

}  // namespace lact::views
