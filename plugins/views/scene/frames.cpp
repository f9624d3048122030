#include "frames.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cstring>

namespace lact::views {

using at::Tensor;

Tensor stacked(const std::vector<media::Image>& images, const std::vector<int64_t>& which) {
  const auto& first = images.at(0);
  const auto out =
      at::empty({static_cast<int64_t>(which.size()), first.height, first.width, 3}, at::kByte);
  auto* to = out.data_ptr<uint8_t>();
  for (const int64_t place : which) {
    const auto& image = images.at(static_cast<size_t>(place));
    if (image.width != first.width || image.height != first.height || image.channels != 3)
      throw Error(Exit::internal, "images of different sizes in one scene");
    std::memcpy(to, image.pixels.data(), image.pixels.size());
    to += image.pixels.size();
  }
  return out.movedim(-1, 1);
}

Tensor in_8_bits(const Tensor& images) {
  return images.scalar_type() == at::kByte ? images : images.mul(255).clamp(0, 255).to(at::kByte);
}

media::Image image_of(const Tensor& tensor) {
  const auto rows = in_8_bits(tensor).to(at::kCPU).movedim(0, -1).contiguous();
  media::Image image(rows.size(1), rows.size(0));
  std::memcpy(image.pixels.data(), rows.data_ptr<uint8_t>(), image.pixels.size());
  return image;
}

}  // namespace lact::views
