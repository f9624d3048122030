#include <lact/log.hpp>
#include <lact/plugin/tool_main.hpp>
#include <lact/train/run_config.hpp>
#include <lact/train/trainer.hpp>

#include "train_command.hpp"

int main(int argc, char** argv) {
  using namespace lact;
  return cli::run("lact-train", argc, argv, [](cli::Args& args) {
    const plugin::ToolInfo tool{"lact-train", "Train a model on packed data, and go on where a run was left."};
    const auto program = "lact-train " + (args.words.empty() ? "" : args.words[0]);
    const auto trains = [](plugin::Modality& modality) { return modality.task() != nullptr; };
    const auto modality = plugin::choose_modality(args, tool, trains);
    TrainCommand command(modality->task(), program);
    train::use_run_config(args.rest);  // --resume: the run's own options
    plugin::run_command(command, program, tool.summary, args);
  });
}
