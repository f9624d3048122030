// Parameters of a model: drawn, or read from a file.
#include "model.hpp"
#include "model_place.hpp"
#include "names.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <set>

namespace lact::video {
namespace {

using at::Tensor;
using Sizes = nn::Shape;

Tensor normal(const Sizes& shape, double deviation, const at::Generator& generator) {
  return at::empty(shape, at::kFloat).normal_(0, deviation, generator);
}

/// w1 [heads, K, F], w0 and w2 [heads, F, K].
Tensor initial_fast(const Config& config, bool down, const Sizes& shape,
                    const at::Generator& generator) {
  const int64_t from = shape[2], to = shape[1];
  const auto& init = config.fast->init;
  if (init == "identity") {
    const int64_t k = std::min(from, to);
    const auto eye = at::eye(k, at::kFloat).unsqueeze(0);
    const int64_t times = std::max(from, to) / k, dim = down ? 2 : 1;
    return at::cat(std::vector<Tensor>(static_cast<size_t>(times), eye), dim)
        .repeat({shape[0], 1, 1});
  }
  const auto w = normal(shape, 1 / std::sqrt(static_cast<double>(from)), generator);
  if (init != "mup") return w;
  // sqrt(F / K): w0 and w2 grow by it, w1 shrinks.
  return w * std::sqrt(static_cast<double>(to) / static_cast<double>(from));
}

/// As spec/video 10; `converted`: a Wan model gets fast weights, which at first give nothing
/// (spec/video 5.2).
Tensor initial_value(const Config& config, const std::string& name, const Sizes& shape,
                     const at::Generator& generator, bool converted = false) {
  if (name.ends_with(".w0") || name.ends_with(".w1") || name.ends_with(".w2"))
    return initial_fast(config, name.ends_with(".w1"), shape, generator);
  if (name.ends_with("ttt_scale_proj.bias"))
    return at::full(shape, config.fast->scale_bias.value_or(converted ? 0 : 1), at::kFloat);
  if (name.ends_with("momentum_proj.0.bias"))
    return at::full(shape, config.fast->momentum_bias.value_or(0), at::kFloat);
  if (name.ends_with(".bias") || name.ends_with("ttt_scale_proj.weight") ||
      name.ends_with("qk_offset") || name == "head.head.weight")
    return at::zeros(shape, at::kFloat);
  if (name.ends_with("qk_scale") || shape.size() == 1)  // norms
    return at::ones(shape, at::kFloat);
  if (name.ends_with("modulation")) return normal(shape, 1 / std::sqrt(shape.back()), generator);
  if (name.starts_with("text_embedding.") || name.starts_with("time_embedding."))
    return normal(shape, 0.02, generator);
  if (name == "condition.table") return normal(shape, 1, generator);
  int64_t in = 1;  // Xavier, the patch kernel as one row
  for (size_t i = 1; i < shape.size(); ++i) in *= shape[i];
  const double bound = std::sqrt(6.0 / static_cast<double>(in + shape[0]));
  return at::empty(shape, at::kFloat).uniform_(-bound, bound, generator);
}

/// Large matrices that only ever enter products.
bool only_multiplied(const std::string& name, const Sizes& shape) {
  if (name.starts_with("time_") || is_addition(name) || name.starts_with("condition."))
    return false;
  return name.ends_with(".weight") && (shape.size() == 2 || shape.size() == 5);
}

/// Names in the file that no parameter has.
void refuse_others(const io::Checkpoint& checkpoint, const StoredNames& names,
                   const Config& config) {
  std::set<std::string> known;
  for (const auto& [name, shape] : parameter_shapes(config)) known.insert(name);
  for (const auto& [name, stored] : names.all())
    if (known.count(name) == 0 && !name.starts_with("codec."))
      throw Error(Exit::data, file_name(checkpoint), ": tensor ", io::printable(stored),
                  ": not one of the model that config.json describes");
}

}  // namespace

VideoModel VideoModel::fresh(const Config& config, uint64_t seed, at::Device device) {
  const auto value = [&](const std::string& name, const Sizes& shape, const auto& generator) {
    return initial_value(config, name, shape, generator);
  };
  return {config, nn::fresh(parameter_shapes(config), seed, device, value)};
}

VideoModel VideoModel::load(const Config& config, const io::Checkpoint& checkpoint,
                            at::Device device, at::ScalarType products,
                            std::vector<std::string>* fresh, uint64_t seed) {
  const StoredNames names(checkpoint);
  refuse_others(checkpoint, names, config);
  const bool converted = config.fast && !names.has_fast();
  const auto lacks = [&](const std::string& name) {
    return converted && names.find(name).empty() &&
           (is_addition(name) || name == "condition.table");
  };
  nn::Shapes stored, drawn;
  for (const auto& one : parameter_shapes(config))
    (lacks(one.first) ? drawn : stored).push_back(one);
  const auto value = [&](const std::string& name, const Sizes& shape, const auto& generator) {
    return initial_value(config, name, shape, generator, /*converted=*/true);
  };
  const auto old = nn::load(stored, checkpoint, device, products, only_multiplied,
                            [&](const std::string& name) { return names.find(name); });
  const auto added = nn::fresh(drawn, seed, device, value);
  if (fresh != nullptr)
    for (const auto& [name, shape] : drawn) fresh->push_back(name);
  const auto wide = products == at::kDouble ? at::kDouble : at::kFloat;
  VideoModel model(config, {parameter_shapes(config), [&](const std::string& name, const Sizes&) {
                              const auto found = old.find(name);
                              return found.defined() ? found : added(name).to(wide);
                            }});
  model.set_compute_dtype(products);
  return model;
}

}  // namespace lact::video
