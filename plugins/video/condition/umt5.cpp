#include "umt5.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/where.h>

#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int64_t kBuckets = 32, kExact = 8, kFarthest = 128;
constexpr double kEpsilon = 1e-6;

/// Weights of a layer in the order of Layer's members: official, transformers'.
constexpr std::array<std::pair<const char*, const char*>, 10> kLayer = {{
    {"norm1", "layer.0.layer_norm"},
    {"attn.q", "layer.0.SelfAttention.q"},
    {"attn.k", "layer.0.SelfAttention.k"},
    {"attn.v", "layer.0.SelfAttention.v"},
    {"attn.o", "layer.0.SelfAttention.o"},
    {"pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"},
    {"norm2", "layer.1.layer_norm"},
    {"ffn.gate.0", "layer.1.DenseReluDense.wi_0"},
    {"ffn.fc1", "layer.1.DenseReluDense.wi_1"},
    {"ffn.fc2", "layer.1.DenseReluDense.wo"},
}};

struct Layer {
  Tensor norm1, q, k, v, o, bias, norm2, gate, up, down;
};

/// Tensors of an encoder, under one of two namings.
class File {
 public:
  File(const io::Checkpoint& file, std::string where, at::Device device)
      : file_(file),
        where_(std::move(where)),
        device_(device),
        port_(file.contains("shared.weight")) {
    if (!port_ && !file.contains("token_embedding.weight"))
      throw Error(Exit::data, where_,
                  ": no UMT5 encoder: expected tensor token_embedding.weight or shared.weight");
  }
  bool has_layer(size_t layer) const { return file_.contains(name(layer, 0)); }
  Tensor of_layer(size_t layer, size_t part, const std::vector<int64_t>& shape) const {
    return take(name(layer, part), shape);
  }
  Tensor embedding() const {
    return take(port_ ? "shared.weight" : "token_embedding.weight", {-1, -1});
  }
  Tensor last_norm(int64_t width) const {
    return take(port_ ? "encoder.final_layer_norm.weight" : "norm.weight", {width});
  }
  /// -1 fits any size above 0.
  Tensor take(const std::string& name, const std::vector<int64_t>& shape) const {
    if (!file_.contains(name)) throw Error(Exit::data, where_, ": tensor ", name, " is missing");
    const auto& found = file_.entry(name).shape;
    bool fits = found.size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] < 0 ? found[i] > 0 : found[i] == shape[i];
    const auto tensor = fits ? file_.tensor(name) : Tensor();
    if (!fits || !tensor.is_floating_point())
      throw Error(Exit::data, where_, ": tensor ", name, ": expected numbers of shape ",
                  at::IntArrayRef(shape), ", found ", file_.entry(name).dtype, " ",
                  at::IntArrayRef(found));
    return tensor.to(device_);
  }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(Exit::data, where_, ": ", what);
  }

 private:
  std::string name(size_t layer, size_t part) const {
    return port_ ? concat("encoder.block.", layer, ".", kLayer[part].second, ".weight")
                 : concat("blocks.", layer, ".", kLayer[part].first, ".weight");
  }

  const io::Checkpoint& file_;
  std::string where_;
  at::Device device_;
  bool port_;
};

Layer read_layer(const File& file, size_t i, int64_t width) {
  Layer layer;
  layer.norm1 = file.of_layer(i, 0, {width});
  layer.q = file.of_layer(i, 1, {-1, width});
  const int64_t inner = layer.q.size(0);
  layer.k = file.of_layer(i, 2, {inner, width});
  layer.v = file.of_layer(i, 3, {inner, width});
  layer.o = file.of_layer(i, 4, {width, inner});
  layer.bias = file.of_layer(i, 5, {kBuckets, -1});
  if (inner % layer.bias.size(1) != 0)
    file.refuse(concat("layer ", i, ": expected a width that ", layer.bias.size(1),
                       " heads divide, found ", inner));
  layer.norm2 = file.of_layer(i, 6, {width});
  layer.gate = file.of_layer(i, 7, {-1, width});
  const int64_t hidden = layer.gate.size(0);
  layer.up = file.of_layer(i, 8, {hidden, width});
  layer.down = file.of_layer(i, 9, {width, hidden});
  return layer;
}

