#pragma once
// What the files of this room share.

#include <lact/cli/run.hpp>

#include <memory>

#include <string>
#include <vector>

namespace CLI {
class Formatter;
class Option;
}  // namespace CLI

namespace lact::cli {

/// "lact-train 0.1.0 (LibTorch 2.11.0)"
std::string version_line(const std::string& program);

/// --help in GNU's form, wrapped at 80 columns.
std::shared_ptr<CLI::Formatter> help_formatter();

/// What --help calls an option's value: "FILE", "N", "auto|float32"; VALUE if nothing is known.
std::string value_name(const CLI::Option& option);
/// The words that an option's check allows; none: others too.
std::vector<std::string> choices(const CLI::Option& option);

/// Named options, those of option groups too.
std::vector<CLI::Option*> named_options(CLI::App& app);

/// Every configurable option as TOML.
std::string config_text(CLI::App& app, const std::string& title);

/// --device: "cpu", "cuda", "cuda:1" or "auto". Errors: 64 for other words, 69 if it is not there.
c10::Device resolve_device(const std::string& name);

/// Cores that this process may use.
int usable_cores();

}  // namespace lact::cli
