#pragma once
// lact-train MODALITY: the task's options and the trainer's together, then a run or a dry run.

#include <lact/plugin/modality.hpp>
#include <lact/train/options.hpp>

#include <memory>

namespace lact::plugin {

class TrainCommand final : public Command {
 public:
  explicit TrainCommand(std::unique_ptr<train::Task> task) : task_(std::move(task)) {}
  void declare(cli::Options options) override;
  void run(cli::Context& context) override;

 private:
  std::unique_ptr<train::Task> task_;
  train::GivenOptions options_;
};

}  // namespace lact::plugin
