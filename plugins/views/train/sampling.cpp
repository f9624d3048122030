#include "sampling.hpp"

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace lact::views {
namespace {

// What streams of random numbers are for; 1 is EpochOrder's. Runs depend on the numbers.
constexpr uint64_t kContextCount = 2, kDraw = 3;

using at::Tensor;

std::vector<Camera> pick(const std::vector<Camera>& all, const std::vector<int64_t>& which) {
  std::vector<Camera> some;
  for (const int64_t one : which) some.push_back(all.at(static_cast<size_t>(one)));
  return some;
}

}  // namespace

int64_t context_count(const Sampling& how, uint64_t seed, int64_t step) {
  if (how.min_context < 1 || how.min_context >= how.context) return how.context;
  auto random = random_stream(seed, kContextCount, step);
  return how.min_context + static_cast<int64_t>(random.below(how.context - how.min_context + 1));
}

Draw draw(const Sampling& how, int64_t context, int64_t scene, int64_t count, uint64_t seed,
          int64_t position) {
  const auto sample =
      shuffled(count, std::min(how.views, count), random_stream(seed, kDraw, position));
  return {scene,
          {sample.begin(), sample.begin() + context},
          {sample.end() - how.targets, sample.end()},
          sample};
}

void check(const PackedScenes& data, const Sampling& how, const std::string& where) {
  const int64_t least = std::max(how.context, how.targets);
  if (how.views < least)
    throw Error(Exit::usage, "--views ", how.views, ": fewer than the ", least,
                " that are context or targets of a step");
  for (int64_t i = 0; i < data.size(); ++i)
    if (data.views(i) < least)
      throw Error(Exit::data, where, ": scene ", data.name(i), " has ", data.views(i),
                  " views; a step takes ", least,
                  ": pack without it, or lower --context-views and --target-views");
}

train::Batch make_batch(const PackedScenes& data, const std::vector<Draw>& rows,
                        const std::string& normalize) {
  std::map<std::string, std::vector<Tensor>> parts;
  for (const auto& row : rows) {
    const auto& cameras = data.cameras(row.scene);
    const auto images = data.images(row.scene);
    const auto normal =
        normalization_of(pick(cameras, row.context), pick(cameras, row.sample), normalize);
    const auto put = [&](const std::string& prefix, const std::vector<int64_t>& which) {
      auto chosen = pick(cameras, which);
      for (auto& camera : chosen) camera = normal(camera);
      const auto tensors = posed(chosen);
      parts[prefix + "images"].push_back(images.index_select(0, at::tensor(which, at::kLong)));
      parts[prefix + "intrinsics"].push_back(tensors.intrinsics);
      parts[prefix + "poses"].push_back(tensors.poses);
    };
    put("", row.context);
    put("target_", row.targets);
  }
  train::Batch batch;
  for (const auto& [name, tensors] : parts) batch[name] = at::stack(tensors);
  return batch;
}

namespace {

Posed side_of(const train::Batch& batch, const std::string& prefix, at::Device device) {
  const auto there = [&](const char* name) { return batch.at(prefix + name).to(device); };
  return {there("images").movedim(-1, -3), there("intrinsics"), there("poses")};
}

}  // namespace

Posed context_of(const train::Batch& batch, at::Device device) {
  return side_of(batch, "", device);
}

Posed targets_of(const train::Batch& batch, at::Device device) {
  return side_of(batch, "target_", device);
}

}  // namespace lact::views
