#pragma once
// Images between tensors and memory.

#include <plugins/common/media/image.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::views {

/// The images of one size at those places, as uint8 [N, 3, h, w].
at::Tensor stacked(const std::vector<media::Image>& images, const std::vector<int64_t>& which);
/// Numbers in [0, 1] as uint8: cut off, not rounded, as the published renderer does (spec/views 8).
at::Tensor in_8_bits(const at::Tensor& images);
/// [3, h, w] in [0, 1], or uint8, to an image.
media::Image image_of(const at::Tensor& tensor);

}  // namespace lact::views
