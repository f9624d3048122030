#pragma once
// How likely a model finds given text: what lact-generate text --score prints.

#include "score_report.hpp"

#include <plugins/text/session/session.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace lact::text {

struct ScoreOptions {
  /// Each a text, packed data (*.safetensors), pairs or texts in JSON lines (*.jsonl, by what the
  /// first line holds); compressed or not; "-": stdin.
  std::vector<std::string> files;
  bool pairs = false;  ///< JSONL of {"context", "continuation"}, whatever the name
  std::string text_key = "text";
  bool per_token = false;    ///< CSV of all tokens instead of a summary
  bool by_position = false;  ///< CSV of the loss by position instead of a summary
  int64_t bucket = 0;        ///< positions that are averaged; 0: doubling, 1, 2-3, 4-7, ...
  int64_t group = 512;       ///< tokens read at a time
  bool bos = true;           ///< begin a fresh text with BOS
  bool json = false;
};

/// The sums of one text or packed data, options.files[0], without printing them. Errors: as below.
FileScore score_file(const LoadedModel& loaded, const ScoreOptions& options,
                     const std::function<Session()>& begin);

/// Prints to stdout: of one file a summary, of several a table with a line for each and the total.
/// `begin` makes the session that a text starts from.
/// Errors   65 naming file and line of a pair that is none; 65 if packed data is of another
///          tokenizer; 64 if files are of kinds that do not go together; cli::Interrupted. Of
///          several files those that can be scored are; the first fault's code comes at the end.
void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin);

}  // namespace lact::text
