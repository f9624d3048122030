#pragma once
// One exception type for everything a user can cause or meet; cli::run alone turns it into a line
// on stderr and an exit code.

#include <sstream>
#include <stdexcept>
#include <string>

namespace lact {

/// Exit codes of every lact program (sysexits numbers; man lact-options, EXIT STATUS).
/// 77 is never used: Meson reads it as "skipped".
enum class Exit : int {
  ok = 0,
  no = 1,              ///< ran, and the answer is no
  usage = 64,          ///< wrong command line
  data = 65,           ///< input is malformed
  no_input = 66,       ///< input is missing or unreadable
  unavailable = 69,    ///< no such plugin, device or build feature
  internal = 70,       ///< our bug, or LibTorch's
  resources = 71,      ///< out of memory, host or device
  cannot_create = 73,  ///< an output cannot be created
  io = 74,             ///< a read or write failed, full disk too
  stopped = 75,        ///< stopped, can be resumed
  config = 78,         ///< a configuration file is wrong
};

/// The text of all arguments, one after another, as a stream prints them.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

/// What went wrong, in one line: file, thing, expected, found, mend.
class Error : public std::runtime_error {
 public:
  Error(Exit code, const std::string& what);
  template <class... Parts>
  Error(Exit code, const Parts&... parts) : Error(code, concat(parts...)) {}
  ~Error() override;

  Exit code() const noexcept { return code_; }

 private:
  Exit code_;
};

}  // namespace lact
