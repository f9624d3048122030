// LPIPS on VGG-16: how far apart two images are in the features of a network that knows
// photographs. Source: spec/views 8; richzhang/PerceptualSimilarity, version 0.1.

#include "quality.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>

#include <map>

namespace lact::media {
namespace {

using at::Tensor;

/// A convolution of VGG-16 with its ReLU, and what is around it.
struct Convolution {
  int number;  // among torchvision's `features`
  int slice;   // of the package lpips
  bool pool;   // the image is halved before it
  int tap;     // which of the five results that are compared; -1: none
};
constexpr std::array<Convolution, 13> kConvolutions = {{{0, 1, false, -1},
                                                        {2, 1, false, 0},
                                                        {5, 2, true, -1},
                                                        {7, 2, false, 1},
                                                        {10, 3, true, -1},
                                                        {12, 3, false, -1},
                                                        {14, 3, false, 2},
                                                        {17, 4, true, -1},
                                                        {19, 4, false, -1},
                                                        {21, 4, false, 3},
                                                        {24, 5, true, -1},
                                                        {26, 5, false, -1},
                                                        {28, 5, false, 4}}};
constexpr int64_t kLeast = 16;  // pixels: one is left after four poolings
constexpr double kEpsilon = 1e-10;
constexpr std::array<double, 3> kShift = {-0.030, -0.088, -0.188}, kScale = {0.458, 0.448, 0.450};

/// The tensor of the first of these names that the file has. Flax keeps kernels as height, width,
/// in, out.
Tensor take(const io::Checkpoint& file, const std::filesystem::path& path,
            const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (!file.contains(name)) continue;
    const auto weight = file.tensor(name);
    return name.ends_with("kernel") && weight.dim() == 4 ? weight.permute({3, 2, 0, 1}) : weight;
  }
  throw Error(Exit::data, path.string(), ": no weights of LPIPS on VGG-16: expected tensor ",
              names[0], ", found none");
}

Tensor per_channel(const std::array<double, 3>& numbers, const Tensor& like) {
  return at::tensor(at::ArrayRef<double>(numbers), like.options()).view({1, 3, 1, 1});
}

}  // namespace

Lpips::Lpips(const Weights& weights) {
  int64_t in = 3;
  for (size_t i = 0; i < kConvolutions.size(); ++i) {
    const auto& [number, slice, pool, tap] = kConvolutions[i];
    const auto name = concat("features.", number, ".");
    weights_[i] = weights(name + "weight", {-1, in, 3, 3}).to(at::kFloat).contiguous();
    in = weights_[i].size(0);
    biases_[i] = weights(name + "bias", {in}).to(at::kFloat).contiguous();
    if (tap < 0) continue;
    linear_[static_cast<size_t>(tap)] =
        weights(concat("lin", tap, ".weight"), {1, in, 1, 1}).to(at::kFloat).contiguous();
  }
}

Lpips Lpips::open(const std::filesystem::path& path) {
  const auto file = io::Checkpoint::open(path);
  std::map<std::string, Tensor> found;
  for (size_t i = 0; i < kConvolutions.size(); ++i) {
    const auto& [number, slice, pool, tap] = kConvolutions[i];
    const auto ours = concat("features.", number, "."),
               package = concat("net.slice", slice, ".", number, "."),
               flax = concat("VGG16_0.Conv_", i, ".");
    found[ours + "weight"] =
        take(file, path, {ours + "weight", package + "weight", flax + "kernel"});
    found[ours + "bias"] = take(file, path, {ours + "bias", package + "bias", flax + "bias"});
    if (tap < 0) continue;
    const auto linear = concat("lin", tap, ".");
    found[linear + "weight"] = take(file, path,
                                    {linear + "weight", linear + "model.1.weight",
                                     concat("NetLinLayer_", tap, ".Conv_0.kernel")});
  }
  return Lpips([&](const std::string& name, std::vector<int64_t> shape) {
    const auto& weight = found.at(name);
    if (shape[0] < 0 && weight.dim() > 0) shape[0] = weight.size(0);
    if (weight.sizes() != at::IntArrayRef(shape))
      throw Error(Exit::data, path.string(), ": tensor ", name, ": expected ",
                  at::IntArrayRef(shape), ", found ", weight.sizes());
    return weight;
  });
}

/// After the ReLUs that are compared, each pixel's vector of length 1.
std::array<Tensor, 5> Lpips::features(const Tensor& image) const {
  auto x = (image * 2 - 1 - per_channel(kShift, image)) / per_channel(kScale, image);
  std::array<Tensor, 5> taps;
  for (size_t i = 0; i < kConvolutions.size(); ++i) {
    if (kConvolutions[i].pool) x = at::max_pool2d(x, {2, 2});
    x = at::relu(at::conv2d(x, weights_[i].to(x.dtype()), biases_[i].to(x.dtype()), 1, 1));
    if (kConvolutions[i].tap < 0) continue;
    const auto length = x.norm(2, {1}, /*keepdim=*/true);
    taps[static_cast<size_t>(kConvolutions[i].tap)] = x / (length + kEpsilon);
  }
  return taps;
}

Tensor Lpips::operator()(const Tensor& a, const Tensor& b) const {
  for (const auto& image : {a, b})
    if (image.sizes() != a.sizes() || image.dim() != 4 || image.size(1) != 3 ||
        image.size(2) < kLeast || image.size(3) < kLeast)
      throw Error(Exit::data, "LPIPS: expected two [N, 3, H, W] of at least ", kLeast, " x ",
                  kLeast, " pixels, found ", a.sizes(), " and ", b.sizes());
  // One after the other: a graph is kept for none that needs no gradient.
  const auto of_a = features(a), of_b = features(b);
  Tensor sum;
  for (size_t tap = 0; tap < linear_.size(); ++tap) {
    const auto weight = linear_[tap].to(a.dtype());
    const auto one =
        at::conv2d((of_a[tap] - of_b[tap]).square(), weight).flatten(1).mean(1);  // [N]
    sum = sum.defined() ? sum + one : one;
  }
  return sum;
}

void Lpips::to(at::Device device) {
  for (auto* list : {weights_.data(), biases_.data()})
    for (size_t i = 0; i < weights_.size(); ++i) list[i] = list[i].to(device);
  for (auto& weight : linear_) weight = weight.to(device);
}

}  // namespace lact::media
