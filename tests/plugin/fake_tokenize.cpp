// A tool of several verbs, for host_test.cpp.

#include <lact/plugin/tool_main.hpp>

int main(int argc, char** argv) {
  return lact::plugin::tool_main(lact::plugin::Tool::tokenize, "lact-fake-tokenize",
                                 "Turns fakes into fakes.", argc, argv);
}
