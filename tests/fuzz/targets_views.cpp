// What the modality views reads: camera files, COLMAP's models, packed scenes.

#include "targets.hpp"

#include <lact/io/safetensors.hpp>
#include <plugins/views/capture/camera_files.hpp>
#include <plugins/views/capture/colmap.hpp>
#include <plugins/views/scene/packed_scenes.hpp>
#include <plugins/views/scene/scene.hpp>

#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>

#include <cstring>
#include <sstream>

namespace lact::fuzz {
namespace {

using namespace views;

void use_shots(const std::vector<Shot>& shots) {
  for (const auto& shot : shots) {
    use(shot.file.data(), shot.file.size());
    use(shot.c2w.m.data(), sizeof shot.c2w.m);
    if (!shot.fault.empty()) continue;
    if (const auto why = fault_of_pose(shot.c2w); !why.empty())
      throw std::logic_error("a shot without a fault, but " + why);
    try {
      pinhole(shot.lens, 640, 480);
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
    }
  }
}

// --- JSON ----------------------------------------------------------------------------------------

std::vector<std::string> camera_file_seeds() {
  return {
      R"([{"w":8,"h":6,"fx":7.5,"fy":7,"cx":4,"cy":3,"file_path":"a.png",
"w2c":[[1,0,0,0],[0,1,0,0],[0,0,1,2.5],[0,0,0,1]]}])",
      R"({"train_filenames":["images/1.jpg"],"test_filenames":["2.jpg"],"applied_scale":2,
"applied_transform":[[1,0,0,0],[0,0,1,0],[0,-1,0,0]],"w":8.0,"h":6,"fl_x":7,"camera_angle_x":0.7,"k1":0.1,"p2":-0.01,"camera_model":"OPENCV",
"frames":[{"file_path":"images/1.jpg","mask_path":"m.png","k4":NaN,"is_fisheye":true,
"transform_matrix":[[0,0,1,2],[1,0,0,-3.5],[0,1,0,1e-3],[0,0,0,1]]}]})"};
}

void camera_file(const std::string& bytes) {
  use_shots(parse_camera_file(bytes, "cameras.json").shots);
}

// --- COLMAP --------------------------------------------------------------------------------------

template <class... Numbers>
std::string packed(const Numbers&... numbers) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&numbers), sizeof numbers), ...);
  return bytes;
}

std::string cameras_bin() {
  return packed(uint64_t{2}, uint32_t{1}, int32_t{4}, uint64_t{640}, uint64_t{480}) +
         packed(500.0, 510.0, 320.0, 240.0, 0.1, -0.05, 0.001, 0.002) +
         packed(uint32_t{2}, int32_t{0}, uint64_t{64}, uint64_t{48}, 50.0, 32.0, 24.0);
}

std::string image_bin(uint32_t number, uint32_t camera, const std::string& name, uint64_t points) {
  std::string bytes =
      packed(number, 1.0, 0.1, 0.0, -0.2, 1.0, 2.0, 3.0, camera) + name + '\0' + packed(points);
  for (uint64_t i = 0; i < points; ++i) bytes += packed(1.5, 2.5, int64_t{-1});
  return bytes;
}

const char* const kCamerasText =
    "# Camera list\n1 OPENCV 640 480 500 510 320 240 0.1 -0.05 0.001 0.002\n"
    "2 SIMPLE_RADIAL_FISHEYE 64 48 50 32 24 0.1\n";

std::vector<std::string> cameras_bin_seeds() {
  return {cameras_bin()};
}
void cameras_bin(const std::string& bytes) {
  std::istringstream in(bytes);
  for (const auto& [number, camera] : colmap_cameras_binary(in, bytes.size(), "cameras.bin"))
    use(camera.lens.distortion.data(), camera.lens.distortion.size() * sizeof(double));
}

