#pragma once
// What the files of this room share.

#include <lact/cli/completion.hpp>
#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>

#include <memory>
#include <set>
#include <string>
#include <vector>

namespace CLI {
class Formatter;
}  // namespace CLI

namespace lact::cli {

/// What is known of a command's options beside what CLI11 keeps.
struct Option::State {
  std::vector<Renamed> renamed;
  std::set<const CLI::Option*> told;  ///< whose default help names in words of its own
};

/// The options that all commands have. `--dtype` is left out where the command has its own.
void common_options(CLI::App& app, Context& context);

/// --help in GNU's form, wrapped at 80 columns.
std::shared_ptr<CLI::Formatter> help_formatter();

/// What --help calls an option's value: "FILE", "N", "auto|float32"; VALUE if nothing is known.
std::string value_name(const CLI::Option& option);
/// The words that an option's check allows; none: others too.
std::vector<std::string> choices(const CLI::Option& option);

/// Named options, those of option groups too.
std::vector<CLI::Option*> named_options(CLI::App& app);

/// All named options as --help lists them, for completion; and the first positional.
std::vector<OptionHint> option_hints(CLI::App& app);
ValueHint positional_hint(CLI::App& app);

/// Every configurable option as TOML. Defaults of `told` stand in comments.
std::string config_text(CLI::App& app, const std::string& title,
                        const std::set<const CLI::Option*>& told);

/// --device: "cpu", "cuda", "cuda:1" or "auto". Errors: 64 for other words, 69 if it is not there.
c10::Device resolve_device(const std::string& name);

/// Of each core of the machine, whether this process may use it.
std::vector<bool> usable_cores();

}  // namespace lact::cli
