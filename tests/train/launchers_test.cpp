// lact-train under launchers as they are installed.
#include "support/process.hpp"
#include "support/test.hpp"
#include "train/toy_run.hpp"

#include <lact/error.hpp>

#include <filesystem>
#include <fstream>

using namespace lact;
using namespace lact::test;

namespace {

using Words = Launch::Words;

Words joined(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// As a command that a launcher can start: it knows no build.
Words program(Words words) {
  words[0] = (build_root() / "tools" / words[0]).string();
  return words;
}

/// Open MPI does not start as root unless it is told twice; each run has a port of its own.
std::map<std::string, std::string> environment() {
  return {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
          {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
          {"MASTER_PORT", free_port()}};
}

}  // namespace

TEST_CASE("mpirun, mpiexec and srun start processes that train to the bytes of one",
          "[train][launchers]") {
  const auto launcher = GENERATE(Words{"mpirun.openmpi", "--oversubscribe", "-np"},
                                 Words{"mpiexec.mpich", "-n"}, Words{"srun", "-N1", "-O", "-n"});
  CAPTURE(launcher[0]);
  if (run(joined(launcher, {"1", "true"}), "", environment()).exit != 0) {
    WARN("skipped: no " << launcher[0] << " that starts anything");
    return;
  }
  const TemporaryFolder folder;
  REQUIRE(run(fixed(folder / "alone")).exit == 0);
  for (const auto* world : {"2", "4"}) {
    const auto to = folder / world;
    const auto result =
        run(joined(joined(launcher, {world}), program(fixed(to))), "", environment());
    CAPTURE(world, result.err);
    REQUIRE(result.exit == 0);
    CHECK(checkpoint(to) == checkpoint(folder / "alone"));
  }
}

TEST_CASE("torchrun starts a run anew when a process is killed, and it goes on to the same bytes",
          "[train][launchers]") {
  const auto python = peers("torch.distributed.run");
  if (!python) return;
  const TemporaryFolder folder;
  REQUIRE(run(fixed(folder / "alone")).exit == 0);
  const auto to = folder / "run";
  // Rank 1 of the first attempt is killed once the run has saved something.
  const auto script = (folder / "killed.sh").string();
  std::ofstream(script) << "[ $RANK.$TORCHELASTIC_RESTART_COUNT != 1.0 ] ||\n"
                        << "  (until [ -e " << (to / "latest").string()
                        << " ]; do sleep 0.02; done; kill -9 $$) &\nexec \"$@\"\n";
  const auto result = run(joined(
      {*python, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node",
       "2", "--max-restarts", "1", "--monitor-interval", "0.1", "sh", script},
      program(fixed(to, {"--resume", "--slow", "0.05", "--save-every", "2"}))));
  CAPTURE(result.err);
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Catch::Contains("lact-train: going on from ") &&
                             Catch::Contains("rank 1 of 2 is gone"));
  CHECK(checkpoint(to) == checkpoint(folder / "alone"));
}
