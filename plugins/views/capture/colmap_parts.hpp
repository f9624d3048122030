#pragma once
// What COLMAP's text and binary files have in common: lenses and poses.

#include "colmap.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace lact::views::colmap {

/// Where a model's parameters go. `f` 1: one focal length; 2: two. Then cx, cy, and distortion.
/// Of those that are `neither` only the number of parameters counts.
struct Model {
  const char* name;  // its place in the list is its number in binary files
  size_t f, distortion;
  enum { perspective, fisheye, neither } kind;
};
inline constexpr std::array kModels{
    Model{"SIMPLE_PINHOLE", 1, 0, Model::perspective},
    Model{"PINHOLE", 2, 0, Model::perspective},
    Model{"SIMPLE_RADIAL", 1, 1, Model::perspective},
    Model{"RADIAL", 1, 2, Model::perspective},
    Model{"OPENCV", 2, 4, Model::perspective},
    Model{"OPENCV_FISHEYE", 2, 4, Model::fisheye},
    Model{"FULL_OPENCV", 2, 8, Model::perspective},
    Model{"FOV", 2, 1, Model::neither},
    Model{"SIMPLE_RADIAL_FISHEYE", 1, 1, Model::fisheye},
    Model{"RADIAL_FISHEYE", 1, 2, Model::fisheye},
    Model{"THIN_PRISM_FISHEYE", 2, 8, Model::neither},
    Model{"RAD_TAN_THIN_PRISM_FISHEYE", 2, 12, Model::neither},
    Model{"SIMPLE_DIVISION", 1, 1, Model::neither},
    Model{"DIVISION", 2, 1, Model::neither},
    Model{"SIMPLE_FISHEYE", 1, 0, Model::fisheye},
    Model{"FISHEYE", 2, 0, Model::fisheye},
    Model{"EUCM", 2, 2, Model::neither},
    Model{"EQUIRECTANGULAR", 0, 0, Model::neither},  // width and height, where others have cx, cy
};

inline size_t parameters(const Model& model) {
  return model.f + 2 + model.distortion;
}

/// The camera that a file describes by `numbers`.
ColmapCamera camera_of(const Model& model, double width, double height,
                       const std::vector<double>& numbers);
/// A camera whose views have to be left out, because no lens here is like its own.
ColmapCamera foreign_camera(const std::string& model);
/// Errors   65 naming `what` if there is one of this number
void add(ColmapCameras& cameras, uint32_t number, ColmapCamera camera, const std::string& what);

/// An image: quaternion (w x y z) and translation that lead from the world to the camera.
Shot shot_of(uint32_t number, const std::array<double, 7>& pose, uint32_t camera, std::string name,
             const ColmapCameras& cameras);
std::vector<Shot> by_name(std::vector<Shot> shots);

}  // namespace lact::views::colmap
