#include <lact/plugin/tool_main.hpp>
#include <lact/plugin/train_command.hpp>
#include <lact/train/run_config.hpp>

extern "C" int lact_train_main(int argc, char** argv) {
  using namespace lact;
  const char* summary = "Train a model on packed data, or resume a run.";
  const auto verbs = [summary](const std::shared_ptr<plugin::Modality>& modality) {
    std::vector<plugin::OwnVerb> all;
    if (modality->task() != nullptr)
      all.push_back({{"", summary}, [modality] {
                       return std::make_unique<plugin::TrainCommand>(modality->task());
                     }});
    return all;
  };
  // --resume: the run's own options.
  const auto prepare = [](cli::Args& args) { train::use_run_config(args.rest); };
  return plugin::tool_main(plugin::ToolInfo{"lact-train", summary, verbs, {}, {}, prepare}, argc,
                           argv);
}
