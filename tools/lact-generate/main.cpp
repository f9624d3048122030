#include <lact/plugin/tool_main.hpp>

extern "C" int lact_generate_main(int argc, char** argv) {
  using namespace lact;
  return plugin::tool_main(plugin::Tool::generate, "lact-generate",
                           "Continue text or video with a model that updates its fast weights as "
                           "it reads and generates.",
                           argc, argv);
}
