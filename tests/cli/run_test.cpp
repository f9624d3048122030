// How programs end: exit codes, one line on stderr, full disks, closed pipes, signals.

#include <lact/error.hpp>

#include "support/process.hpp"
#include "support/test.hpp"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

namespace lact::test {
namespace {

std::string probe() {
  return (build_root() / "tests/cli/lact-probe").string();
}

Result shell(const std::string& script) {
  return run({"sh", "-c", script, "sh", probe()});
}

/// The probe at work in one of its waiting modes: it makes a file when it begins to wait.
struct Waiting {
  explicit Waiting(const std::string& mode)
      : process({probe(), mode, (folder / "ready").string()}) {
    while (process.running() && !std::filesystem::exists(folder / "ready"))
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  Result wait() { return process.wait(std::chrono::seconds(20)); }

  TemporaryFolder folder;
  Process process;
};

bool is_one_line(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') == 1 && text.back() == '\n';
}

}  // namespace

TEST_CASE("an error ends the program with its own code and one line that names the program") {
  const auto code = GENERATE(1, 64, 65, 66, 69, 70, 71, 73, 74, 75, 78);
  const auto result = run({probe(), "error", std::to_string(code)});
  CHECK(result.exit == code);
  CHECK(result.err == "lact-probe: error: a.txt: line 3: x y\n");
  CHECK(result.out.empty());
}

TEST_CASE("memory that cannot be had is 71, from C++ and from LibTorch") {
  CHECK(run({probe(), "bad-alloc"}).exit == 71);
  const auto tensor = run({probe(), "tensor"});
  CHECK(tensor.exit == 71);
  if (!instrumented()) CHECK(is_one_line(tensor.err));  // a sanitizer speaks too
}

TEST_CASE("a bug is 70, and only the first line of its message is shown") {
  const auto torch = run({probe(), "torch"});
  CHECK(torch.exit == 70);
  CHECK(torch.err == "lact-probe: error: the first line\n");
  const auto logic = run({probe(), "logic"});
  CHECK(logic.exit == 70);
  CHECK(logic.err == "lact-probe: error: a bug\n");
  CHECK(run({probe(), "int"}).exit == 70);
}

TEST_CASE("a mapped file that is cut while it is read is exit 74 and named") {
  const TemporaryFolder folder;
  const auto file = (folder / "f.safetensors").string();
  const std::string header = R"({"a":{"dtype":"U8","shape":[100000],"data_offsets":[0,100000]}} )";
  REQUIRE(header.size() == 64);
  std::ofstream(file) << '@' << std::string(7, '\0') << header << std::string(100000, 'x');
  const auto result = run({probe(), "cut", file});
  CHECK(result.exit == 74);
  CHECK(result.err == "lact-probe: error: " + file +
                          ": cannot read: cut short while it was open, or a failing disk\n");
}

TEST_CASE("a full disk is noticed, whoever wrote to stdout") {
  for (const char* what : {"stream", "flood"}) {
    CAPTURE(what);
    const auto result = shell(concat("exec \"$1\" ", what, " > /dev/full"));
    CHECK(result.exit == 74);
    CHECK(result.err == "lact-probe: error: stdout: No space left on device\n");
  }
}

TEST_CASE("a stdout that was closed is noticed") {
  const auto result = shell("exec \"$1\" stream >&-");
  CHECK(result.exit == 74);
  CHECK(is_one_line(result.err));
}

TEST_CASE("a reader that goes away ends the program as it ends cat") {
  // 141 is how a shell says "by signal 13"; the second script starts with SIGPIPE ignored.
  for (const char* before : {"", "trap '' PIPE; "}) {
    CAPTURE(before);
    const auto result =
        shell(concat(before, "{ \"$1\" flood; echo $? >&2; } | head -c 10 > /dev/null"));
    CHECK(result.err == "141\n");
  }
}

TEST_CASE("the first signal lets a program that polls tidy up, and the code names the signal") {
  ::signal(SIGHUP, SIG_DFL);  // under nohup the probe would go on ignoring it
  for (const auto& [number, name] : {std::pair{SIGINT, "SIGINT"}, std::pair{SIGTERM, "SIGTERM"},
                                     std::pair{SIGHUP, "SIGHUP"}, std::pair{SIGUSR1, "SIGUSR1"}}) {
    Waiting probe("stop");
    probe.process.signal(number);
    const auto result = probe.wait();
    CHECK(result.exit == 128 + number);
    CHECK(result.err == concat("lact-probe: stopped by ", name, "\n"));
  }
}

TEST_CASE("a second signal ends a program that does not stop") {
  Waiting probe("stubborn");
  probe.process.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(probe.process.running());
  probe.process.signal(SIGTERM);
  CHECK(probe.wait().exit == 143);
}

TEST_CASE("a program that never polls ends at the first signal") {
  Waiting probe("deaf");
  probe.process.signal(SIGINT);
  CHECK(probe.wait().exit == 130);
}

TEST_CASE(
    "progress is silent in a pipe and on a dumb terminal, and shows rate and time on others") {
  CHECK(run({probe(), "progress"}).err.empty());
  const auto on = [](const std::string& term) {
    return run({"script", "-qec", probe() + " progress", "/dev/null"}, "", {{"TERM", term}}).out;
  };
  const auto line = on("xterm");
  CHECK(line.find("\r\033[K") != std::string::npos);
  CHECK(line.find(" MB/s") != std::string::npos);
  CHECK(line.find(" left") != std::string::npos);
  CHECK(on("dumb").find("copying") == std::string::npos);
}

TEST_CASE("the version is that of the build") {
  const auto result = run({"lact-bench", "--version"});
  CHECK(result.exit == 0);
  CHECK(result.out.rfind("lact-bench 0.", 0) == 0);
  CHECK(result.out.find(" (LibTorch 2.") != std::string::npos);
  CHECK(is_one_line(result.out));
}

TEST_CASE("help takes less than half a second of the processor") {
  // Not of the clock: that also counts what else the machine does. Idle, the two agree.
  const auto spent = [] {
    rusage use{};
    ::getrusage(RUSAGE_CHILDREN, &use);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(use.ru_utime) + seconds(use.ru_stime);
  };
  double seconds = 1e9;
  for (int i = 0; i < 3; ++i) {  // the best of three: a busy host slows a single one
    const double before = spent();
    const auto result = run({"lact-bench", "--help"});
    seconds = std::min(seconds, spent() - before);
    CHECK(result.exit == 0);
    CHECK(result.err.empty());
    CHECK(result.out.find("Usage: lact-bench") != std::string::npos);
  }
  CHECK(seconds > 0.001);
  if (!instrumented()) CHECK(seconds < 0.5);
}

}  // namespace lact::test
