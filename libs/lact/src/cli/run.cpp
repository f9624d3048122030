#include <lact/plugin/stamp.h>
#include <lact/cli/run.hpp>
#include <lact/io/closed_pipe.hpp>
#include <lact/io/mapped.hpp>
#include <lact/log.hpp>

#include "internal.hpp"

#include <c10/util/Exception.h>
#include <torch/version.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <new>
#include <system_error>

namespace lact::cli {
namespace {

// --- signals -------------------------------------------------------------------------------------

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

void install_signals() {
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

[[noreturn]] void end_as_by_sigpipe() {
  ::signal(SIGPIPE, SIG_DFL);
  ::raise(SIGPIPE);
  ::_exit(128 + SIGPIPE);
}

// --- streams -------------------------------------------------------------------------------------

[[noreturn]] void stdout_failed(int error) {
  if (error == EPIPE) end_as_by_sigpipe();
  throw Error(Exit::io, "stdout: ", std::strerror(error));
}

/// Whatever plugins wrote through C or C++ streams reaches its place, or we say so.
void finish_stdout() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) || !std::cout)
    stdout_failed(errno != 0 ? errno : EIO);
}

// --- arguments -----------------------------------------------------------------------------------

/// How many arguments a common option at `at` takes with it (itself included), 0: none of them.
size_t common_option_length(const CLI::App& common, const std::vector<std::string>& all,
                            size_t at) {
  const auto& word = all[at];
  if (word.size() < 2 || word[0] != '-') return 0;
  const auto takes_value = [](const CLI::Option& option) {
    return option.get_items_expected_max() > 0;
  };
  if (word[1] == '-') {
    const auto end = word.find('=');
    const auto* option = common.get_option_no_throw(word.substr(0, end));
    if (option == nullptr) return 0;
    return takes_value(*option) && end == std::string::npos ? std::min<size_t>(2, all.size() - at)
                                                            : 1;
  }
  for (size_t i = 1; i < word.size(); ++i) {  // -vv, -s7
    const auto* option = common.get_option_no_throw(std::string("-") + word[i]);
    if (option == nullptr) return 0;
    if (takes_value(*option)) return i + 1 < word.size() ? 1 : std::min<size_t>(2, all.size() - at);
  }
  return 1;
}

Args split(const char* program, int argc, char** argv) {
  Args args{program, {}, {}};
  const std::vector<std::string> all(argv + std::min(argc, 1), argv + argc);
  CLI::App common;
  Context unused;
  common_options(common, unused);
  size_t at = 0;
  std::vector<std::string> before;
  while (at < all.size()) {
    const size_t length = common_option_length(common, all, at);
    if (length == 0) break;
    before.insert(before.end(), all.begin() + at, all.begin() + at + length);
    at += length;
  }
  // "-" is a stream, not an option.
  const auto is_word = [](const std::string& text) { return text.size() < 2 || text[0] != '-'; };
  for (; at < all.size() && is_word(all[at]); ++at) args.words.push_back(all[at]);
  args.rest = std::move(before);
  args.rest.insert(args.rest.end(), all.begin() + at, all.end());
  return args;
}

// --- endings -------------------------------------------------------------------------------------

std::string one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int fail(Exit code, const std::string& what) {
  log::status("");
  log::write(log::Level::error, "error: " + one_line(what));
  return static_cast<int>(code);
}

bool is_out_of_memory(const std::string& what) {
  for (const char* sign : {"can't allocate memory", "not enough memory", "out of memory"})
    if (what.find(sign) != std::string::npos) return true;
  return false;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

/// Runs the body and answers with the exit code; every ending passes here.
int guarded(const std::function<void()>& body) {
  try {
    body();
    return 0;
  } catch (const Finished&) {
    return 0;
  } catch (const Interrupted&) {
    const int number = std::max(signal_received.load(), 1);
    log::status("");
    const char* name = ::sigabbrev_np(number);
    log::info("stopped by SIG", name != nullptr ? name : "?");
    return 128 + number;
  } catch (const io::ClosedPipe&) {
    log::status("");
    end_as_by_sigpipe();
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(Exit::resources, "out of memory");
  } catch (const c10::Error& error) {
    const auto what = first_line(error.what_without_backtrace());
    return fail(is_out_of_memory(what) ? Exit::resources : Exit::internal, what);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(Exit::io, error.what());
  } catch (const std::system_error& error) {
    const bool scarce = error.code() == std::errc::resource_unavailable_try_again;
    return fail(scarce ? Exit::resources : Exit::internal, error.what());
  } catch (const std::exception& error) {
    const auto what = first_line(error.what());
    return fail(is_out_of_memory(what) ? Exit::resources : Exit::internal, what);
  } catch (...) {
    return fail(Exit::internal, "an exception of unknown type");
  }
}

}  // namespace

const char* Interrupted::what() const noexcept {
  return "interrupted by a signal";
}

bool stop_requested() {
  polled = true;
  return signal_received != 0;
}

void out(std::string_view data) {
  std::cout.flush();  // keeps the order with what others wrote through streams
  std::fflush(stdout);
  while (!data.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) stdout_failed(errno);
    data.remove_prefix(static_cast<size_t>(n));
  }
}

std::string version_line(const std::string& program) {
  return concat(program, " ", LACT_VERSION, " (LibTorch ", TORCH_VERSION, ")");
}

int run(const char* program, int argc, char** argv, const std::function<void(Args&)>& body) {
  log::set_program(program);
  program_name = program;
  install_signals();
  const int code = guarded([&] {
    Args args = split(program, argc, argv);
    if (args.words.empty() && !args.rest.empty() && args.rest[0] == "--version")
      out(version_line(program) + "\n");
    else
      body(args);
  });
  const int flushed = guarded(finish_stdout);
  return code != 0 ? code : flushed;
}

}  // namespace lact::cli
