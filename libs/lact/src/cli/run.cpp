#include <lact/plugin/stamp.h>
#include <lact/cli/run.hpp>
#include <lact/io/closed_pipe.hpp>
#include <lact/log.hpp>

#include "internal.hpp"
#include "signals.hpp"

#include <c10/util/Exception.h>
#include <torch/version.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <new>
#include <system_error>

namespace lact::cli {
namespace {

// --- streams -------------------------------------------------------------------------------------

[[noreturn]] void end_as_by_sigpipe() {
  ::signal(SIGPIPE, SIG_DFL);
  ::raise(SIGPIPE);
  ::_exit(128 + SIGPIPE);
}

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
    const int number = std::max(stop_signal(), 1);
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
  install_signals(program);
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
