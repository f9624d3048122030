#pragma once
// How likely a model finds given text: what lact-generate text --score prints.

#include "session.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace lact::text {

struct ScoreOptions {
  std::string file;          ///< text, packed data (*.safetensors) or pairs (*.jsonl); "-": stdin
  bool pairs = false;        ///< JSONL of {"context", "continuation"}, whatever the name
  bool per_token = false;    ///< CSV of all tokens instead of a summary
  bool by_position = false;  ///< CSV of the loss by position instead of a summary
  int64_t bucket = 0;        ///< positions that are averaged; 0: doubling, 1, 2-3, 4-7, ...
  int64_t group = 512;       ///< tokens read at a time
  bool bos = true;           ///< begin a fresh text with BOS
  bool json = false;
};

/// Prints to stdout. `begin` makes the session that a text starts from.
/// Errors   65 naming file and line of a pair that is none; 65 if packed data is of another
///          tokenizer; cli::Interrupted
void score(const LoadedModel& loaded, const ScoreOptions& options,
           const std::function<Session()>& begin);

}  // namespace lact::text
