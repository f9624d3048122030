// Saving while the file system fails, or the process is killed, at every call in turn.

#include "faults.hpp"
#include "tensors.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <ATen/ops/full.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

using namespace lact;
using namespace lact::test;
using io::CheckpointStore;
namespace fs = std::filesystem;

namespace {

constexpr int kMaxCalls = 1000;  // far more than one save makes

void save(const fs::path& run, int64_t step) {
  CheckpointStore(run).save(step, 1, [&](io::CheckpointWriter& writer) {
    writer.tensors("model.safetensors", {{"step", at::full({64}, step, at::kLong)}}, {}, 100);
    writer.file("config.json", "{}");
  });
}

int64_t step_in(const fs::path& location) {
  const auto found = io::Checkpoint::open(location);
  CHECK(found.tensor("step").numel() == 64);
  return found.tensor("step")[63].item<int64_t>();
}

/// Does the work in a process that dies at its k-th call. True if it got to the end.
template <class Work>
bool survives(int k, const Work& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    arm(k, Fault::die);
    try {
      work();
    } catch (...) {
      ::_exit(9);
    }
    disarm();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  const bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  REQUIRE((killed || ended));
  return ended;
}

}  // namespace

TEST_CASE("the faults reach the library's calls", "[io]") {
  const TemporaryFolder folder;
  arm(0, Fault::fail);
  io::write_text(folder / "f", "text");
  CHECK(disarm() >= 7);  // open, write, fsync, close, rename, and open, fsync, close of the folder
  arm(2, Fault::fail, ENOSPC);
  const auto full = error_of([&] { io::write_text(folder / "f", "other"); });
  disarm();
  CHECK(full.first == Exit::io);
  CHECK(full.second.find("No space left on device") != std::string::npos);
}

TEST_CASE("whichever call of a write fails, the file is the old or the new one", "[io]") {
  const TemporaryFolder folder;
  const int error = GENERATE(ENOSPC, EIO, EINTR);
  int failures = 0;
  for (int k = 1; k < kMaxCalls; ++k) {
    CAPTURE(k, error);
    put(folder / "f", "old");
    arm(k, Fault::fail, error);
    const auto [code, words] = error_of([&] { io::write_text(folder / "f", "the new text"); });
    const bool reached = disarm() >= k;
    failures += code != Exit::ok;
    CHECK((code == Exit::ok || code == Exit::io || code == Exit::cannot_create));
    const auto now = get(folder / "f");
    if (code == Exit::ok)
      CHECK(now == "the new text");
    else
      CHECK((now == "old" || now == "the new text"));  // the folder's sync comes after the rename
    CHECK(listing(folder.path()) == std::vector<std::string>{"f"});
    if (!reached) break;
  }
  CHECK(failures >= (error == EINTR ? 0 : 4));
}

TEST_CASE("whichever call of saving a checkpoint fails, there is a whole one", "[io]") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  const int error = ENOSPC;
  int failures = 0;
  for (int k = 1;; ++k) {
    CAPTURE(k, error);
    REQUIRE(k < kMaxCalls);
    fs::remove_all(run);
    save(run, 1);
    arm(k, Fault::fail, error);
    const auto [code, words] = error_of([&] { save(run, 2); });
    const bool reached = disarm() >= k;
    CAPTURE(words);
    failures += code != Exit::ok;
    CHECK((code == Exit::ok || code == Exit::io || code == Exit::cannot_create));
    CheckpointStore store(run);
    const auto newest = store.newest([](const std::string&) {});
    REQUIRE_FALSE(newest.empty());
    const int64_t step = step_in(newest);
    CHECK((step == 2 || (step == 1 && code != Exit::ok)));
    const int64_t linked = step_in(run);  // `latest` never dangles
    CHECK((linked == step || linked == 1));
    store.clean();
    save(run, 3);  // and the run can go on
    CHECK(listing(run / "checkpoints") == std::vector<std::string>{"step-3"});
    CHECK(listing(run) == std::vector<std::string>{"checkpoints", "latest"});
    if (!reached) break;
  }
  CHECK(failures > 20);
}

TEST_CASE("killed at any call of a save, a run has a whole checkpoint and goes on", "[io]") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  const bool same_step = GENERATE(false, true);  // the only checkpoint is being replaced
  int kills = 0;
  for (int k = 1;; ++k) {
    CAPTURE(k, same_step);
    REQUIRE(k < kMaxCalls);
    fs::remove_all(run);
    save(run, 1);
    const bool ended = survives(k, [&] { save(run, same_step ? 1 : 2); });
    kills += !ended;
    CheckpointStore store(run);
    std::string complaints;
    const auto newest = store.newest([&](const std::string& line) { complaints += line; });
    CHECK(complaints == "");  // nothing half-written looks like a checkpoint
    REQUIRE_FALSE(newest.empty());
    CHECK_NOTHROW(step_in(newest));
    CHECK_NOTHROW(step_in(run));
    store.clean();
    CHECK(listing(run / "checkpoints").size() <= 2);
    save(run, 3);
    CHECK(listing(run / "checkpoints") == std::vector<std::string>{"step-3"});
    CHECK(listing(run) == std::vector<std::string>{"checkpoints", "latest"});
    CHECK(step_in(run) == 3);
    if (ended) break;
  }
  CHECK(kills > 20);
}

TEST_CASE("killed at any call of a run's first save, the run starts again", "[io]") {
  const TemporaryFolder folder;
  const auto run = folder / "run";
  for (int k = 1;; ++k) {
    CAPTURE(k);
    REQUIRE(k < kMaxCalls);
    fs::remove_all(run);
    const bool ended = survives(k, [&] { save(run, 1); });
    CheckpointStore store(run);
    std::string complaints;
    const auto newest = store.newest([&](const std::string& line) { complaints += line; });
    CHECK(complaints == "");
    if (!newest.empty()) CHECK(step_in(run) == 1);  // even before there is a `latest`
    store.clean();
    save(run, 1);
    CHECK(step_in(run) == 1);
    if (ended) break;
  }
}

TEST_CASE("killed at any call, a state file is the old or the new one", "[io]") {
  const TemporaryFolder folder;
  const io::State old{{{"a", at::full({1000}, 1.0f)}}, {}},
      fresh{{{"a", at::full({500}, 2.0f)}}, {}};
  for (int k = 1;; ++k) {
    CAPTURE(k);
    REQUIRE(k < kMaxCalls);
    io::save_state(folder / "s", old);
    const bool ended = survives(k, [&] { io::save_state(folder / "s", fresh); });
    const auto a = io::load_state(folder / "s").tensor("a");
    CHECK((same_bytes(a, fresh.tensor("a")) || (!ended && same_bytes(a, old.tensor("a")))));
    if (ended) break;
  }
}
