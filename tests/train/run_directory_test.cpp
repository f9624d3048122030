#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/train/run_directory.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <optional>

using namespace lact;
using namespace lact::test;

TEST_CASE("a run directory is held by one at a time", "[train]") {
  const TemporaryFolder folder;
  std::optional<train::RunDirectory> first(folder / "deep/run");
  CHECK_FALSE(first->holds_run());
  try {
    train::RunDirectory second(folder / "deep/run");
    FAIL("both hold it");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::stopped);
    CHECK_THAT(error.what(), Catch::Contains("deep/run: another process is training here"));
  }
  first->write_config("a = 1\n");
  first.reset();
  const train::RunDirectory third(folder / "deep/run");
  CHECK_FALSE(third.holds_run());  // a start that failed
  std::ofstream(folder / "deep/run/metrics.jsonl") << "{}\n";
  CHECK(third.holds_run());
  CHECK_FALSE(third.holds_checkpoint());
  CHECK(third.config() == "a = 1\n");
}

TEST_CASE("checkpoints without run.toml are not a free place", "[train]") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "run/checkpoints/step-3");
  const train::RunDirectory run(folder / "run");
  CHECK(run.holds_run());
  CHECK(run.holds_checkpoint());
  try {
    run.config();
    FAIL("found");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::no_input);
    CHECK_THAT(error.what(), Catch::Contains("run.toml"));
  }
}

TEST_CASE("a run directory that cannot be made is 73", "[train]") {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  try {
    train::RunDirectory run(folder / "file");
    FAIL("made");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::cannot_create);
  }
}

TEST_CASE("metrics are cut to the step that a run goes on from, torn lines too", "[train]") {
  const TemporaryFolder folder;
  const auto file = folder / "metrics.jsonl";
  std::ofstream(file) << "{\"step\":1,\"a\":1.5}\n"
                         "{\"step\":2,\"validation_metrics/loss\":3.0}\n"
                         "{\"step\":2,\"a\":null}\n"
                         "{\"step\":3,\"a\":2}\n"
                         "{\"step\":2,\"a\":0";  // no newline: a kill in the middle of a write
  {
    train::MetricsFile metrics(file, 2);
    CHECK(metrics.last_evaluation().step == 2);
    metrics.write({{"step", 3}, {"a", NAN}});
  }
  CHECK(io::read_text(file) ==
        "{\"step\":1,\"a\":1.5}\n"
        "{\"step\":2,\"validation_metrics/loss\":3.0}\n"
        "{\"step\":2,\"a\":null}\n"
        "{\"step\":3,\"a\":null}\n");
  const train::MetricsFile again(file, 0);
  CHECK(again.last_evaluation().step == -1);
  CHECK(io::read_text(file).empty());
}