Tensor product(const Tensor& x, const Tensor& weight) {
  return at::linear(x, weight.to(x.dtype()));
}

Tensor norm(const Tensor& x, const Tensor& weight) {
  return nn::rms_norm(x, weight.to(x.dtype()), kEpsilon);
}

/// No scale: the weights hold it. bucket [L, L], absent [B, 1, 1, L].
Tensor attention(const Layer& layer, const Tensor& x, const Tensor& bucket, const Tensor& absent) {
  const int64_t heads = layer.bias.size(1);
  const auto split = [&](const Tensor& weight) {
    return product(x, weight).unflatten(-1, {heads, -1}).transpose(1, 2);  // [B, heads, L, kv]
  };
  const auto bias = layer.bias.to(x.dtype())
                        .index_select(0, bucket.flatten())
                        .view({bucket.size(0), bucket.size(1), heads})
                        .permute({2, 0, 1});
  const double lowest = x.scalar_type() == at::kDouble ? std::numeric_limits<double>::lowest()
                                                       : std::numeric_limits<float>::lowest();
  const auto mask = bias.unsqueeze(0).masked_fill(absent, lowest);  // [B, heads, L, L]
  const auto y = at::scaled_dot_product_attention(split(layer.q), split(layer.k), split(layer.v),
                                                  mask, 0.0, false, /*scale=*/1.0);
  return product(y.transpose(1, 2).flatten(2), layer.o);
}

Tensor feed_forward(const Layer& layer, const Tensor& x) {
  const auto gate = at::gelu(product(x, layer.gate), "tanh");
  return product(gate * product(x, layer.up), layer.down);
}

}  // namespace

struct Umt5::Weights {
  at::ScalarType products;
  Tensor embedding, last_norm;
  std::vector<Layer> layers;
};

Umt5 Umt5::load(const io::Checkpoint& checkpoint, const std::string& where, at::Device device,
                at::ScalarType products) {
  const File file(checkpoint, where, device);
  auto weights = std::make_shared<Weights>();
  weights->products = products;
  weights->embedding = file.embedding();
  const int64_t width = weights->embedding.size(1);
  weights->last_norm = file.last_norm(width);
  while (file.has_layer(weights->layers.size()))
    weights->layers.push_back(read_layer(file, weights->layers.size(), width));
  if (weights->layers.empty()) file.refuse("no UMT5 encoder: it has no layers");
  Umt5 encoder;
  encoder.weights_ = std::move(weights);
  return encoder;
}

int64_t Umt5::width() const {
  return weights_->embedding.size(1);
}

int64_t Umt5::vocabulary() const {
  return weights_->embedding.size(0);
}

Tensor Umt5::encode(const Tensor& ids, const Tensor& mask) const {
  const at::NoGradGuard no_grad;
  const auto device = weights_->embedding.device();
  const auto absent = (mask.to(device) == 0).unsqueeze(1).unsqueeze(1);  // [B, 1, 1, L]
  const auto place = at::arange(ids.size(1), at::TensorOptions(device).dtype(at::kLong));
  const auto bucket = umt5_bucket(place.unsqueeze(0) - place.unsqueeze(1));  // key - query
  auto x = weights_->embedding.index_select(0, ids.to(device).flatten())
               .to(weights_->products)
               .view({ids.size(0), ids.size(1), width()});
  for (const auto& layer : weights_->layers) {
    x = x + attention(layer, norm(x, layer.norm1), bucket, absent);
    x = x + feed_forward(layer, norm(x, layer.norm2));
  }
  return norm(x, weights_->last_norm).masked_fill(absent.squeeze(1).squeeze(1).unsqueeze(-1), 0);
}

Tensor umt5_bucket(const Tensor& relative) {
  constexpr int64_t kSide = kBuckets / 2;
  const auto distance = relative.abs();
  const auto octaves = at::log(distance.to(at::kFloat) / kExact) /
                       std::log(static_cast<double>(kFarthest) / kExact) * (kSide - kExact);
  const auto far = (kExact + octaves.clamp_min(0).to(at::kLong)).clamp_max(kSide - 1);
  return (relative > 0) * kSide + at::where(distance < kExact, distance, far);
}

}  // namespace lact::video
