#include "wan_vae_layers.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros.h>

#include <optional>
#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int64_t kTimes = 3;  // frames that a kernel sees

/// A kernel over time and space as one over space, whose channels are those of the frames it sees,
/// earliest first: [out, in, 3, k, k] -> [out, 3 in, k, k]. With channels last this is as fast as
/// conv3d at wide layers (96 channels, 64 x 64: 42 against 43 ms) and several times as fast at
/// narrow ones.
Tensor over_frames(const Tensor& weight) {
  const auto flat = weight.permute({0, 2, 1, 3, 4}).flatten(1, 2);
  return flat.contiguous(at::MemoryFormat::ChannelsLast);
}

/// Frames i, i + 1, i + 2 side by side in the channels, for i = 0, stride, 2 stride, ...
Tensor side_by_side(const Tensor& x, int64_t stride) {
  const int64_t last = x.size(1) - kTimes;  // the largest i
  std::vector<Tensor> seen;
  for (int64_t i = 0; i < kTimes; ++i) seen.push_back(x.slice(1, i, last + i + 1, stride));
  return at::cat(seen, -1);
}

/// A convolution of each frame.
Tensor convolve(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride,
                int64_t padding) {
  const auto frames = x.flatten(0, 1).permute({0, 3, 1, 2});
  const auto y = at::conv2d(frames, weight, bias, stride, padding).permute({0, 2, 3, 1});
  return y.contiguous().unflatten(0, {x.size(0), x.size(1)});
}

/// `count` frames before x, as remembered under `key`; undefined if there are none.
Tensor remembered(const VaePass& pass, const std::string& key, int64_t count, const Tensor& x) {
  const auto found = pass.memory.find(key);
  if (found == pass.memory.end()) return {};
  auto shape = x.sizes().vec();
  shape[1] = count;
  if (found->second.sizes() != at::IntArrayRef(shape) || !found->second.is_floating_point())
    throw Error(Exit::data, "film's state: tensor ", key, ": expected numbers of shape ",
                at::IntArrayRef(shape), ", found ", found->second.dtype().name(), " ",
                found->second.sizes());
  return found->second.to(x.options());
}

/// The frames before x, zeros where there are none, and x; its last frames are remembered.
Tensor with_frames_before(VaePass& pass, const std::string& key, int64_t count, const Tensor& x) {
  auto before = remembered(pass, key, count, x);
  if (!before.defined()) {
    auto shape = x.sizes().vec();
    shape[1] = count;
    before = at::zeros(shape, x.options());
  }
  const auto all = at::cat({before, x}, 1);
  pass.memory[key] = all.slice(1, all.size(1) - count).clone(at::MemoryFormat::Contiguous);
  return all;
}

class Residual final : public VaeLayer {
 public:
  Residual(VaeFile& file, const std::string& name, int64_t in)
      : norm1_(file, name + ".residual.0", in),
        conv1_(file, name + ".residual.2", in, -1, 3),
        norm2_(file, name + ".residual.3", conv1_.width()),
        conv2_(file, name + ".residual.6", conv1_.width(), conv1_.width(), 3) {
    if (in != width()) shortcut_.emplace(file, name + ".shortcut", in, width(), 5);
  }
  int64_t width() const { return conv2_.width(); }
  Tensor run(const Tensor& x, VaePass& pass) const override {
    const auto y = conv2_(norm2_.silu(conv1_(norm1_.silu(x), pass)), pass);
    return (shortcut_ ? (*shortcut_)(x) : x) + y;
  }

 private:
  VaeNorm norm1_;
  CausalConv conv1_;
  VaeNorm norm2_;
  CausalConv conv2_;
  std::optional<VaeLinear> shortcut_;
};

/// Over the pixels of each frame, one head.
class Attention final : public VaeLayer {
 public:
  Attention(VaeFile& file, const std::string& name, int64_t width)
      : norm_(file, name + ".norm", width),
        qkv_(file, name + ".to_qkv", width, 3 * width, 4),
        out_(file, name + ".proj", width, width, 4) {}
  Tensor run(const Tensor& x, VaePass&) const override {
    const auto tokens = qkv_(norm_(x)).flatten(0, 1).flatten(1, 2).unsqueeze(1);
    const auto parts = tokens.chunk(3, -1);  // [B T, 1, H W, C]
    const auto y = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
    return x + out_(y.reshape(x.sizes()));
  }

 private:
  VaeNorm norm_;
  VaeLinear qkv_, out_;
};

/// What both samplers are made of: a convolution over space, and maybe one over time.
struct Resampling {
  /// `in` to `out` channels (-1: as in the file) in space, `width` to `times * width` in time.
  Resampling(VaeFile& file, const std::string& name, int64_t in, int64_t out, int64_t times) {
    space = file.take(name + ".resample.1.weight", {out, in, 3, 3})
                .contiguous(at::MemoryFormat::ChannelsLast);
    space_bias = file.take(name + ".resample.1.bias", {space.size(0)});
    if (!file.has(name + ".time_conv.weight")) return;
    time = over_frames(file.take(name + ".time_conv.weight", {times * in, in, kTimes, 1, 1}));
    time_bias = file.take(name + ".time_conv.bias", {times * in});
    key = file.next_key();
  }
  Tensor space, space_bias, time, time_bias;
  std::string key;
};

