#pragma once
// A task small enough to be run thousands of times: a student of two layers learns a fixed teacher.
// It can be told to go wrong at given steps.

#include <lact/train/task.hpp>

#include <functional>
#include <set>
#include <string>

namespace lact::test {

struct ToyOptions {
  int64_t width = 16;  ///< of the hidden layer
  int64_t rows = 30;   ///< examples a step, dealt to the micro-batches as evenly as it goes
  int micro_batches = 1;
  int64_t ballast = 0;  ///< elements of a parameter that the loss does not use
  double noise = 0;     ///< drawn from LibTorch's default generator, on the hidden layer
  double flops = 0;     ///< a step, as cost() tells them
  double slow = 0;      ///< seconds that a step takes longer
  bool validation = true;
  /// Steps (counted from 0) at which the loss is NaN, a gradient is NaN while the loss is not, and
  /// the loss is 1e4 times too large. As options: "3,7".
  std::set<int64_t> nan_loss, nan_gradient, explosion;
};

class ToyTask final : public train::Task {
 public:
  ToyTask() = default;
  explicit ToyTask(ToyOptions options) : options_(std::move(options)) {}

  void declare(cli::Options options) override;
  void configure() override;
  train::Cost cost(const train::TaskSetup& setup) const override;
  void build(const train::TaskSetup& setup) override;
  std::vector<train::Parameter> parameters() override;
  std::unique_ptr<train::Source> source(train::Split split) override;
  train::Loss loss(const train::Batch& batch, const train::StepInfo& info) override;
  int micro_batches() const override { return options_.micro_batches; }
  int64_t validation_batches() const override;
  train::Tally tally(int64_t batch) override;
  train::Metrics conclude(const train::Tally& sums) const override;
  void load(const io::Checkpoint& checkpoint) override;
  void save(io::CheckpointWriter& writer) const override;

  /// What tally() calls in the middle of its work.
  std::function<void()> while_evaluating;

 private:
  io::NamedTensors named() const;
  at::Tensor predict(const at::Tensor& x) const;

  ToyOptions options_;
  std::string nan_loss_, nan_gradient_, explosion_;  // as given
  at::Tensor first_, bias_, second_, ballast_;
};

}  // namespace lact::test
