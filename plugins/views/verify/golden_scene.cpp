#include "golden_scene.hpp"

#include <plugins/views/capture/capture.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using verify::Computed;
using verify::Golden;

constexpr int64_t kLargestSide = 8192;

fs::path folder_of(const Golden& file) {
  const auto scene = file.word("scene");
  std::error_code error;
  for (const auto& place : {file.settings().data / scene, file.settings().data / "views" / scene})
    if (fs::is_directory(place, error)) return place;
  throw Error(Exit::no_input, file.settings().data.string(), ": holds no folder ", scene);
}

/// The shots of these numbers, in that order.
std::vector<Shot> choose(const Golden& file, const Capture& capture) {
  const auto& numbers = file.option("views");
  if (!numbers.is_array()) file.refuse("case: views: expected an array");
  std::vector<Shot> shots;
  for (const auto& number : numbers) {
    const auto found =
        std::find_if(capture.shots.begin(), capture.shots.end(), [&](const Shot& shot) {
          return number.is_number_integer() && shot.number == number.get<int64_t>();
        });
    if (found == capture.shots.end())
      file.refuse("case: view ", number.dump(), ": not in ", capture.file.string());
    shots.push_back(*found);
  }
  return shots;
}

Tensor poses(const std::vector<Camera>& cameras) {
  std::vector<Tensor> all;
  for (auto camera : cameras)
    all.push_back(at::from_blob(camera.c2w.m.data(), {4, 4}, at::kDouble).clone());
  return at::stack(all);
}

Computed scene(Golden& file) {
  if (file.settings().data.empty()) return {};
  Preparation how;
  how.width = file.integer("width", 1, kLargestSide);
  how.height = file.integer("height", 1, kLargestSide);
  Skipped skipped;
  Faults faults(/*strict=*/false, skipped);
  auto capture = list_capture(folder_of(file), how, faults);
  capture.shots = choose(file, capture);
  std::vector<Camera> cameras;
  std::vector<Tensor> images, intrinsics;
  load(capture, how, faults, [&](const Shot&, const Camera& camera, media::Image&& image) {
    const double four[] = {camera.fx, camera.fy, camera.cx, camera.cy};
    images.push_back(
        at::from_blob(image.pixels.data(), {image.height, image.width, 3}, at::kByte).clone());
    intrinsics.push_back(at::from_blob(const_cast<double*>(four), {4}, at::kDouble).clone());
    cameras.push_back(camera);
  });
  if (cameras.size() != capture.shots.size()) file.refuse(skipped.lines.back());
  auto normalized = cameras;
  const auto move = normalization(cameras);
  for (auto& camera : normalized) camera = move(camera);
  return {{"out.image", at::stack(images).permute({0, 3, 1, 2}).to(at::kDouble) / 255},
          {"out.fxfycxcy", at::stack(intrinsics)},
          {"out.c2w", poses(cameras)},
          {"out.normalized_c2w", poses(normalized)}};
}

}  // namespace

verify::GoldenKind scene_kind() {
  return {"scene", "out.fxfycxcy", scene};
}

}  // namespace lact::views
