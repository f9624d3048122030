#include <lact/cli/run.hpp>
#include <lact/io/mapped.hpp>

#include "signals.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace lact::cli {
namespace {

std::atomic<int> signal_received{0};
std::atomic<bool> polled{false};
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void on_signal(int number) {
  if (!polled) {  // nobody listens: end as without a handler
    ::signal(number, SIG_DFL);
    ::raise(number);
    return;  // delivered when this handler returns
  }
  if (signal_received.exchange(number) != 0) ::_exit(128 + number);
  constexpr char kText[] = "\nstopping; once more ends at once\n";
  const int saved = errno;
  if (::isatty(STDERR_FILENO) == 1) (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
  errno = saved;
}

const char* program_name = "lact";

/// A mapped file was cut while it was read, or its disk gave an error: nobody can go on from here.
extern "C" void on_bus_error(int number, siginfo_t* info, void*) {
  const char* file = io::mapped_file(info->si_addr);
  if (file == nullptr) {  // a bug
    ::signal(number, SIG_DFL);
    return;  // and it happens again
  }
  for (const char* part : {program_name, ": error: ", file,
                           ": cannot read: cut short while it was open, or a failing disk\n"})
    (void)!::write(STDERR_FILENO, part, std::strlen(part));
  ::_exit(static_cast<int>(Exit::io));
}

}  // namespace

void install_signals(const char* program) {
  program_name = program;
  struct sigaction bus {};
  bus.sa_sigaction = on_bus_error;
  bus.sa_flags = SA_SIGINFO;
  sigemptyset(&bus.sa_mask);
  ::sigaction(SIGBUS, &bus, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  // Installed even where the parent ignores them (a job in the background of a script): a signal
  // sent to us by name is meant.
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGUSR1, &action, nullptr);  // Slurm's warning before the time is over
  // But nohup means it: who started it so wants it to outlive the terminal.
  struct sigaction before {};
  if (::sigaction(SIGHUP, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
    ::sigaction(SIGHUP, &action, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
}

int stop_signal() {
  return signal_received;
}

const char* Interrupted::what() const noexcept {
  return "interrupted by a signal";
}

bool stop_requested() {
  polled = true;
  return signal_received != 0;
}

}  // namespace lact::cli
