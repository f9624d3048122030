#pragma once
// What the mains of the tools share: from the first words of the command line to a running verb.

#include <lact/plugin/host.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lact::plugin {

/// A verb and what makes its command.
struct OwnVerb {
  Verb verb;
  std::function<std::unique_ptr<Command>()> make;
};

/// A tool, what it says of itself and where its verbs come from.
struct ToolInfo {
  const char* program;  ///< "lact-generate"
  const char* summary;  ///< one sentence: what goes in, what comes out
  /// What a modality has for the tool; a single verb without a name takes no word.
  std::function<std::vector<OwnVerb>(const std::shared_ptr<Modality>&)> verbs;
  /// Verbs of the tool itself, beside those of the modalities.
  std::vector<OwnVerb> own = {};
  /// Verbs that stand before the modality ("lact-bench quality text"), which has them under the
  /// same name.
  std::vector<Verb> before = {};
  /// Called before the options of a modality's verb are parsed, if it is there.
  std::function<void(cli::Args&)> prepare = {};
};

/// The main of a tool whose words are MODALITY [VERB], or a verb of its own. `--help` without words
/// prints the tool's page; `--completion SHELL` a script that knows all that is found.
int tool_main(const ToolInfo& tool, int argc, char** argv);

/// The same, the verbs being those that Modality::verbs names for that tool.
int tool_main(Tool tool, const char* program, const char* summary, int argc, char** argv,
              const std::vector<OwnVerb>& own = {}, const std::vector<Verb>& before = {});

}  // namespace lact::plugin
