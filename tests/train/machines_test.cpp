// lact-train on two machines, and the wire between them, which can be cut: two network namespaces,
// which are gone with the processes that hold them, however this one ends.
#include "support/process.hpp"
#include "support/test.hpp"
#include "train/toy_run.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <thread>

using namespace lact;
using namespace lact::test;
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;
using Words = Launch::Words;
using Clock = std::chrono::steady_clock;

constexpr auto kSilent = 3s;  // what the programs are told as time-out

class Machines {
 public:
  Machines() {
    for (auto& holder : holders_)
      while (holder.running() && network(holder) == fs::read_symlink("/proc/self/ns/net"))
        std::this_thread::sleep_for(1ms);
    const auto other = std::to_string(holders_[1].pid());
    there_ =
        on(0, "ip link add wire0 type veth peer name wire1 netns " + other) &&
        on(0, "ip addr add 10.77.0.1/24 dev wire0 && ip link set lo up && ip link set wire0 up") &&
        on(1, "ip addr add 10.77.0.2/24 dev wire1 && ip link set lo up && ip link set wire1 up");
    if (!there_) WARN("skipped: no network namespaces, or no `ip`; they want root");
  }

  bool there() const { return there_; }
  void wire(const char* state) { REQUIRE(on(1, concat("ip link set wire1 ", state))); }

  /// One process on each.
  std::vector<std::unique_ptr<Process>> start(const Words& words) {
    std::vector<std::unique_ptr<Process>> processes;
    for (size_t rank = 0; rank < holders_.size(); ++rank) {
      Words all = inside(rank);
      all.push_back((build_root() / "tools" / words[0]).string());
      all.insert(all.end(), words.begin() + 1, words.end());
      for (const auto& word :
           {std::string("--comm-interface"), concat("wire", rank),
            std::string("--comm-train-timeout-seconds"), std::to_string(kSilent.count())})
        all.push_back(word);
      processes.push_back(
          std::make_unique<Process>(all, "",
                                    std::map<std::string, std::string>{{"RANK", concat(rank)},
                                                                       {"WORLD_SIZE", "2"},
                                                                       {"LOCAL_RANK", "0"},
                                                                       {"LOCAL_WORLD_SIZE", "1"},
                                                                       {"MASTER_ADDR", "10.77.0.1"},
                                                                       {"MASTER_PORT", "29500"}}));
    }
    return processes;
  }

  void run_well(const Words& words) {
    for (const auto& process : start(words)) {
      const auto result = process->wait(60s);
      CAPTURE(result.err);
      CHECK(result.exit == 0);
    }
  }

 private:
  static fs::path network(const Process& process) {
    std::error_code ended;
    return fs::read_symlink(concat("/proc/", process.pid(), "/ns/net"), ended);
  }
  Words inside(size_t machine) const {
    return {"nsenter", "-n", "-t", std::to_string(holders_[machine].pid())};
  }
  bool on(size_t machine, const std::string& command) {
    Words words = inside(machine);
    for (const auto* word : {"sh", "-c"}) words.emplace_back(word);
    words.push_back(command);
    return holders_[machine].running() && run(words).exit == 0;
  }

  std::array<Process, 2> holders_{Process({"unshare", "-n", "sleep", "600"}),
                                  Process({"unshare", "-n", "sleep", "600"})};
  bool there_ = false;
};

/// In the middle of its work, saves included.
void at_work(Process& process, const fs::path& run) {
  while (process.running() && !fs::exists(run / "checkpoints/step-4"))
    std::this_thread::sleep_for(5ms);
}

Words slow(const fs::path& run) {
  return fixed(run, {"--resume", "--slow", "0.05", "--save-every", "2"});
}

}  // namespace

TEST_CASE("two machines train to the bytes of one, also over a wire that fails for a moment",
          "[train][machines]") {
  Machines machines;
  if (!machines.there()) return;
  const TemporaryFolder folder;
  CHECK(run(fixed(folder / "alone")).exit == 0);
  const auto want = checkpoint(folder / "alone");
  for (int i = 0; i < trials(1); ++i) {
    const auto both = folder / concat("both", i);
    const auto processes = machines.start(slow(both));
    at_work(*processes[0], both);
    machines.wire("down");
    std::this_thread::sleep_for(1500ms);
    machines.wire("up");
    for (const auto& process : processes) {
      const auto result = process->wait(60s);
      CAPTURE(result.err);
      CHECK(result.exit == 0);
    }
    CHECK(checkpoint(both) == want);
  }
}

TEST_CASE("a wire that is cut ends both machines with 75 in time, and the next start goes on",
          "[train][machines]") {
  Machines machines;
  if (!machines.there()) return;
  const TemporaryFolder folder;
  CHECK(run(fixed(folder / "alone")).exit == 0);
  for (int i = 0; i < trials(1); ++i) {
    const auto both = folder / concat("both", i);
    const auto processes = machines.start(slow(both));
    at_work(*processes[0], both);
    machines.wire("down");
    const auto start = Clock::now();
    for (size_t rank = 0; rank < processes.size(); ++rank) {
      const auto result = processes[rank]->wait(60s);
      CAPTURE(rank, result.err);
      CHECK(result.exit == 75);
      const auto word = result.err.find("lact-train: error: ");
      REQUIRE(word != result.err.npos);
      CHECK(std::count(result.err.begin() + static_cast<std::ptrdiff_t>(word), result.err.end(),
                       '\n') == 1);
      if (rank > 0) CHECK(word == 0);
    }
    CHECK(Clock::now() - start < kSilent + 2s);
    machines.wire("up");
    machines.run_well(slow(both));
    CHECK(checkpoint(both) == checkpoint(folder / "alone"));
  }
}
