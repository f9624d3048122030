#pragma once
// How likely a model finds given text: what lact-generate text --score prints.

#include "score_report.hpp"

#include <plugins/text/session/session.hpp>

#include <cstdint>
#include <functional>
#include <memory>
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

/// One text or packed data, options.files[0], without printing: in parts that are scored each for
/// itself, and whose sums added up in their order are those of the file. Errors: as below. What it
/// is given must live as long.
class PartScorer {
 public:
  PartScorer(const LoadedModel& loaded, const ScoreOptions& options,
             const std::function<Session()>& begin);
  ~PartScorer();
  PartScorer(PartScorer&&) noexcept;

  /// The documents of packed data; another file is one part.
  int64_t parts();
  FileScore score(int64_t part);

 private:
  std::unique_ptr<class Scorer> scorer_;
};

/// Errors   65 if a file has none that counts
void require_tokens(const FileScore& score);

/// Prints to stdout: of one file a summary, of several a table with a line for each and the total.
/// `begin` makes the session that a text starts from.
/// Errors   65 naming file and line of a pair that is none; 65 if packed data is of another
///          tokenizer; 64 if files are of kinds that do not go together; cli::Interrupted. Of
///          several files those that can be scored are; the first fault's code comes at the end.
void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin);

}  // namespace lact::text
