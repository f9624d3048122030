#pragma once
// Finds and loads plugins: lact-NAME.so in --plugin-dir, LACT_PLUGIN_PATH, the plugin folder found
// relative to the running program, the build tree when run from it.

#include <lact/plugin/modality.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::plugin {

/// A file that was tried, and why it was left out ("" if it was not).
struct Found {
  std::filesystem::path file;
  std::string name, summary, refusal;
};

/// Every candidate on the search path, in order, each asked for a modality that is dropped again. A
/// folder that is refused as a whole is one entry without a name.
std::vector<Found> list(const std::filesystem::path& plugin_dir = {});

/// The modality of that name: the first file lact-NAME.so on the search path, which must fit. It
/// stays loaded for the life of the process.
/// Errors   69 with the file, what it was built for and what this program has; 64 if the name
///          cannot be one. If no file has the name, the line ends with the nearest one that
///          is there or among `others`: words that would have been understood too.
std::unique_ptr<Modality> load(const std::string& name,
                               const std::filesystem::path& plugin_dir = {},
                               const std::vector<std::string>& others = {});

}  // namespace lact::plugin