class Down final : public VaeLayer {
 public:
  explicit Down(Resampling parts) : parts_(std::move(parts)) {}
  Tensor run(const Tensor& x, VaePass& pass) const override {
    const auto padded = at::constant_pad_nd(x, {0, 0, 0, 1, 0, 1});  // right and below
    const auto y = convolve(padded, parts_.space, parts_.space_bias, 2, 0);
    if (!parts_.time.defined()) return y;
    if (pass.first) {  // one frame, which stands for itself
      pass.memory[parts_.key] = y;
      return y;
    }
    const auto all = with_frames_before(pass, parts_.key, 1, y);
    return convolve(side_by_side(all, 2), parts_.time, parts_.time_bias, 1, 0);
  }

 private:
  Resampling parts_;
};

class Up final : public VaeLayer {
 public:
  explicit Up(Resampling parts) : parts_(std::move(parts)) {}
  Tensor run(const Tensor& x, VaePass& pass) const override {
    const auto y = parts_.time.defined() && !pass.first ? more_frames(x, pass) : x;
    const auto frames = y.flatten(0, 1).permute({0, 3, 1, 2});
    const auto large = at::upsample_nearest2d(frames, {2 * x.size(2), 2 * x.size(3)})
                           .permute({0, 2, 3, 1})
                           .unflatten(0, {y.size(0), y.size(1)});
    return convolve(large, parts_.space, parts_.space_bias, 1, 1);
  }

 private:
  /// Two for each. The film's first frame has passed by and is not among those before.
  Tensor more_frames(const Tensor& x, VaePass& pass) const {
    const auto all = with_frames_before(pass, parts_.key, kTimes - 1, x);
    const auto y = convolve(side_by_side(all, 1), parts_.time, parts_.time_bias, 1, 0);
    return y
        .unflatten(-1, {2, x.size(-1)})  // [B, T, H, W, 2, C]
        .permute({0, 1, 4, 2, 3, 5})
        .flatten(1, 2);  // [B, 2 T, H, W, C]
  }

  Resampling parts_;
};

}  // namespace

VaeNorm::VaeNorm(VaeFile& file, const std::string& name, int64_t width) {
  gamma_ = file.gain(name + ".gamma", width);
}

Tensor VaeNorm::operator()(const Tensor& x) const {
  const auto width = static_cast<double>(x.size(-1));
  return nn::rms_norm(x, gamma_, 1e-24 / width);
}

Tensor VaeNorm::silu(const Tensor& x) const {
  return at::silu((*this)(x));
}

CausalConv::CausalConv(VaeFile& file, const std::string& name, int64_t in, int64_t out, int64_t k)
    : key_(file.next_key()),
      weight_(over_frames(file.take(name + ".weight", {out, in, kTimes, k, k}))),
      bias_(file.take(name + ".bias", {weight_.size(0)})) {}

Tensor CausalConv::operator()(const Tensor& x, VaePass& pass) const {
  if (!pass.first && pass.memory.count(key_) == 0)
    throw Error(Exit::data, "film's state: tensor ", key_, " is missing");
  const auto all = with_frames_before(pass, key_, kTimes - 1, x);
  return convolve(side_by_side(all, 1), weight_, bias_, 1, weight_.size(2) / 2);
}

VaeLinear::VaeLinear(VaeFile& file, const std::string& name, int64_t in, int64_t out,
                     int64_t rank) {
  std::vector<int64_t> shape(static_cast<size_t>(rank), 1);
  shape[0] = out;
  shape[1] = in;
  weight_ = file.take(name + ".weight", shape).flatten(1);
  bias_ = file.take(name + ".bias", {weight_.size(0)});
}

Tensor VaeLinear::operator()(const Tensor& x) const {
  return at::linear(x, weight_, bias_);
}

std::unique_ptr<VaeLayer> vae_residual(VaeFile& file, const std::string& name, int64_t& width) {
  auto layer = std::make_unique<Residual>(file, name, width);
  width = layer->width();
  return layer;
}

std::unique_ptr<VaeLayer> vae_attention(VaeFile& file, const std::string& name, int64_t width) {
  return std::make_unique<Attention>(file, name, width);
}

std::unique_ptr<VaeLayer> vae_down(VaeFile& file, const std::string& name, int64_t width,
                                   int64_t& times) {
  Resampling parts(file, name, width, width, 1);
  times += parts.time.defined() ? 1 : 0;
  return std::make_unique<Down>(std::move(parts));
}

std::unique_ptr<VaeLayer> vae_up(VaeFile& file, const std::string& name, int64_t& width,
                                 int64_t& times) {
  Resampling parts(file, name, width, -1, 2);
  times += parts.time.defined() ? 1 : 0;
  width = parts.space.size(0);
  return std::make_unique<Up>(std::move(parts));
}

}  // namespace lact::video
