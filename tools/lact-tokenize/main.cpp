#include <lact/plugin/tool_main.hpp>

extern "C" int lact_tokenize_main(int argc, char** argv) {
  using namespace lact;
  return plugin::tool_main(plugin::Tool::tokenize, "lact-tokenize",
                           "Pack raw text, photographs or clips into files that lact-train reads.",
                           argc, argv);
}
