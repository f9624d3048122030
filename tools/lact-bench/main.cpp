#include <lact/plugin/tool_main.hpp>

#include "commands.hpp"

extern "C" int lact_bench_main(int argc, char** argv) {
  using namespace lact;
  return plugin::tool_main(
      plugin::Tool::bench, "lact-bench",
      "Measure this machine and the models on it, and draw what was measured.", argc, argv,
      {{{"plugins", "list every plugin file tried, and why it was left out"},
        bench::plugins_command},
       {{"ceiling", "measure the matrix product rate and memory bandwidth of this machine"},
        bench::ceiling_command},
       {{"op", "measure speed and memory of the operator alone, over its axes"}, bench::op_command},
       {{"comm",
         "measure what the processes of a run send each other, and what of it products hide"},
        bench::comm_command},
       {{"plot", "draw metrics.jsonl or bench JSON as an SVG picture"}, bench::plot_command},
       {{"verify", "replay golden files within their tolerances, or run built-in checks"},
        bench::verify_command}},
      {{"quality", "measure how good a model is"},
       {"sweep", "repeat a published experiment: train, evaluate and compare models"}});
}
