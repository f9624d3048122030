// Parameters of a model: drawn, or read from a file.
#include "model.hpp"
#include "names.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/parameter.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <set>

namespace lact::video {
namespace {

using at::Tensor;
using Sizes = std::vector<int64_t>;

/// Drawn on the CPU whatever the device: the same model everywhere.
class Draw {
 public:
  Draw(const Config& config, uint64_t seed)
      : config_(config), generator_(at::detail::createCPUGenerator(seed)) {}

  /// Spec 10; `converted`: a Wan model gets fast weights, which at first give nothing (5.2).
  Tensor operator()(const std::string& name, const Sizes& shape, bool converted = false) {
    if (name.ends_with(".w0") || name.ends_with(".w1") || name.ends_with(".w2"))
      return fast(name.ends_with(".w1"), shape);
    if (name.ends_with("ttt_scale_proj.bias"))
      return converted ? at::zeros(shape, at::kFloat) : at::ones(shape, at::kFloat);
    if (name.ends_with(".bias") || name.ends_with("ttt_scale_proj.weight") ||
        name.ends_with("qk_offset") || name == "head.head.weight")
      return at::zeros(shape, at::kFloat);
    if (name.ends_with("qk_scale") || shape.size() == 1)  // norms
      return at::ones(shape, at::kFloat);
    if (name.ends_with("modulation")) return normal(shape, 1 / std::sqrt(shape.back()));
    if (name.starts_with("text_embedding.") || name.starts_with("time_embedding."))
      return normal(shape, 0.02);
    if (name == "condition.table") return normal(shape, 1);
    int64_t in = 1;  // Xavier, the patch kernel as one row
    for (size_t i = 1; i < shape.size(); ++i) in *= shape[i];
    const double bound = std::sqrt(6.0 / static_cast<double>(in + shape[0]));
    return at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_);
  }

 private:
  Tensor normal(const Sizes& shape, double deviation) {
    return at::empty(shape, at::kFloat).normal_(0, deviation, generator_);
  }
  /// w1 [heads, K, F], w0 and w2 [heads, F, K].
  Tensor fast(bool down, const Sizes& shape) {
    const int64_t from = shape[2], to = shape[1];
    const auto& init = config_.fast->init;
    if (init == "identity") {
      const int64_t k = std::min(from, to);
      const auto eye = at::eye(k, at::kFloat).unsqueeze(0);
      const int64_t times = std::max(from, to) / k, dim = down ? 2 : 1;
      return at::cat(std::vector<Tensor>(static_cast<size_t>(times), eye), dim)
          .repeat({shape[0], 1, 1});
    }
    const auto w = normal(shape, 1 / std::sqrt(static_cast<double>(from)));
    if (init != "mup") return w;
    // sqrt(F / K): w0 and w2 grow by it, w1 shrinks.
    return w * std::sqrt(static_cast<double>(to) / static_cast<double>(from));
  }

  const Config& config_;
  at::Generator generator_;
};

/// Large matrices that only ever enter products: what else there is is used in float32 or better.
bool is_matrix(const std::string& name, const Sizes& shape) {
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
      throw Error(Exit::data, checkpoint.folder().string(), ": tensor ", io::printable(stored),
                  ": not one of the model that config.json describes");
}

}  // namespace

VideoModel VideoModel::fresh(const Config& config, uint64_t seed, at::Device device) {
  Draw draw(config, seed);
  return {config, [&](const std::string& name, const Sizes& shape) {
            return draw(name, shape).to(device);
          }};
}

VideoModel VideoModel::load(const Config& config, const io::Checkpoint& checkpoint,
                            at::Device device, at::ScalarType products,
                            std::vector<std::string>* fresh, uint64_t seed) {
  const StoredNames names(checkpoint);
  refuse_others(checkpoint, names, config);
  const bool converted = config.fast && !names.has_fast();
  Draw draw(config, seed);
  VideoModel model(config, [&](const std::string& name, const Sizes& shape) {
    const auto type = is_matrix(name, shape) || products == at::kDouble ? products : at::kFloat;
    const auto stored = names.find(name);
    const bool may_lack = is_addition(name) || name == "condition.table";
    if (stored.empty() && converted && may_lack) {
      if (fresh != nullptr) fresh->push_back(name);
      return draw(name, shape, /*converted=*/true).to(device, type);
    }
    return io::parameter(checkpoint, name, shape, stored)
        .to(device, type, /*non_blocking=*/false, /*copy=*/true)
        .contiguous();
  });
  model.set_compute_dtype(products);
  return model;
}

}  // namespace lact::video
