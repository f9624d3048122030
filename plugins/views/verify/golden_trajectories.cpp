#include "golden_trajectories.hpp"

#include <plugins/views/camera/trajectory.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace lact::views {
namespace {

using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kMostViews = 10'000;
constexpr int64_t kMostPixels = 65'536;

std::vector<Camera> cameras_of(Golden& file) {
  Dim V("V"), four("", 4), rows("", 4), columns("", 4);
  const auto intrinsics = file.input("in.fxfycxcy", {V, four}).to(at::kCPU, at::kDouble);
  const auto poses = file.input("in.c2w", {V, rows, columns}).to(at::kCPU, at::kDouble);
  if (V.size < 1 || V.size > kMostViews)
    file.refuse("tensor in.c2w: expected 1 to ", kMostViews, " cameras, found ", V.size);
  const auto* k = intrinsics.const_data_ptr<double>();
  const auto* m = poses.const_data_ptr<double>();
  std::vector<Camera> out(static_cast<size_t>(V.size));
  for (auto& camera : out) {
    camera = {k[0], k[1], k[2], k[3], {}};
    std::copy(m, m + 16, camera.c2w.m.begin());
    k += 4;
    m += 16;
  }
  return out;
}

void put(Computed& out, const std::string& name, const std::vector<Camera>& cameras) {
  const auto count = static_cast<int64_t>(cameras.size());
  auto intrinsics = at::empty({count, 4}, at::kDouble),
       poses = at::empty({count, 4, 4}, at::kDouble);
  auto* k = intrinsics.data_ptr<double>();
  auto* m = poses.data_ptr<double>();
  for (const auto& camera : cameras) {
    for (const double one : {camera.fx, camera.fy, camera.cx, camera.cy}) *k++ = one;
    m = std::copy(camera.c2w.m.begin(), camera.c2w.m.end(), m);
  }
  out["out." + name + "_fxfycxcy"] = intrinsics;
  out["out." + name + "_c2w"] = poses;
}

Computed trajectories(Golden& file) {
  const auto width = file.integer("width", 1, kMostPixels),
             height = file.integer("height", 1, kMostPixels);
  const Turntable how{file.number("hfov"), file.number("min_radius"), file.number("max_radius"),
                      file.number("elevation")};
  Computed out;
  put(out, "turntable",
      turntable(file.integer("turntable_views", 1, kMostViews), width, height, how).cameras);
  put(out, "interpolated",
      interpolate(cameras_of(file), file.integer("interpolate_extra", 0, 100), width, height)
          .cameras);
  return out;
}

}  // namespace

verify::GoldenKind trajectories_kind() {
  return {"trajectories", "out.turntable_c2w", trajectories};
}

}  // namespace lact::views
