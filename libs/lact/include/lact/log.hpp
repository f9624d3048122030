#pragma once
// Words for people, on stderr, each line begun with the program's name. The library itself is
// silent below `warning`; a tool chooses the level with -q and -v.

#include <lact/error.hpp>

#include <string>

namespace lact::log {

enum class Level { error, warning, info, debug };

/// The name that begins every line; set once by cli::run.
void set_program(const std::string& name);
const std::string& program();

/// Lines above this level are dropped. Default: info.
void set_level(Level level);
Level level();

/// Prints one line, whole, whatever the thread. A progress line on the terminal is cleared first.
void write(Level level, const std::string& line);

template <class... Parts>
void warning(const Parts&... parts) {
  write(Level::warning, concat("warning: ", parts...));
}
template <class... Parts>
void info(const Parts&... parts) {
  if (level() >= Level::info) write(Level::info, concat(parts...));
}
template <class... Parts>
void debug(const Parts&... parts) {
  if (level() >= Level::debug) write(Level::debug, concat(parts...));
}

/// Replaces the unfinished last line of a terminal ("" clears it). Does nothing where stderr is
/// not a terminal, NO_COLOR or not, or with -q.
void status(const std::string& line);

/// True where stderr is a terminal that can rewrite its last line (TERM is not "dumb").
bool terminal();

}  // namespace lact::log
