#pragma once
// What the program does with signals; verbs ask stop_requested() alone.

namespace lact::cli {

/// Stops by SIGINT, SIGTERM, SIGHUP and SIGUSR1, and a line that begins with `program` where a
/// mapped file is cut short while it is read.
void install_signals(const char* program);

}  // namespace lact::cli
