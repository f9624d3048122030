#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/train_command.hpp>

#include <optional>

namespace lact::plugin {

void TrainCommand::declare(CLI::App& app) {
  task_->prefer(options_);
  task_->declare(app);
  train::declare(app, options_);
}

void TrainCommand::run(cli::Context& context) {
  task_->configure();
  if (options_.dry_run) {
    const auto& dtype = context.dtype == "auto" ? options_.auto_dtype : context.dtype;
    cli::out(train::describe(task_->cost({context.device, ops::resolve_dtype(dtype, context.device),
                                          context.seed.value_or(0), options_.recompute}),
                             context.json));
    return;
  }
  std::optional<cli::Progress> progress;
  const auto show = [&progress](double done, double total, const std::string& note) {
    if (!progress) progress.emplace("training", total, "steps");
    progress->set(done, note);
  };
  const train::Observer observer{[](const std::string& line) { log::info(line); },
                                 [](const std::string& line) { log::warning(line); }, show,
                                 cli::stop_requested};
  if (train::run(*task_, options_, context, observer) == train::Outcome::interrupted)
    throw cli::Interrupted();
}

}  // namespace lact::plugin
