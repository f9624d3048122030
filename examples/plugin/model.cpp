#include "model.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

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

lact::nn::Shapes shapes(const Config& config) {
  const int64_t width = config.width, hidden = 2 * width;
  lact::nn::Shapes all{{"in.weight", {width, config.columns}},
                       {"out.weight", {config.columns, width}},
                       {"out_norm.weight", {width}}};
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto block = lact::concat("blocks.", i, ".");
    for (const auto& [name, shape] : lact::nn::lact_layer_shapes(mixing_options(config)))
      all.emplace_back(block + "mix." + name, shape);
    all.push_back({block + "mix_norm.weight", {width}});
    all.push_back({block + "mlp_norm.weight", {width}});
    all.push_back({block + "mlp.gate.weight", {hidden, width}});
    all.push_back({block + "mlp.up.weight", {hidden, width}});
    all.push_back({block + "mlp.down.weight", {width, hidden}});
  }
  return all;
}

Tensor initial_value(const std::string& name, const lact::nn::Shape& shape,
                     const at::Generator& generator) {
  if (name.ends_with("norm.weight") || name.ends_with("qk_scale")) return at::ones(shape);
  if (shape.size() < 2 || name.ends_with("qk_offset")) return at::zeros(shape);
  return at::empty(shape).normal_(0, 1 / std::sqrt(static_cast<double>(shape.back())), generator);
}

int64_t number(const nlohmann::json& config, const char* key, const std::string& where) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_number_integer() || found->get<int64_t>() < 1 ||
      found->get<int64_t>() > 1 << 20)
    throw Error(Exit::data, where, "/config.json: ", key, ": expected 1 to 1048576");
  return found->get<int64_t>();
}

}  // namespace

Model::Model(const Config& config, const lact::nn::Parameters& parameters, const Tensor& mean,
             const Tensor& deviation)
    : config_(config),
      mixing_(mixing_options(config)),
      parameters_(parameters),
      mean_(mean),
      deviation_(deviation) {
  for (int64_t i = 0; i < config.layers; ++i) {
    const auto p = parameters.under(lact::concat("blocks.", i, "."));
    blocks_.push_back({p("mix_norm.weight"), p("mlp_norm.weight"), p("mlp.gate.weight"),
                       p("mlp.up.weight"), p("mlp.down.weight"), p.under("mix.")});
  }
}

Model Model::fresh(const Config& config, const Tensor& mean, const Tensor& deviation,
                   uint64_t seed) {
  return {config, lact::nn::fresh(shapes(config), seed, at::kCPU, initial_value), mean, deviation};
}

Model Model::load(const lact::io::Checkpoint& checkpoint) {
  const auto where = checkpoint.folder().string();
  const auto stored = checkpoint.config();
  if (stored.value("model_type", nlohmann::json()) != kType)
    throw Error(Exit::data, where, "/config.json: model_type is not ", kType);
  const auto read = [&](const char* key) { return number(stored, key, where); };
  const Config config{read("columns"), read("width"), read("layers"),
                      read("heads"),   read("chunk"), read("window")};
  const auto float32 = [](const std::string&, const lact::nn::Shape&) { return false; };
  const lact::nn::Shapes scale{{"mean", {config.columns}}, {"deviation", {config.columns}}};
  const auto scales = lact::nn::load(scale, checkpoint, at::kCPU, at::kFloat, float32);
  return {config, lact::nn::load(shapes(config), checkpoint, at::kCPU, at::kFloat, float32),
          scales("mean"), scales("deviation")};
}

void Model::assign(const lact::io::Checkpoint& checkpoint) {
  lact::nn::assign(parameters_, checkpoint);
}

void Model::save(lact::io::CheckpointWriter& writer) const {
  auto tensors = parameters();
  tensors.emplace_back("mean", mean_);
  tensors.emplace_back("deviation", deviation_);
  writer.tensors("model.safetensors", tensors, {{"format", "pt"}});
  const nlohmann::ordered_json config{{"model_type", kType},     {"columns", config_.columns},
                                      {"width", config_.width},  {"layers", config_.layers},
                                      {"heads", config_.heads},  {"chunk", config_.chunk},
                                      {"window", config_.window}};
  writer.file("config.json", config.dump(2) + "\n");
}

Tensor Model::standard(const Tensor& rows) const {
  return (rows - mean_) / deviation_;
}

Tensor Model::original(const Tensor& rows) const {
  return rows * deviation_ + mean_;
}

template <class Mix>
Tensor Model::run(const Tensor& x, const Mix& mix) const {
  auto h = lact::nn::affine(x.to(compute_), parameters_("in.weight"));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto& block = blocks_[i];
    h = h + mix(i, lact::nn::rms_norm(h, block.mix_norm, kEpsilon));
    h = h + lact::nn::swiglu(lact::nn::rms_norm(h, block.mlp_norm, kEpsilon), block.gate, block.up,
                             block.down);
  }
  // A series goes on much as it was: what is learned is by how much it does not.
  h = lact::nn::rms_norm(h, parameters_("out_norm.weight"), kEpsilon);
  return x + lact::nn::affine(h, parameters_("out.weight")).to(x.dtype());
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
