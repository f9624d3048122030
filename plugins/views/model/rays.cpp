#include "rays.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cross.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

namespace lact::views {
namespace {

using at::Tensor;

std::vector<int64_t> shape(at::IntArrayRef front, std::initializer_list<int64_t> back) {
  auto all = front.vec();
  all.insert(all.end(), back);
  return all;
}

/// rgb as 2 rgb - 1, channels last.
Tensor colours(const Tensor& images, at::ScalarType dtype) {
  const auto last = images.movedim(-3, -1);
  if (images.scalar_type() == at::kByte) return last.to(dtype).mul(2.0 / 255).sub(1);
  return last.to(dtype).mul(2).sub(1);
}

}  // namespace

Posed share_of(const Posed& views, int64_t rank, int64_t size) {
  const int64_t count = views.poses.size(-3);
  const int64_t begin = count * rank / size, end = count * (rank + 1) / size;
  const auto cut = [&](const Tensor& x, int64_t dim) {
    return x.defined() ? x.slice(dim, begin, end) : x;
  };
  return {cut(views.images, -4), cut(views.intrinsics, -2), cut(views.poses, -3)};
}

Posed posed(const std::vector<Camera>& cameras, at::ScalarType dtype) {
  const auto count = static_cast<int64_t>(cameras.size());
  const auto intrinsics = at::empty({count, 4}, at::kDouble),
             poses = at::empty({count, 4, 4}, at::kDouble);
  auto* k = intrinsics.data_ptr<double>();
  auto* p = poses.data_ptr<double>();
  for (const auto& camera : cameras) {
    for (const double one : {camera.fx, camera.fy, camera.cx, camera.cy}) *k++ = one;
    for (const double one : camera.c2w.m) *p++ = one;
  }
  return {{}, intrinsics.to(dtype), poses.to(dtype)};
}

Posed batch_of_one(const Posed& views, at::Device device) {
  const auto one = [&](const Tensor& x) { return x.unsqueeze(0).to(device); };
  return {one(views.images), one(views.intrinsics), one(views.poses)};
}

Tensor pose_features(const Posed& views, int64_t height, int64_t width) {
  const auto options = views.poses.options();
  const auto front =
      views.intrinsics.sizes().slice(0, static_cast<size_t>(views.intrinsics.dim() - 1));
  const auto part = [&](int64_t i) {
    return views.intrinsics.select(-1, i).unsqueeze(-1).unsqueeze(-1);
  };
  const auto x = (at::arange(width, options) + 0.5 - part(2)) / part(0);  // [..., 1, w]
  const auto y =
      (at::arange(height, options).unsqueeze(-1) + 0.5 - part(3)) / part(1);  // [..., h, 1]
  const auto pixels = shape(front, {height, width});
  const auto camera = at::stack({x.expand(pixels), y.expand(pixels), at::ones(pixels, options)},
                                -1);  // [..., h, w, 3]
  const auto rotation = views.poses.slice(-2, 0, 3).slice(-1, 0, 3);
  const auto origin = views.poses.slice(-2, 0, 3).select(-1, 3);  // [..., 3]
  const auto world = at::matmul(camera.flatten(-3, -2), rotation.mT()).view(camera.sizes());
  const auto d = world / world.norm(2, {-1}, /*keepdim=*/true);
  const auto o = origin.unsqueeze(-2).unsqueeze(-2).expand(d.sizes());
  return at::cat({o, d, at::linalg_cross(o, d, -1)}, -1);
}

Tensor pixel_features(const Posed& views, int64_t height, int64_t width) {
  const auto rays = pose_features(views, height, width);
  const auto front = rays.sizes().slice(0, static_cast<size_t>(rays.dim() - 3));
  const auto rgb = views.images.defined()
                       ? colours(views.images, rays.scalar_type())
                       : at::zeros(shape(front, {height, width, 3}), rays.options());
  return at::cat({rays, rgb}, -1);
}

Tensor patches(const Posed& views, int64_t height, int64_t width, int64_t patch) {
  const auto all = pixel_features(views, height, width);  // [..., V, h, w, 12]
  const auto front = all.sizes().slice(0, static_cast<size_t>(all.dim() - 3));
  const int64_t rows = height / patch, columns = width / patch;
  return all.view(shape(front, {rows, patch, columns, patch, 12}))
      .transpose(-4, -3)
      .reshape(shape(front, {rows * columns, patch * patch * 12}))
      .flatten(-3, -2);
}

Tensor unpatch(const Tensor& tokens, int64_t height, int64_t width, int64_t patch) {
  const auto front = tokens.sizes().slice(0, static_cast<size_t>(tokens.dim() - 2));
  const int64_t rows = height / patch, columns = width / patch;
  return tokens.view(shape(front, {rows, columns, patch, patch, 3}))
      .movedim(-1, -5)    // [..., 3, rows, columns, p, p]
      .transpose(-3, -2)  // [..., 3, rows, p, columns, p]
      .reshape(shape(front, {3, height, width}));
}

}  // namespace lact::views