std::vector<std::string> images_bin_seeds() {
  return {packed(uint64_t{2}) + image_bin(4, 1, "b 1.jpg", 2) + image_bin(9, 2, "a.jpg", 0),
          packed(uint64_t{1}) + image_bin(1, 1, "x.png", 1)};
}
void images_bin(const std::string& bytes) {
  const auto known = cameras_bin();
  std::istringstream cameras(known), in(bytes);
  use_shots(colmap_images_binary(
      in, bytes.size(), colmap_cameras_binary(cameras, known.size(), "cameras.bin"), "images.bin"));
}

std::vector<std::string> cameras_txt_seeds() {
  return {kCamerasText};
}
void cameras_txt(const std::string& bytes) {
  std::istringstream in(bytes);
  for (const auto& [number, camera] : colmap_cameras_text(in, "cameras.txt"))
    use(camera.lens.distortion.data(), camera.lens.distortion.size() * sizeof(double));
}

std::vector<std::string> images_txt_seeds() {
  return {
      "# Images\n4 1 0.1 0 -0.2 1 2 3 1 b 1.jpg\n1.5 2.5 -1 3 4 7\n"
      "9 0.5 0.5 -0.5 0.5 1e-3 2 -3 2 a.jpg\n\n"};
}
void images_txt(const std::string& bytes) {
  std::istringstream cameras(kCamerasText), in(bytes);
  use_shots(colmap_images_text(in, colmap_cameras_text(cameras, "cameras.txt"), "images.txt"));
}

// --- packed scenes -------------------------------------------------------------------------------

/// Without checksums, which would refuse all that is changed.
std::vector<std::string> packed_views_seeds() {
  const auto file = scratch() / "seed.safetensors";
  const std::string names = R"({"files":["a.png","b.png"],"name":"scene"})";
  auto text = at::full({static_cast<int64_t>(names.size())}, 0, at::kByte);
  std::memcpy(text.mutable_data_ptr(), names.data(), names.size());
  io::write_safetensors(file,
                        {{"000000.images", at::full({2, 2, 3, 3}, 200, at::kByte)},
                         {"000000.intrinsics", at::full({2, 4}, 3, at::kDouble)},
                         {"000000.c2w", at::eye(4, at::kDouble).expand({2, 4, 4})},
                         {"000000.names", text}},
                        {{"lact.kind", "views"},
                         {"lact.version", "1"},
                         {"width", "3"},
                         {"height", "2"},
                         {"split", "train"}});
  return {get(file)};
}

void packed_views(const std::string& bytes) {
  const auto file = scratch() / "train.safetensors";
  put(file, bytes);
  const auto all = PackedScenes::open(file);
  for (int64_t i = 0; i < all.size(); ++i) {
    const auto images = all.images(i);
    if (images.size(0) != all.views(i) ||
        all.cameras(i).size() != static_cast<size_t>(all.views(i)))
      throw std::logic_error("views without cameras");
    use(images.const_data_ptr(), images.nbytes());
  }
}

}  // namespace

std::vector<Target> views_targets() {
  return {
      {"camera-file",
       camera_file_seeds,
       camera_file,
       {Exit::data},
       {"frames", "transform_matrix", "w2c", "NaN", "fl_x", "OPENCV_FISHEYE"}},
      {"colmap-cameras-bin",
       cameras_bin_seeds,
       cameras_bin,
       {Exit::data},
       {packed(int32_t{6}), packed(int32_t{11}), packed(0.5)}},
      {"colmap-images-bin",
       images_bin_seeds,
       images_bin,
       {Exit::data},
       {packed(uint64_t{3}), packed(0.5), "jpg"}},
      {"colmap-cameras-txt",
       cameras_txt_seeds,
       cameras_txt,
       {Exit::data},
       {"SIMPLE_PINHOLE", "FULL_OPENCV", "FOV", "nan"}},
      {"colmap-images-txt", images_txt_seeds, images_txt, {Exit::data}, {"nan", "1e308"}},
      {"packed-views", packed_views_seeds, packed_views, {Exit::data}, {"views", "files", "name"}},
  };
}

}  // namespace lact::fuzz
