#pragma once
// The reader of stdout went away, and there is something to save first.

#include <exception>

namespace lact::io {

/// What write_all throws instead of ending the program; cli::run then ends it as SIGPIPE does.
struct ClosedPipe : std::exception {
  const char* what() const noexcept override;
};

/// While one lives, a closed pipe is an exception. One at a time.
class ClosedPipeThrows {
 public:
  ClosedPipeThrows();
  ~ClosedPipeThrows();
  ClosedPipeThrows(const ClosedPipeThrows&) = delete;
  ClosedPipeThrows& operator=(const ClosedPipeThrows&) = delete;

 private:
  void (*before_)(int);
};

}  // namespace lact::io
