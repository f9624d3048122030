#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/train_command.hpp>
#include <lact/random.hpp>
#include <lact/train/run_config.hpp>
#include <lact/train/trainer.hpp>

#include <optional>

namespace lact::plugin {

void TrainCommand::declare(cli::Options options) {
  task_->declare(options);
  options_.declare(options, task_->defaults());
}

void TrainCommand::run(cli::Context& context) {
  task_->configure();
  const auto recipe = task_->defaults();
  const auto options = options_.resolve(recipe);
  if (options.dry_run) {
    const auto dtype =
        ops::resolve_dtype(context.dtype == "auto" ? options.dtype : context.dtype, context.device);
    const train::TaskSetup setup{context.device, dtype, context.seed.value_or(kDefaultSeed),
                                 options.recompute, options.ema > 0};
    auto cost = task_->cost(setup);
    cost.write_strength = task_->write_strength(setup);
    return cli::out(train::describe(cost, context.json));
  }
  context.resolved_config =
      train::edit_config(context.resolved_config, options_.filled(recipe), "options");
  std::optional<cli::Progress> progress;
  const auto show = [&progress](double done, double total, const std::string& note) {
    if (!progress) progress.emplace("training", total, "steps");
    progress->set(done, note);
  };
  const train::Observer observer{[](const std::string& line) { log::info(line); },
                                 [](const std::string& line) { log::warning(line); }, show,
                                 cli::stop_requested};
  if (train::run(*task_, options, context, observer) == train::Outcome::interrupted)
    throw cli::Interrupted();
}

}  // namespace lact::plugin
