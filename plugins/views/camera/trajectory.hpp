#pragma once
// Camera paths, and which views to read: lists of cameras made from a rule, from other cameras, or
// from a file.

#include "world.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lact::views {

/// Cameras one after another, for images of width x height pixels, `rate` of them a second.
struct Trajectory {
  std::vector<Camera> cameras;
  int64_t width = 0, height = 0;
  double rate = 30;
};

/// Once around an object in the origin, up and down and nearer and farther meanwhile
/// (spec/views 8).
struct Turntable {
  double horizontal_fov = 50;  ///< degrees
  double min_radius = 1.7, max_radius = 3.0;
  double elevation = 30, swing = 15;  ///< degrees: elevation + swing * sin
};
/// Errors   64 if frames < 1
Trajectory turntable(int64_t frames, int64_t width, int64_t height, const Turntable& how = {});

enum class Blend {
  linear,  ///< matrices entry by entry, as the published renderer does (spec/views 8)
  slerp    ///< rotations on the shortest arc, positions on a line
};
/// `views`, in their order, with `extra` cameras between neighbours: (views - 1) * (extra + 1) + 1.
/// Errors   64 if there is no view, or extra < 0
Trajectory interpolate(const std::vector<Camera>& views, int64_t extra, int64_t width,
                       int64_t height, Blend blend = Blend::linear);

/// `frames` cameras from the first of `views` to the last, at equal shares of the list.
/// Errors   64 if there is no view, or frames < 1
Trajectory resample(const std::vector<Camera>& views, int64_t frames, int64_t width, int64_t height,
                    Blend blend = Blend::linear);

/// Turns around the mean camera, as wide as 90 % of the views stand off it, all looking at what the
/// views look at (focus()). Each frame has the mean of the intrinsics. For views that look one way;
/// source: the spiral of LLFF's and nerfstudio's renderers.
/// Errors   64 if there is no view or frames < 1, 65 if the views look all ways
Trajectory spiral(const std::vector<Camera>& views, int64_t frames, int64_t width, int64_t height,
                  double turns = 2);

/// The point nearest to the lines of sight of all cameras, least squares. Where they are parallel,
/// or it lies behind the mean camera: ten times the spread of the cameras (at least 1) in front.
Vector focus(const std::vector<Camera>& cameras);

/// How many cameras of a path are farther from all known ones than half of what the known ones are
/// from their middle (of two or three known ones: all of it): signs of a path in another world.
/// None where the known ones are in one place, which tells nothing.
int64_t far_from(const std::vector<Camera>& known, const std::vector<Camera>& path);

/// nerfstudio's camera_path.json: width, height, rate, and perspective cameras with a vertical
/// field of view and square pixels; their axes (x right, y up, z backward) become OpenCV's. `world`
/// leads from the path's world to that of the other cameras: Scene::world, or what
/// read_dataparser_world gives.
/// Errors   66, 65 naming file and keyframe
Trajectory read_camera_path(const std::filesystem::path& file, const Matrix& world = {});
/// The same from text; `name` stands in errors.
Trajectory parse_camera_path(std::string_view text, const std::string& name,
                             const Matrix& world = {});

}  // namespace lact::views
