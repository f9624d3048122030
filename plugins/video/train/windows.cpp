#include "windows.hpp"

#include "noise.hpp"

#include <plugins/video/packed/random_purposes.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace lact::video {
namespace {

using at::Tensor;
using train::Batch;

constexpr uint64_t kEvaluationSeed = 95;

Tensor noise_of(const WindowShape& s, uint64_t seed, uint64_t purpose, int64_t position) {
  return normal_noise(random_stream(seed, purpose, position),
                      {s.repeats, s.chunks, s.chunk_frames, s.channels, s.height, s.width});
}

Tensor times_of(const WindowShape& s, uint64_t seed, int64_t position) {
  auto random = random_stream(seed, kTimes, position);
  auto times = at::empty({s.repeats, s.chunks}, at::kFloat);
  // Below 1 in float32 too.
  for (int64_t i = 0; i < times.numel(); ++i)
    times.data_ptr<float>()[i] = std::min(static_cast<float>(random.uniform()), 0x1.fffffep-1f);
  return times;
}

class WindowSource final : public train::Source {
 public:
  WindowSource(PackedClips clips, const WindowShape& shape, const BatchPlan& plan)
      : clips_(std::move(clips)), shape_(shape), plan_(plan) {}

  Batch at(uint64_t seed, int64_t step, int micro) override {
    if (!order_ || seed != seed_) order_.emplace(seed, clips_.size());
    seed_ = seed;
    const int64_t place = train::place_of(step, micro, plan_.micro_batches);
    WindowBatch batch;
    for (int64_t row = 0; row < plan_.rows; ++row) {
      const int64_t position = place * plan_.rows + row, clip = order_->at(position);
      const int64_t room = clips_.frames(clip) - shape_.frames + 1;
      const int64_t begin =
          shape_.from_start ? 0 : random_stream(seed, kWindow, position).below(room);
      batch.add(clips_, shape_, clip, begin, noise_of(shape_, seed, kTrainingNoise, position));
      batch.rows.back()["times"] = times_of(shape_, seed, position);
    }
    auto all = batch.stacked();
    if (random_stream(seed, kDroppedPrompts, place).uniform() < plan_.drop_text)
      all["clips"].fill_(-1);
    return all;
  }

 private:
  PackedClips clips_;
  WindowShape shape_;
  BatchPlan plan_;
  uint64_t seed_ = 0;
  std::optional<EpochOrder> order_;
};

}  // namespace

void check(const PackedClips& clips, const WindowShape& shape, const std::string& where) {
  if (clips.size() == 0) throw Error(Exit::data, where, ": holds no clip");
  for (int64_t i = 0; i < clips.size(); ++i)
    if (clips.frames(i) < shape.frames)
      throw Error(Exit::data, where, ": clip ", i, " has ", clips.frames(i),
                  " frames; a step takes ", shape.frames, ": pack longer ones, or lower --chunks");
}

void WindowBatch::add(const PackedClips& clips, const WindowShape& shape, int64_t clip,
                      int64_t begin, const Tensor& noise) {
  rows.push_back({{"frames", clips.read(clip, begin, shape.frames)},
                  {"noise", noise},
                  {"clips", at::full({}, clip, at::kLong)}});
}

Batch WindowBatch::stacked() const {
  Batch all;
  for (const auto& [name, tensor] : rows.at(0)) {
    std::vector<Tensor> parts;
    for (const auto& row : rows) parts.push_back(row.at(name));
    all[name] = at::stack(parts);
  }
  return all;
}

std::unique_ptr<train::Source> window_source(const PackedClips& clips, const WindowShape& shape,
                                             const BatchPlan& plan) {
  return std::make_unique<WindowSource>(clips, shape, plan);
}

Batch evaluation_windows(const PackedClips& clips, const WindowShape& shape, int64_t first,
                         int64_t rows) {
  WindowBatch batch;
  for (int64_t clip = first; clip < std::min(first + rows, clips.size()); ++clip)
    batch.add(clips, shape, clip, 0, noise_of(shape, kEvaluationSeed, kEvaluationNoise, clip));
  return batch.stacked();
}

}  // namespace lact::video
