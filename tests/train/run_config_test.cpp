#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/train/run_config.hpp>

#include <fstream>

using namespace lact;
using namespace lact::test;

namespace {
const std::string kStored =
    "# lact-train toy\n"
    "lr = 0.001\n"
    "text = \"lr = 5\\nthreads = 9\"  # a value that looks like lines\n"
    "files = [\n  \"a\",\n  \"b\"]\n"
    "threads = 0\n"
    "steps = 100";
}  // namespace

TEST_CASE("values are set where they stand, and every other line stays", "[train]") {
  const auto edited = train::edit_config(kStored, {{"threads", "2"},
                                                   {"files", "[\"c\"]"},
                                                   {"dtype", "\"float32\""},
                                                   {"steps", ""},
                                                   {"absent", ""}});
  CHECK(edited ==
        "dtype = \"float32\"\n"
        "# lact-train toy\n"
        "lr = 0.001\n"
        "text = \"lr = 5\\nthreads = 9\"  # a value that looks like lines\n"
        "files = [\"c\"]\n"
        "threads = 2\n");
  CHECK(train::config_value(edited, "threads") == "2");
  CHECK(train::config_value(edited, "dtype") == "float32");
  CHECK(train::config_value(edited, "steps").empty());
  CHECK(train::config_value(edited, "text") == "lr = 5\nthreads = 9");
}

TEST_CASE("a run may go on longer or speak more often, but not compute something else", "[train]") {
  CHECK(train::contradictions("lr = 0.001\nsteps = 10\nlog-every = 1\n",
                              "lr = 1e-3\nsteps = 20\nlog-every = 5\nkeep = 7\n")
            .empty());
  const auto lines =
      train::contradictions("lr = 0.001\ndata = \"x\"\nwidth = 4\n", "lr = 0.01\ndata = \"y\"\n");
  CHECK(lines == std::vector<std::string>{"lr: 0.001 in the run, 0.01 now",
                                          "width: 4 in the run, (not set) now"});
}

TEST_CASE("a run.toml that is not TOML is refused with its line", "[train]") {
  try {
    train::config_value("a = 1\nb = \"open\n", "a", "runs/a/run.toml");
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    CHECK_THAT(error.what(), Catch::StartsWith("runs/a/run.toml: line 2:"));
  }
}

TEST_CASE("resuming takes the options from the run, unless others are named", "[train]") {
  const TemporaryFolder folder;
  const auto run = folder.path().string(), file = (folder / "run.toml").string();
  using Words = std::vector<std::string>;
  const auto used = [](Words words) {
    train::use_run_config(words);
    return words;
  };
  CHECK(used({"--resume", "-o", run}) == Words{"--resume", "-o", run});  // nothing there yet
  std::ofstream(file) << "lr = 1\n";  // of the time when there was one optimizer
  CHECK(used({"--resume", "-o", run}) ==
        Words{"--config", file, "--optimizer=adamw", "--resume", "-o", run});
  std::ofstream(file) << "lr = 1\noptimizer = \"muon\"\n";
  const std::vector<Words> spellings{
      {"--resume", "-o", run},       {"-o", run, "--resume"},
      {"--resume", "-o" + run},      {"--output=" + run, "--resume"},
      {"--output", run, "--resume"}, {"-o", "x", "-o", run, "--resume"}};
  for (const auto& words : spellings) {
    Words want{"--config", file};
    want.insert(want.end(), words.begin(), words.end());
    CHECK(used(words) == want);
  }
  const std::vector<Words> others{
      {"-o", run}, {"--resume"}, {"--resume", "--config", "mine.toml", "-o", run}};
  for (const auto& words : others) CHECK(used(words) == words);
}

TEST_CASE("an option that a run's file does not name is no contradiction, one it names unset is",
          "[train]") {
  const std::string stored = "lr = 0.001\n# learn =\n";
  CHECK(train::contradictions(stored, "lr = 0.001\nrows = \"stream\"\n").empty());
  CHECK(train::contradictions(stored, "lr = 0.001\nlearn = \"none\"\n").size() == 1);
}
