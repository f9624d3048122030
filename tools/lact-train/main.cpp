#include <lact/plugin/tool_main.hpp>
#include <lact/train/run_config.hpp>

#include "train_command.hpp"

extern "C" int lact_train_main(int argc, char** argv) {
  using namespace lact;
  return cli::run("lact-train", argc, argv, [](cli::Args& args) {
    const plugin::ToolInfo tool{"lact-train",
                                "Train a model on packed data, or go on where a run was left."};
    const std::string name = args.words.empty() ? "" : args.words[0];
    const auto modality = plugin::choose_modality(
        args, tool, [](plugin::Modality& each) { return each.task() != nullptr; });
    auto task = modality->task();
    if (task == nullptr) throw Error(Exit::unavailable, "'", name, "' has nothing to train");
    train::use_run_config(args.rest);  // --resume: the run's own options
    TrainCommand command(std::move(task));
    plugin::run_command(command, "lact-train " + name, tool.summary, args);
  });
}
