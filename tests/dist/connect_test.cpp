// Real processes that meet, work, lose each other.
#include "support/process.hpp"
#include "support/run_files.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <thread>

using namespace lact;
using namespace lact::test;

namespace {

using Variables = std::map<std::string, std::string>;

struct Ranks {
  Ranks(const std::string& what, int world, std::vector<int> ranks, const Variables& more = {}) {
    const auto port = free_port();
    for (const int rank : ranks) {
      std::vector<std::string> words{"env"};
      Variables all{
          {"RANK", std::to_string(rank)},        {"WORLD_SIZE", std::to_string(world)},
          {"LOCAL_RANK", std::to_string(rank)},  {"LOCAL_WORLD_SIZE", std::to_string(world)},
          {"MASTER_ADDR", "127.0.0.1"},          {"MASTER_PORT", port},
          {"READY", (folder / "ready").string()}};
      for (const auto& [name, value] : more) all[name] = value;
      for (const auto& [name, value] : all) words.push_back(concat(name, "=", value));
      words.push_back((build_root() / "tests/dist/lact-rank").string());
      words.push_back(what);
      processes[rank] = std::make_unique<Process>(words);
    }
  }
  /// All are connected and at work.
  void ready() {
    for (const auto& [rank, process] : processes)
      while (process->running() && !std::filesystem::exists(folder / concat("ready", rank)))
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Result wait(int rank) { return processes.at(rank)->wait(std::chrono::seconds(60)); }

  TemporaryFolder folder;
  std::map<int, std::unique_ptr<Process>> processes;
};

}  // namespace

TEST_CASE("processes meet, and sum in order and at once", "[dist][process]") {
  const int world = GENERATE(1, 2, 4);
  std::vector<int> all;
  for (int rank = 0; rank < world; ++rank) all.push_back(rank);
  Ranks ranks("sum", world, all);
  for (const int rank : all) {
    const auto result = ranks.wait(rank);
    CAPTURE(result.err);
    CHECK(result.exit == 0);
    CHECK(result.err.empty());
    CHECK(result.out == concat("rank ", rank, " of ", world, ": ", world * (world + 1) / 2, "\n"));
  }
}

TEST_CASE("torchrun starts processes that meet, and starts them anew when one is lost",
          "[dist][process]") {
  const auto python = peers("torch.distributed.run");
  if (!python) return;
  const auto probe = (build_root() / "tests/dist/lact-rank").string();
  const auto torchrun = [&](std::vector<std::string> more) {
    std::vector<std::string> words{
        *python, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node",
        "2"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  const auto twice = torchrun({probe, "sum"});
  CAPTURE(twice.err);
  CHECK(twice.exit == 0);
  CHECK_THAT(twice.out, Catch::Contains("rank 0 of 2: 3\n") && Catch::Contains("rank 1 of 2: 3\n"));
  // The agent's store is that of the first attempt; the second meets there under keys of its own.
  const TemporaryFolder folder;
  const auto again = torchrun(
      {"--max-restarts", "1", "sh", "-c",
       concat("[ $RANK = 0 ] || [ -e ", (folder / "once").string(), " ] || { touch ",
              (folder / "once").string(), "; exec ", probe, " fail; }; exec ", probe, " sum")});
  CAPTURE(again.err);
  CHECK(again.exit == 0);
  CHECK_THAT(again.out, Catch::Contains("rank 0 of 2: 3\n") && Catch::Contains("rank 1 of 2: 3\n"));
}

TEST_CASE("whoever leaves in good order is not missed", "[dist][process]") {
  Ranks ranks("leave", 3, {0, 1, 2});
  for (const int rank : {0, 1, 2}) {
    const auto result = ranks.wait(rank);
    CAPTURE(result.err);
    CHECK(result.exit == 0);
  }
}

TEST_CASE("a process that is killed is named by all others within a second, at work or hanging",
          "[dist][process]") {
  const std::string what = GENERATE("sleep", "loop");
  const int victim = GENERATE(0, 2);
  CAPTURE(what, victim);
  Ranks ranks(what, 4, {0, 1, 2, 3});
  ranks.ready();
  ranks.processes.at(victim)->signal(SIGKILL);
  const auto start = std::chrono::steady_clock::now();
  for (const int rank : {0, 1, 2, 3}) {
    const auto result = ranks.wait(rank);
    if (rank == victim) continue;
    CAPTURE(rank, result.err);
    CHECK(result.exit == 75);
    CHECK(result.err == concat("rank ", rank, ": rank ", victim, " is gone\n"));
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));  // of busy machines
}

TEST_CASE("a process that stops answering ends all after the time-out", "[dist][process]") {
  Ranks ranks("loop", 2, {0, 1}, {{"TRAIN_MS", "1000"}});
  ranks.ready();
  ranks.processes.at(1)->signal(SIGSTOP);
  const auto result = ranks.wait(0);
  CAPTURE(result.err);
  CHECK(result.exit == 75);
  CHECK_THAT(result.err, Catch::Contains("gone or silent") && Catch::Contains("1000ms"));
  ranks.processes.at(1)->signal(SIGCONT);
  CHECK(ranks.wait(1).exit == 75);
}

TEST_CASE("those that do not come are named", "[dist][process]") {
  Ranks some("sum", 4, {0, 2}, {{"INIT_MS", "1000"}});
  for (const int rank : {0, 2}) {
    const auto result = some.wait(rank);
    CHECK(result.exit == 75);
    CHECK_THAT(result.err, Catch::Contains("1, 3") || Catch::Contains("gone or silent"));
  }
  Ranks headless("sum", 2, {1}, {{"INIT_MS", "500"}});
  const auto result = headless.wait(1);
  CHECK(result.exit == 75);
  CHECK_THAT(result.err, Catch::Contains("rank 0 did not come to 127.0.0.1:"));
}

TEST_CASE("a place where nobody can meet is refused in one line", "[dist][process]") {
  const auto first = [](const Variables& more) {
    Ranks ranks("sum", 2, {0}, more);
    return ranks.wait(0);
  };
  const auto elsewhere = first({{"MASTER_ADDR", "192.0.2.1"}});
  CHECK(elsewhere.exit == 78);
  CHECK(elsewhere.err ==
        "environment: MASTER_ADDR: 192.0.2.1: not an address of this machine, where rank 0 runs\n");
  const auto nowhere = first({{"MASTER_ADDR", "no-such-host.invalid"}});
  CHECK(nowhere.exit == 78);
  CHECK_THAT(nowhere.err, Catch::Contains("no-such-host.invalid: "));
  // Somebody else's port.
  const auto [socket, port] = bound_socket();
  REQUIRE(::listen(socket, 1) == 0);
  const auto taken = first({{"MASTER_PORT", port}});
  ::close(socket);
  CHECK(taken.exit == 75);
  CHECK_THAT(taken.err, Catch::Contains("choose another MASTER_PORT"));
}
