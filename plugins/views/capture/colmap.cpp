#include "colmap.hpp"

#include "colmap_parts.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <system_error>

namespace lact::views {
namespace colmap {

/// COLMAP's parameters have the order of OpenCV's: k1 k2 p1 p2 k3 k4 k5 k6, of fisheyes k1 to k4.
ColmapCamera camera_of(const Model& model, double width, double height,
                       const std::vector<double>& numbers) {
  if (model.kind == Model::neither) return foreign_camera(model.name);
  ColmapCamera camera;
  auto& lens = camera.lens;
  lens.centre = 0.5;
  lens.width = width;
  lens.height = height;
  lens.fx = numbers[0];
  lens.fy = numbers[model.f - 1];
  lens.cx = numbers[model.f];
  lens.cy = numbers[model.f + 1];
  lens.fisheye = model.kind == Model::fisheye;
  if (model.distortion > 0 || lens.fisheye) {
    lens.distortion.assign(numbers.begin() + static_cast<int64_t>(model.f) + 2, numbers.end());
    lens.distortion.resize(std::max<size_t>(4, lens.distortion.size()));
  }
  for (const double one : numbers)
    if (!std::isfinite(one)) camera.fault = "its lens is not described by numbers";
  if (!(width > 0 && height > 0)) camera.fault = "its lens is for images without pixels";
  return camera;
}

ColmapCamera foreign_camera(const std::string& model) {
  ColmapCamera camera;
  camera.fault = concat("the lens ", io::printable(model),
                        " is none that can be made a pinhole here: run colmap image_undistorter");
  return camera;
}

namespace {

/// Camera to world from a quaternion (w x y z) and a translation that lead from world to camera.
/// Returns what is wrong, or "".
std::string pose_of(const std::array<double, 7>& numbers, Matrix& c2w) {
  for (const double one : numbers)
    if (!std::isfinite(one)) return "its pose is not a number";
  auto [w, x, y, z, tx, ty, tz] = numbers;
  const double length = std::sqrt(w * w + x * x + y * y + z * z);
  if (!(length > 1e-6 && std::isfinite(length))) return "its quaternion has no length";
  w /= length, x /= length, y /= length, z /= length;
  const double rotation[3][3] = {
      {1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
      {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
      {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) c2w(r, c) = rotation[c][r];
    c2w(r, 3) = -(rotation[0][r] * tx + rotation[1][r] * ty + rotation[2][r] * tz);
  }
  return fault_of_pose(c2w);
}

}  // namespace

Shot shot_of(uint32_t number, const std::array<double, 7>& pose, uint32_t camera, std::string name,
             const ColmapCameras& cameras) {
  Shot shot;
  shot.file = std::move(name);
  shot.place = concat("image ", number);
  shot.fault = pose_of(pose, shot.c2w);
  const auto found = cameras.find(camera);
  if (found == cameras.end()) {
    shot.fault = concat("its camera ", camera, " is not among the cameras");
  } else {
    shot.lens = found->second.lens;
    if (shot.fault.empty()) shot.fault = found->second.fault;
  }
  if (shot.file.empty()) shot.fault = "a camera without an image: it has no name";
  return shot;
}

std::vector<Shot> by_name(std::vector<Shot> shots) {
  std::sort(shots.begin(), shots.end(),
            [](const Shot& a, const Shot& b) { return a.file < b.file; });
  return shots;
}

void add(ColmapCameras& cameras, uint32_t number, ColmapCamera camera, const std::string& what) {
  if (!cameras.emplace(number, std::move(camera)).second)
    throw Error(Exit::data, what, ": camera ", number, " comes twice");
}

}  // namespace colmap

namespace {

namespace fs = std::filesystem;

bool has_both(const fs::path& folder, const char* suffix) {
  std::error_code error;
  return fs::is_regular_file(folder / concat("cameras", suffix), error) &&
         fs::is_regular_file(folder / concat("images", suffix), error);
}

std::ifstream open(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(Exit::no_input, file.string(), ": cannot open");
  return in;
}

uint64_t size_of(const fs::path& file) {
  std::error_code error;
  const auto bytes = fs::file_size(file, error);
  if (error) throw Error(Exit::no_input, file.string(), ": cannot read: ", error.message());
  return bytes;
}

}  // namespace

bool is_colmap_model(const fs::path& folder) {
  return has_both(folder, ".bin") || has_both(folder, ".txt");
}

std::vector<Shot> read_colmap(const fs::path& folder, fs::path& file) {
  const bool binary = has_both(folder, ".bin");
  const char* suffix = binary ? ".bin" : ".txt";
  const auto cameras_file = folder / concat("cameras", suffix);
  file = folder / concat("images", suffix);
  auto cameras_in = open(cameras_file), images_in = open(file);
  const auto cameras_name = cameras_file.string(), images_name = file.string();
  if (!binary)
    return colmap_images_text(images_in, colmap_cameras_text(cameras_in, cameras_name),
                              images_name);
  const auto cameras = colmap_cameras_binary(cameras_in, size_of(cameras_file), cameras_name);
  return colmap_images_binary(images_in, size_of(file), cameras, images_name);
}

}  // namespace lact::views
