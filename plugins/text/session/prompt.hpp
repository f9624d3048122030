#pragma once
// From a prompt to a session that has read it.

#include "session.hpp"
#include "text_reader.hpp"

#include <functional>
#include <string>

namespace lact::text {

/// \n, \t, \r, \\, \', \" as llama.cpp reads them with -e; others stay as they are.
std::string unescape_prompt(const std::string& text);

struct ReadOptions {
  int64_t group = 2048;  ///< tokens read at a time
  bool bos = true;       ///< begin a fresh text with BOS
};

/// Reads the reader's text into the session, in groups that end at multiples of the size, however
/// the text was divided before; `after` is called after each. False if a signal asked to stop.
bool read_prompt(const LoadedModel& loaded, Session& session, TextReader& reader,
                 const ReadOptions& options, const std::function<void()>& after = {});

}  // namespace lact::text
