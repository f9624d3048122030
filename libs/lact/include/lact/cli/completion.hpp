#pragma once
// Completion scripts for shells, from the declarations that --help prints.

#include <string>
#include <vector>

namespace lact::cli {

/// What a value can be.
struct ValueHint {
  std::string label;                 ///< as in --help: "FILE"; "": there is no value
  std::vector<std::string> choices;  ///< the words that the option's check allows
  bool files = false, folders = false;
};

struct OptionHint {
  std::vector<std::string> names;  ///< "-o", "--output"
  std::string help;
  ValueHint value;
  bool repeatable = false;
};

/// A word of the command line and what may come after it.
struct WordHint {
  std::string name, summary;
  std::vector<WordHint> next;  ///< verbs of a modality, say; none: the command is complete
  std::vector<OptionHint> options;
  ValueHint positional;
};

/// What `--completion` names in `words`, up to "--": "bash"; "" if it is not there.
/// Errors   64 if it names no shell that completion_script() knows
std::string completion_shell(const std::vector<std::string>& words);

/// A script that completes the whole program without running it: "bash", "zsh" or "fish".
std::string completion_script(const std::string& shell, const WordHint& program);

}  // namespace lact::cli
