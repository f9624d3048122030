#include <lact/error.hpp>
#include <lact/nn/parameters.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <string>
#include <utility>

namespace lact::nn {

using at::Tensor;

int64_t count(const Shapes& shapes) {
  int64_t sum = 0;
  for (const auto& [name, shape] : shapes) sum += c10::multiply_integers(shape);
  return sum;
}

std::vector<int64_t> counts_by(const Shapes& shapes, const std::string& prefix) {
  std::vector<int64_t> counts;
  for (const auto& one : shapes) {
    if (!one.first.starts_with(prefix)) continue;
    const auto block = static_cast<size_t>(std::stoll(one.first.substr(prefix.size())));
    counts.resize(std::max(counts.size(), block + 1));
    counts[block] += count({one});
  }
  return counts;
}

Parameters::Parameters(io::NamedTensors tensors) : tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) places_[tensors_[i].first] = i;
}

Parameters::Parameters(const Shapes& shapes,
                       const std::function<Tensor(const std::string&, const Shape&)>& value) {
  for (const auto& [name, shape] : shapes) {
    places_[name] = tensors_.size();
    tensors_.emplace_back(name, value(name, shape));
  }
}

const Tensor& Parameters::operator()(const std::string& name) const {
  const auto found = places_.find(name);
  if (found == places_.end()) throw Error(Exit::internal, "a model has no parameter ", name);
  return tensors_[found->second].second;
}

Tensor Parameters::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? Tensor() : tensors_[found->second].second;
}

void Parameters::replace(const std::string& name, const Tensor& tensor) {
  tensors_.at(places_.at(name)).second = tensor;
}

dist::Shards shard(Parameters& parameters, size_t blocks,
                   const std::function<std::string(size_t)>& prefix, const dist::Group& group) {
  dist::Shards shards;
  for (size_t block = 0; block < blocks; ++block) {
    io::NamedTensors whole;
    for (const auto& one : parameters.all())
      if (one.first.starts_with(prefix(block))) whole.push_back(one);
    shards.push_back(std::make_shared<dist::Sharded>(group, whole));
    for (const auto& [name, part] : shards.back()->parts()) parameters.replace(name, part);
  }
  return shards;
}

Parameters Parameters::under(const std::string& prefix) const {
  io::NamedTensors some;
  for (const auto& [name, tensor] : tensors_)
    if (name.starts_with(prefix)) some.emplace_back(name.substr(prefix.size()), tensor);
  return Parameters(std::move(some));
}

Parameters fresh(const Shapes& shapes, uint64_t seed, at::Device device,
                 const InitialValue& value) {
  const auto generator = at::detail::createCPUGenerator(seed);
  return {shapes, [&](const std::string& name, const Shape& shape) {
            return value(name, shape, generator).to(device);
          }};
}

Tensor parameter(const io::Checkpoint& checkpoint, const std::string& name, const Shape& shape,
                 const std::string& stored) {
  const auto where = checkpoint.folder().string();
  const auto& key = stored.empty() ? name : stored;
  if (!checkpoint.contains(key)) throw Error(Exit::data, where, ": tensor ", name, " is missing");
  const auto tensor = checkpoint.tensor(key);
  if (tensor.sizes() != at::IntArrayRef(shape))
    throw Error(Exit::data, where, ": tensor ", name, ": expected ", at::IntArrayRef(shape),
                ", found ", tensor.sizes());
  if (!tensor.is_floating_point())
    throw Error(Exit::data, where, ": tensor ", name, ": expected a floating dtype, found ",
                tensor.dtype().name());
  return tensor;
}

Parameters load(const Shapes& shapes, const io::Checkpoint& checkpoint, at::Device device,
                at::ScalarType products,
                const std::function<bool(const std::string&, const Shape&)>& only_multiplied,
                const StoredName& stored) {
  return {shapes, [&](const std::string& name, const Shape& shape) {
            const auto type =
                only_multiplied(name, shape) || products == at::kDouble ? products : at::kFloat;
            return parameter(checkpoint, name, shape, stored ? stored(name) : name)
                .to(device, type, /*non_blocking=*/false, /*copy=*/true)
                .contiguous();
          }};
}

void assign(const Parameters& parameters, const io::Checkpoint& checkpoint,
            const StoredName& stored) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : parameters.all()) {
    Tensor place = tensor;
    place.copy_(parameter(checkpoint, name, tensor.sizes().vec(), stored ? stored(name) : name));
  }
}

}  // namespace lact::nn
