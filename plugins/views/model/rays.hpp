#pragma once
// Posed pixels to tokens, and tokens to pixels. Source: spec/views 3, 4.1.

#include <plugins/views/camera/camera.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::views {

/// Views of one size, side by side: any number of dimensions before those named.
struct Posed {
  at::Tensor images;      ///< [..., 3, h, w] uint8 or floating in [0, 1]; undefined: to be rendered
  at::Tensor intrinsics;  ///< [..., 4] fx fy cx cy in pixels
  at::Tensor poses;       ///< [..., 4, 4] camera to world, OpenCV axes
};

/// Of the views [..., V] those that are rank `rank`'s of `size`: as many as the others, or one
/// more.
Posed share_of(const Posed& views, int64_t rank, int64_t size);

/// Cameras as tensors, without images.
Posed posed(const std::vector<Camera>& cameras, at::ScalarType dtype = at::kFloat);

/// One scene, with images, as a batch of one scene: [V, ...] -> [1, V, ...].
Posed batch_of_one(const Posed& views, at::Device device);

/// Per pixel origin, unit direction, origin x direction: [..., h, w, 9], in the poses' dtype.
at::Tensor pose_features(const Posed& views, int64_t height, int64_t width);

/// The same with 2 rgb - 1 behind them, zeros without images: [..., h, w, 12].
at::Tensor pixel_features(const Posed& views, int64_t height, int64_t width);

/// [..., V, ...] -> [..., V * l, p * p * 12]: pixel row, pixel column, channel (fastest).
at::Tensor patches(const Posed& views, int64_t height, int64_t width, int64_t patch);

/// The inverse for 3 channels: [..., l, p * p * 3] -> [..., 3, h, w].
at::Tensor unpatch(const at::Tensor& tokens, int64_t height, int64_t width, int64_t patch);

}  // namespace lact::views
