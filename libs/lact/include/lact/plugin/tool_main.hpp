#pragma once
// What the mains of the tools share: from the first words of the command line to a running verb.

#include <lact/plugin/host.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace lact::plugin {

/// A verb that belongs to the tool itself, beside those of the modalities.
struct OwnVerb {
  Verb verb;
  std::function<std::unique_ptr<Command>()> make;
};

/// A tool and what it says of itself.
struct ToolInfo {
  const char* program;  ///< "lact-generate"
  const char* summary;  ///< one sentence: what goes in, what comes out
};

/// The folder of --plugin-dir (last one given), or "". Read before the plugin that declares the
/// rest of the options is there.
std::filesystem::path plugin_dir(const cli::Args& args);

/// Takes the first word of the command line, "" if there is none.
std::string take_word(cli::Args& args);

/// Takes the modality's name and loads it. Without one: `--help` prints the tool's page, the
/// modalities for which `serves` is true and the tool's own verbs, and throws cli::Finished; else
/// the same page's first lines on stderr and Error(usage).
std::unique_ptr<Modality> choose_modality(cli::Args& args, const ToolInfo& tool,
                                          const std::function<bool(Modality&)>& serves,
                                          const std::vector<OwnVerb>& own = {});

/// Runs one command: common and own options, parse, run. `program` is the whole prefix,
/// "lact-tokenize text train".
void run_command(Command& command, const std::string& program, const std::string& summary,
                 cli::Args& args);

/// The main of a tool whose words are MODALITY [VERB]: everything but what lact-train does.
/// A modality whose only verb is "" takes no verb word.
int tool_main(Tool tool, const char* program, const char* summary, int argc, char** argv,
              const std::vector<OwnVerb>& own = {});

}  // namespace lact::plugin
