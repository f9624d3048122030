#include <lact/log.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace lact::log {
namespace {

std::string program_name = "lact";
std::atomic<Level> current{Level::info};
std::mutex mutex;
bool status_shown = false;

void put(const std::string& text) {
  // One write per line: lines of several processes in a pipe do not mix.
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (n <= 0) return;  // nobody to tell
    done += static_cast<size_t>(n);
  }
}

size_t columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

void set_program(const std::string& name) {
  program_name = name;
}
const std::string& program() {
  return program_name;
}
void set_level(Level level) {
  current = level;
}
Level level() {
  return current;
}

bool terminal() {
  static const bool yes = [] {
    const char* term = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::strcmp(term, "dumb") != 0;
  }();
  return yes;
}

void write(Level level, const std::string& line) {
  if (level > current) return;
  const std::lock_guard lock(mutex);
  put(concat(status_shown ? "\r\033[K" : "", program_name, ": ", line, "\n"));
  status_shown = false;
}

void status(const std::string& line) {
  if (!terminal() || level() < Level::info) return;
  const std::lock_guard lock(mutex);
  if (line.empty() && !status_shown) return;
  put(concat("\r\033[K", line.substr(0, columns() - 1)));
  status_shown = !line.empty();
}

}  // namespace lact::log
