#pragma once
// Many prompts, each continued as if it were alone: what lact-generate text --batch prints.

#include <plugins/text/session/prompt.hpp>

#include <lact/cli/processes.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace lact::text {

struct BatchOptions {
  std::string file;  ///< JSONL of {"prompt": TEXT} if it begins with {, else a prompt a line; "-"
  int64_t parallel = 8;  ///< texts that are written at a time
  int64_t predict = -1;  ///< tokens to write for each; -1: to the end of the text
  bool escape = false;   ///< in prompts that are lines
  bool echo = false, ignore_eos = false;
  ReadOptions read;
};

/// The session that a prompt goes on from, with that seed; if it gives none, with one that follows
/// from the run's and the prompt's number, from 0.
using Begin = std::function<Session(std::optional<uint64_t> seed, int64_t prompt)>;

/// Prints a line of JSON for each prompt, in their order. Prompts are read alone, as they would be
/// without the others, and written together: a text differs from the one written alone only where
/// the rounding of a product decides between two tokens. Memory: `parallel` sessions, and finished
/// texts that wait for one before them. Several processes take the prompts in turn, and rank 0
/// prints what a round of them has written.
/// Errors   65 at the end if a line was no prompt: the others are done, its line has an "error";
///          66 if the file cannot be read; cli::Interrupted
void generate_batch(const LoadedModel& loaded, const BatchOptions& options,
                    const cli::Processes& processes, const Begin& begin);

}  // namespace lact::text
