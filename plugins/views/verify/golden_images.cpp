#include "golden_images.hpp"

#include <plugins/common/media/image.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace lact::views {
namespace {

using at::Tensor;
using verify::Computed;
using verify::Golden;

constexpr int64_t kLargestSide = 8192;

media::Image image_of(const Golden& file, const std::string& name) {
  if (!file.has(name)) file.refuse("tensor ", name, " is missing");
  const auto& entry = file.file().entry(name);
  const auto& shape = entry.shape;
  const bool sound = entry.dtype == "U8" && shape.size() == 3 && shape[0] > 0 && shape[1] > 0 &&
                     (shape[2] == 3 || shape[2] == 4);
  if (!sound)
    file.refuse("tensor ", name, ": expected U8 [H, W, 3 or 4], found ", entry.dtype, " ",
                at::IntArrayRef(shape));
  const auto pixels = file.file().tensor(name).contiguous();
  media::Image image(shape[1], shape[0], shape[2]);
  std::copy_n(pixels.data_ptr<uint8_t>(), image.pixels.size(), image.pixels.begin());
  return image;
}

Tensor tensor_of(const media::Image& image) {
  return at::from_blob(const_cast<uint8_t*>(image.pixels.data()),
                       {image.height, image.width, image.channels}, at::kByte)
      .clone();
}

int64_t side(const Golden& file, const nlohmann::json& target, size_t which) {
  const bool sound = target.is_array() && target.size() == 2 && target[which].is_number_integer();
  const int64_t value = sound ? target[which].get<int64_t>() : 0;
  if (value < 1 || value > kLargestSide)
    file.refuse("case: targets: expected [height, width] up to ", kLargestSide, ", found ",
                target.dump());
  return value;
}

/// in.imageN and in.intrinsicsN, prepared for the Nth of the case's targets.
Computed image_prep(Golden& file) {
  const auto& targets = file.option("targets");
  if (!targets.is_array()) file.refuse("case: targets: expected an array");
  Computed out;
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto number = std::to_string(i);
    const auto covered = media::cover(image_of(file, "in.image" + number),
                                      side(file, targets[i], 1), side(file, targets[i], 0));
    const auto given =
        file.input("in.intrinsics" + number, std::vector<int64_t>{4}).to(at::kCPU, at::kDouble);
    const auto offset =
        at::tensor({0.0, 0.0, static_cast<double>(covered.left), static_cast<double>(covered.top)},
                   at::kDouble);
    out["out.pixels" + number] = tensor_of(covered.image);
    out["out.intrinsics" + number] = given * covered.scale - offset;
    out["out.rgb" + number] =
        tensor_of(media::over(covered.image)).permute({2, 0, 1}).to(at::kDouble) / 255;
  }
  return out;
}

}  // namespace

verify::GoldenKind image_prep_kind() {
  return {"image_prep", "in.image0", image_prep};
}

}  // namespace lact::views
