#include "model.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include <cmath>

namespace series {
namespace {

using at::Tensor;
using lact::Error;
using lact::Exit;

constexpr double kEpsilon = 1e-6;  // of the norms
constexpr const char* kType = "lact_series";

lact::nn::LactLayerOptions mixing_options(const Config& config) {
  lact::nn::LactLayerOptions options;
  options.width = config.width;
  options.attention_heads = config.heads;
  options.fast_heads = config.heads;
  options.fast_hidden = config.width / config.heads;
  options.chunk = config.chunk;
  options.window = config.window;
  options.rule = lact::ops::Rule::from_name("momentum");
  return options;
}

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

void initialize(const std::string& name, Tensor& tensor, const at::Generator& generator) {
  if (ends_with(name, "norm.weight") || ends_with(name, "qk_scale"))
    tensor.fill_(1);
  else if (tensor.dim() < 2 || ends_with(name, "qk_offset"))
    tensor.zero_();
  else
    tensor.normal_(0, 1 / std::sqrt(static_cast<double>(tensor.size(-1))), generator);
}

int64_t number(const nlohmann::json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer() || found->get<int64_t>() < 1 ||
      found->get<int64_t>() > 1 << 20)
    throw Error(Exit::data, where, "/config.json: ", key, ": expected 1 to 1048576");
  return found->get<int64_t>();
}

}  // namespace

Model::Model(const Config& config) : config_(config), mixing_(mixing_options(config)) {
  const int64_t width = config.width, hidden = 2 * width;
  in_ = at::empty({width, config.columns});
  out_ = at::empty({config.columns, width});
  out_norm_ = at::empty({width});
  mean_ = at::zeros({config.columns});
  deviation_ = at::ones({config.columns});
  for (int64_t i = 0; i < config.layers; ++i) {
    Block block{at::empty({width}),         at::empty({width}),         at::empty({hidden, width}),
                at::empty({hidden, width}), at::empty({width, hidden}), {}};
    for (const auto& [name, shape] : lact::nn::lact_layer_shapes(mixing_))
      block.mix[name] = at::empty(shape);
    blocks_.push_back(std::move(block));
  }
}

Model Model::fresh(const Config& config, const Tensor& mean, const Tensor& deviation,
                   uint64_t seed) {
  Model model(config);
  const auto generator = at::detail::createCPUGenerator(seed);
  for (auto& [name, tensor] : model.parameters()) initialize(name, tensor, generator);
  model.mean_.copy_(mean);
  model.deviation_.copy_(deviation);
  return model;
}

Model Model::load(const lact::io::Checkpoint& checkpoint) {
  const auto where = checkpoint.folder().string();
  const auto config = checkpoint.config();
  if (config.value("model_type", nlohmann::json()) != kType)
    throw Error(Exit::data, where, "/config.json: model_type is not ", kType);
  const auto read = [&](const char* key) { return number(config, key, where); };
  Model model({read("columns"), read("width"), read("layers"), read("heads"), read("chunk"),
               read("window")});
  model.assign(checkpoint);
  return model;
}

void Model::assign(const lact::io::Checkpoint& checkpoint) {
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors()) {
    const auto stored = checkpoint.tensor(name);
    if (stored.sizes() != tensor.sizes())
      throw Error(Exit::data, checkpoint.folder().string(), ": tensor ", name, ": expected ",
                  tensor.sizes(), ", found ", stored.sizes());
    tensor.copy_(stored);
  }
}

void Model::save(lact::io::CheckpointWriter& writer) const {
  writer.tensors("model.safetensors", tensors(), {{"format", "pt"}});
  const nlohmann::ordered_json config{{"model_type", kType},     {"columns", config_.columns},
                                      {"width", config_.width},  {"layers", config_.layers},
                                      {"heads", config_.heads},  {"chunk", config_.chunk},
                                      {"window", config_.window}};
  writer.file("config.json", config.dump(2) + "\n");
}

lact::io::NamedTensors Model::parameters() const {
  lact::io::NamedTensors all{
      {"in.weight", in_}, {"out.weight", out_}, {"out_norm.weight", out_norm_}};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = blocks_[i];
    const auto prefix = lact::concat("blocks.", i, ".");
    for (const auto& [name, tensor] : block.mix) all.emplace_back(prefix + "mix." + name, tensor);
    all.emplace_back(prefix + "mix_norm.weight", block.mix_norm);
    all.emplace_back(prefix + "mlp_norm.weight", block.mlp_norm);
    all.emplace_back(prefix + "mlp.gate.weight", block.gate);
    all.emplace_back(prefix + "mlp.up.weight", block.up);
    all.emplace_back(prefix + "mlp.down.weight", block.down);
  }
  return all;
}

lact::io::NamedTensors Model::tensors() const {
  auto all = parameters();
  all.emplace_back("mean", mean_);
  all.emplace_back("deviation", deviation_);
  return all;
}

Tensor Model::standard(const Tensor& rows) const {
  return (rows - mean_) / deviation_;
}

Tensor Model::original(const Tensor& rows) const {
  return rows * deviation_ + mean_;
}

template <class Mix>
Tensor Model::run(const Tensor& x, const Mix& mix) const {
  auto h = lact::nn::affine(x.to(compute_), in_);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = blocks_[i];
    h = h + mix(i, lact::nn::rms_norm(h, block.mix_norm, kEpsilon));
    h = h + lact::nn::swiglu(lact::nn::rms_norm(h, block.mlp_norm, kEpsilon), block.gate, block.up,
                             block.down);
  }
  // A series goes on much as it was: what is learned is by how much it does not.
  return x + lact::nn::affine(lact::nn::rms_norm(h, out_norm_, kEpsilon), out_).to(x.dtype());
}

Tensor Model::predict(const Tensor& x) const {
  const auto rows = lact::nn::whole_rows(x.size(0), x.size(1), x.device());
  return run(x, [&](size_t i, const Tensor& h) {
    return lact::nn::lact_layer(mixing_, blocks_[i].mix, h, rows);
  });
}

Model::Streams Model::start() const {
  Streams streams;
  for (const auto& block : blocks_)
    streams.push_back(lact::nn::start_stream(mixing_, block.mix, 1));
  return streams;
}

Tensor Model::predict(const Tensor& x, Streams& streams) const {
  const at::NoGradGuard no_grad;
  return run(x, [&](size_t i, const Tensor& h) {
    return lact::nn::lact_layer(mixing_, blocks_[i].mix, h, streams[i]);
  });
}

}  // namespace series
