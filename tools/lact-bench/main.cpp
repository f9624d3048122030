#include <lact/plugin/tool_main.hpp>

#include "commands.hpp"

extern "C" int lact_bench_main(int argc, char** argv) {
  using namespace lact;
  return plugin::tool_main(
      plugin::Tool::bench, "lact-bench",
      "Measure this machine and the models on it, and draw what was measured.", argc, argv,
      {{{"plugins", "every plugin file tried, and why it was left out"}, bench::plugins_command},
       {{"ceiling", "matrix product rate and memory bandwidth of this machine"},
        bench::ceiling_command},
       {{"op", "speed and memory of the operator alone, over its axes"}, bench::op_command},
       {{"plot", "metrics.jsonl or bench JSON to an SVG picture"}, bench::plot_command},
       {{"verify", "golden files against their tolerances, or built-in checks"},
        bench::verify_command}},
      {{"quality", "how good a model is: loss by position, what it finds again"}});
}
