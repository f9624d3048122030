#pragma once
// Options that several verbs of the text modality share.

#include "config.hpp"

#include <lact/cli/options.hpp>

#include <map>
#include <string>

namespace lact::text {

/// --preset or --model-config, and one flag for every key of config.json ("--hidden-size"). Flags
/// stand on top.
class ModelOptions {
 public:
  void declare(cli::Options options);
  /// The configuration asked for; `base` stands in for the preset if given (--init-from).
  /// Errors   64 naming the flag, 78 if it cannot work
  Config resolve(const Config* base = nullptr) const;
  /// By its flag, or in the file of --model-config, which says all.
  bool given(const std::string& key) const;
  const std::string& preset() const { return preset_; }

 private:
  std::string preset_ = "tiny", config_file_;
  std::map<std::string, std::string> values_;  // key -> text as given
};

}  // namespace lact::text
