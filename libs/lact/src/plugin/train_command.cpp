#include <lact/dist/place.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/train_command.hpp>
#include <lact/random.hpp>
#include <lact/train/mesh.hpp>
#include <lact/train/run_config.hpp>
#include <lact/train/trainer.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace lact::plugin {

void TrainCommand::declare(cli::Options options) {
  task_->declare(options);
  options_.declare(options, task_->defaults());
}

void TrainCommand::run(cli::Context& context) {
  // Of several processes rank 0 speaks for all; the others warn.
  const auto place = dist::place([](const char* name) { return std::getenv(name); });
  if (place.rank > 0) log::set_level(std::min(log::level(), log::Level::warning));
  task_->configure();
  const auto recipe = task_->defaults();
  const auto options = options_.resolve(recipe);
  if (options.dry_run) {
    const auto dtype =
        ops::resolve_dtype(context.dtype == "auto" ? options.dtype : context.dtype, context.device);
    const train::TaskSetup setup{context.device, dtype, context.seed.value_or(kDefaultSeed),
                                 options.recompute || options.shard_degree > 1, options.ema > 0};
    auto cost = task_->cost(setup);
    cost.write_strength = task_->write_strength(setup);
    // What a launcher would make of it; nobody is talked to.
    if (place.world > 1)
      add_processes(cost, train::mesh_of(place.rank, place.world, options, *task_, context.program),
                    place.local_world);
    return cli::out(train::describe(cost, context.json));
  }
  context.resolved_config =
      train::edit_config(context.resolved_config, options_.filled(recipe), "options");
  std::optional<cli::Progress> progress;
  const auto show = [&progress](double done, double total, const std::string& note) {
    if (!progress) progress.emplace("training", total, "steps");
    progress->set(done, note);
  };
  train::Observer observer;
  observer.info = [](const std::string& line) { log::info(line); };
  observer.warning = [](const std::string& line) { log::warning(line); };
  observer.progress = show;
  observer.stop = [] { return cli::stop_requested() ? cli::stop_signal() : 0; };
  observer.take_signal = [](int signal) { ::raise(signal); };
  observer.lost = [](const std::string& line) {
    log::write(log::Level::error, "error: " + line);
    ::_exit(static_cast<int>(Exit::stopped));
  };
  if (train::run(*task_, options, context, observer) == train::Outcome::interrupted)
    throw cli::Interrupted();
}

}  // namespace lact::plugin
