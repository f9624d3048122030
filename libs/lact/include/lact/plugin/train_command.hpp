#pragma once
// lact-train MODALITY: the task's options and the trainer's together, then a run or a dry run.

#include <lact/plugin/modality.hpp>
#include <lact/train/trainer.hpp>

#include <memory>
#include <string>

namespace lact::plugin {

class TrainCommand final : public Command {
 public:
  explicit TrainCommand(std::unique_ptr<train::Task> task) : task_(std::move(task)) {}
  void declare(CLI::App& app) override;
  void run(cli::Context& context) override;

 private:
  std::unique_ptr<train::Task> task_;
  train::TrainOptions options_;
};

}  // namespace lact::plugin
