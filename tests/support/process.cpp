#include "support/process.hpp"
#include "support/test.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace lact::test {
namespace {

/// LeakSanitizer's tracer sometimes crashes as a program of several threads ends; leaks are looked
/// for in the tests' own processes.
void without_leak_checks() {
  const char* options = std::getenv("ASAN_OPTIONS");
  if (options != nullptr)
    ::setenv("ASAN_OPTIONS", (std::string(options) + ":detect_leaks=0").c_str(), 1);
}

void drain(int descriptor, std::string& into) {
  char buffer[65536];
  for (ssize_t n; (n = ::read(descriptor, buffer, sizeof buffer)) != 0;) {
    if (n > 0)
      into.append(buffer, static_cast<size_t>(n));
    else if (errno != EINTR)
      break;
  }
  ::close(descriptor);
}

}  // namespace

struct Process::Impl {
  pid_t pid = -1;
  std::thread in, out, err;
  Result result;
  bool ended = false;
  int status = 0;

  bool poll(int options) {
    if (!ended && ::waitpid(pid, &status, options) == pid) ended = true;
    return ended;
  }
};

Process::Process(std::vector<std::string> argv, std::string input,
                 std::map<std::string, std::string> environment)
    : impl_(new Impl) {
  ::signal(SIGPIPE, SIG_IGN);  // a tool that stops reading its input must not end the tests
  if (argv.at(0).find('/') == std::string::npos && argv[0].rfind("lact-", 0) == 0)
    argv[0] = (build_root() / "tools" / argv[0]).string();
  int in[2], out[2], err[2];
  if (::pipe2(in, O_CLOEXEC) || ::pipe2(out, O_CLOEXEC) || ::pipe2(err, O_CLOEXEC))
    throw std::runtime_error("pipe2");
  // Until the child is the program, a signal to it must wait: it would run Catch2's handler, in a
  // copy of this process that has one thread of many.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  impl_->pid = ::fork();
  if (impl_->pid == 0) {
    for (const int number : {SIGPIPE, SIGINT, SIGTERM}) ::signal(number, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    without_leak_checks();
    for (const auto& [key, value] : environment) ::setenv(key.c_str(), value.c_str(), 1);
    std::vector<char*> pointers;
    for (auto& word : argv) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  impl_->in = std::thread([descriptor = in[1], text = std::move(input)] {
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = ::write(descriptor, text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    ::close(descriptor);
  });
  impl_->out = std::thread(drain, out[0], std::ref(impl_->result.out));
  impl_->err = std::thread(drain, err[0], std::ref(impl_->result.err));
}

Process::~Process() {
  if (!impl_->poll(WNOHANG)) {
    ::kill(impl_->pid, SIGKILL);
    impl_->poll(0);
  }
  for (auto* thread : {&impl_->in, &impl_->out, &impl_->err})
    if (thread->joinable()) thread->join();
  delete impl_;
}

void Process::signal(int number) {
  if (!impl_->poll(WNOHANG)) ::kill(impl_->pid, number);
}

bool Process::running() {
  return !impl_->poll(WNOHANG);
}

pid_t Process::pid() const {
  return impl_->pid;
}

Result Process::wait(std::chrono::seconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!impl_->poll(WNOHANG)) {
    if (std::chrono::steady_clock::now() > end) ::kill(impl_->pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  for (auto* thread : {&impl_->in, &impl_->out, &impl_->err})
    if (thread->joinable()) thread->join();
  const int status = impl_->status;
  impl_->result.exit = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return impl_->result;
}

Result run(std::vector<std::string> argv, std::string input,
           std::map<std::string, std::string> environment) {
  Process process(std::move(argv), std::move(input), std::move(environment));
  return process.wait();
}

std::optional<std::string> peers(const std::string& package) {
  const auto python = (source_root() / ".peers/bin/python").string();
  if (std::filesystem::exists(python) && run({python, "-c", "import " + package}).exit == 0)
    return python;
  WARN("skipped: no " << package << "; ./dev setup peers fetches it");
  return std::nullopt;
}

}  // namespace lact::test
