#include <lact/plugin/tool_main.hpp>

extern "C" int lact_render_main(int argc, char** argv) {
  using namespace lact;
  return plugin::tool_main(
      plugin::Tool::render, "lact-render",
      "Read posed photographs into a model's fast weights, and render new views.", argc, argv);
}
