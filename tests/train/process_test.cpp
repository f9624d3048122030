// lact-train as a real process: killed, stopped, locked out, resumed.

#include "support/process.hpp"
#include "support/run_files.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <thread>

using namespace lact;
using namespace lact::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Words command(Words more) {
  Words words{"lact-train", "toy", "--plugin-dir", (build_root() / "tests/train").string()};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A run of about half a second: noise makes the random generator part of it, the ballast makes
/// saving take a good part of the time, and some steps are bad.
Words options(const fs::path& run) {
  return {"-o",
          run.string(),
          "--steps",
          "40",
          "--dtype",
          "float32",
          "--device",
          "cpu",
          "--threads",
          "1",
          "--noise",
          "0.1",
          "--slow",
          "0.005",
          "--ballast",
          "100000",
          "--warmup-steps",
          "5",
          "--micro-batches",
          "2",
          "--log-every",
          "1",
          "--eval-every",
          "7",
          "--eval-batches",
          "2",
          "--save-every",
          "3",
          "--nan-loss",
          "11,12",
          "--explosion",
          "30"};
}

std::map<std::string, std::string> checkpoint(const fs::path& run, int64_t step) {
  const auto folder = run / "checkpoints" / concat("step-", step);
  CHECK(io::verify_checkpoint(folder).empty());
  return hashes(folder);
}

/// metrics.jsonl without what depends on the clock and on memory.
std::vector<std::string> metrics(const fs::path& run) {
  std::vector<std::string> lines;
  std::istringstream in(io::read_text(run / "metrics.jsonl"));
  for (std::string text; std::getline(in, text);) {
    auto line = json::parse(text);
    for (auto item = line.begin(); item != line.end();) {
      const auto& key = item.key();
      const bool timed = key.rfind("time_", 0) == 0 || key.rfind("memory/", 0) == 0 ||
                         key == "throughput(tps)" || key == "tflops" || key == "mfu(%)";
      item = timed ? line.erase(item) : std::next(item);
    }
    lines.push_back(line.dump());
  }
  return lines;
}

/// The lines of a TOML file that say something.
std::vector<std::string> values(const fs::path& file) {
  std::vector<std::string> lines;
  std::istringstream in(io::read_text(file));
  for (std::string line; std::getline(in, line);)
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  return lines;
}

bool saving(const fs::path& run) {
  std::error_code none;
  for (fs::directory_iterator item(run / "checkpoints", none), end; !none && item != end;
       item.increment(none))
    if (item->path().filename().string().find(".tmp.") != std::string::npos) return true;
  return false;
}

/// Waits until the condition holds or the process is over.
bool wait_for(Process& process, const std::function<bool()>& condition) {
  while (process.running()) {
    if (condition()) return true;
    std::this_thread::sleep_for(200us);
  }
  return false;
}

int64_t lines_in(const fs::path& file) {
  if (!fs::exists(file)) return 0;
  const auto text = io::read_text(file);
  return std::count(text.begin(), text.end(), '\n');
}

/// A run that does not end by itself, some steps on.
struct LongRun {
  Words words;
  std::unique_ptr<Process> process;

  LongRun(const fs::path& target, int64_t steps) : words(options(target)) {
    std::replace(words.begin(), words.end(), std::string("40"), std::string("100000"));
    process = std::make_unique<Process>(command(words));
    REQUIRE(wait_for(*process, [&] { return lines_in(target / "metrics.jsonl") >= steps; }));
  }
};

/// Starts a run again and again, ends it by `number()` at a random moment, half of the times while
/// it saves, and calls `after` with what came of it, until `count` were ended. Then it must end in
/// the bytes of a run that nobody disturbed.
struct Campaign {
  TemporaryFolder folder;
  int ended = 0, while_saving = 0, runs = 0;

  void go(int count, const std::function<int()>& number,
          const std::function<void(const fs::path&, const Result&, double)>& after) {
    const auto whole = folder / "whole";
    REQUIRE(run(command(options(whole))).exit == 0);
    const auto want = checkpoint(whole, 40);
    const auto want_metrics = metrics(whole);
    REQUIRE(want_metrics.size() == 40 + 6);
    while (ended < count) {
      const auto target = folder / concat("run-", runs++);
      for (int starts = 0; !start(target, ended < count && starts < 6, number, after);) ++starts;
      CAPTURE(target);
      CHECK(checkpoint(target, 40) == want);
      CHECK(metrics(target) == want_metrics);
      CHECK(fs::read_symlink(target / "latest") == "checkpoints/step-40");
      CHECK_FALSE(saving(target));  // what an end left is gone
    }
  }

 private:
  std::mt19937 random_{20250523};

  /// True if the run came to its end.
  bool start(const fs::path& target, bool disturb, const std::function<int()>& number,
             const std::function<void(const fs::path&, const Result&, double)>& after) {
    // Alone with --resume once there is a run to take the options from.
    const bool known = fs::exists(target / "run.toml");
    auto words = known ? Words{"-o", target.string()} : options(target);
    words.push_back("--resume");
    Process process(command(words));
    if (disturb && random_() % 2 == 0) {
      // From the start of the program on: before run.toml, before the first step.
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 700000));
    } else if (disturb) {
      wait_for(process, [&] { return saving(target); });
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 4000));
      while_saving += saving(target);
    }
    const int signal = disturb ? number() : 0;
    if (disturb) process.signal(signal);
    const auto before = std::chrono::steady_clock::now();
    const auto result = process.wait();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - before;
    if (result.exit == 0) return true;
    REQUIRE(result.exit == 128 + signal);
    ++ended;
    after(target, result, seconds.count());
    return false;
  }
};

}  // namespace

TEST_CASE("what is no finite number is refused, from a file too") {
  const test::TemporaryFolder folder;
  for (const char* option : {"--lr", "--weight-decay", "--max-norm", "--ema", "--noise"})
    for (const char* value : {"nan", "-nan", "inf"}) {
      CAPTURE(option, value);
      const auto result = test::run(command({"-o", (folder / "run").string(), option, value}));
      CHECK(result.exit == 64);
      CHECK_FALSE(fs::exists(folder / "run"));
    }
  io::write_text(folder / "c.toml", "lr = nan\n");
  CHECK(test::run(
            command({"-o", (folder / "run").string(), "--config", (folder / "c.toml").string()}))
            .exit == 78);
}

TEST_CASE("a finished run exports the model alone, into no folder of others") {
  const test::TemporaryFolder folder;
  const auto run = folder / "run", model = folder / "model", taken = folder / "taken";
  auto words = options(run);
  words[3] = "4";
  words.insert(words.end(), {"--export", model.string()});
  const auto first = test::run(command(words));
  INFO(first.err);
  REQUIRE(first.exit == 0);
  CHECK_THAT(first.err, Catch::Contains("the model alone is in"));
  CHECK(io::verify_checkpoint(model).empty());
  CHECK(fs::exists(model / "model.safetensors"));
  CHECK_FALSE(fs::exists(model / "training"));
  const auto bytes = fs::file_size(model / "model.safetensors");
  // Again from the finished run, in another type: the place of the first is taken.
  words.insert(words.end(), {"--export-dtype", "float32", "--resume"});
  const auto second = test::run(command(words));
  INFO(second.err);
  REQUIRE(second.exit == 0);
  CHECK(fs::file_size(model / "model.safetensors") >= bytes);
  const auto want = io::Checkpoint::open(run), got = io::Checkpoint::open(model);
  for (const auto& name : want.names())
    if (got.contains(name)) CHECK(want.tensor(name).equal(got.tensor(name)));
  // What somebody laid beside the model would be lost with its folder, and a checkpoint the run.
  io::write_text(model / "curve.svg", "x");
  auto beside = words;
  CHECK_THAT(test::run(command(beside)).err, Catch::Contains("holds curve.svg"));
  fs::remove(model / "curve.svg");
  // So would be the card, once its author has gone on with it.
  const auto card = io::read_text(model / "README.md");
  CHECK_THAT(card,
             Catch::Contains("| trained | 4 steps") && !Catch::Contains(folder.path().string()));
  io::write_text(model / "README.md", card + "Licence: CC0.\n");
  CHECK(io::verify_checkpoint(model).empty());
  CHECK_THAT(test::run(command(beside)).err, Catch::Contains("its README.md was changed"));
  CHECK(io::read_text(model / "README.md") == card + "Licence: CC0.\n");
  beside.insert(beside.end(), {"--export", (run / "checkpoints/step-4").string()});
  const auto lost = test::run(command(beside));
  CHECK(lost.exit == 73);
  CHECK(fs::exists(run / "checkpoints/step-4/training/trainer.json"));
  // A folder of somebody else's stays as it is, and no step is trained first.
  fs::create_directory(taken);
  io::write_text(taken / "letter.txt", "Dear");
  auto others = options(folder / "other");
  others.insert(others.end(), {"--export", taken.string()});
  const auto refused = test::run(command(others));
  CHECK(refused.exit == 73);
  CHECK_THAT(refused.err, Catch::Contains("taken: is there, and is no model"));
  CHECK_FALSE(fs::exists(folder / "other/checkpoints"));
  CHECK(io::read_text(taken / "letter.txt") == "Dear");
  others.back() = (folder / "none/model").string();
  CHECK(test::run(command(others)).exit == 73);
}

TEST_CASE("killed at random moments, while saving too, a run ends in the same bytes",
          "[train][process]") {
  Campaign campaign;
  campaign.go(
      trials(25), [] { return SIGKILL; }, [](const auto&...) {});
  CHECK(campaign.while_saving >= campaign.ended / 5);  // the moments that matter were met
  WARN(campaign.ended << " kills in " << campaign.runs << " runs, " << campaign.while_saving
                      << " while saving");
}

TEST_CASE("SIGINT and SIGTERM at random moments leave a valid checkpoint, 130 or 143, in 5 s",
          "[train][process]") {
  Campaign campaign;
  std::mt19937 random(20260101);
  int heard = 0;
  double longest = 0;
  campaign.go(
      trials(20), [&] { return random() % 2 == 0 ? SIGINT : SIGTERM; },
      [&](const fs::path& target, const Result& result, double seconds) {
        CAPTURE(target, result.err);
        CHECK(seconds < 5);
        longest = std::max(longest, seconds);
        CHECK(result.out.empty());
        CHECK_FALSE(saving(target));  // nothing is half written
        // Before a run listens nothing is lost; once it does, it saves what it has done.
        if (result.err.find("--resume goes on") == std::string::npos) return;
        ++heard;
        const auto newest =
            io::CheckpointStore(target).newest([](const std::string&) { FAIL("damaged"); });
        CHECK(io::verify_checkpoint(newest).empty());
        const auto counters = json::parse(io::read_text(newest / "training/trainer.json"));
        const auto lines = metrics(target);
        CHECK(counters["step"] == (lines.empty() ? json(0) : json::parse(lines.back())["step"]));
      });
  CHECK(heard >= campaign.ended / 4);
  WARN(campaign.ended << " signals in " << campaign.runs << " runs, " << heard << " heard, "
                      << campaign.while_saving << " while saving, the slowest end took " << longest
                      << " s");
}

TEST_CASE("a signal before a run listens ends it as it ends any program, with nothing begun",
          "[train][process]") {
  const TemporaryFolder folder;
  const auto target = folder / "run";
  for (const int number : {SIGINT, SIGTERM}) {
    Process process(command(options(target)));
    process.signal(number);
    const auto result = process.wait(5s);
    CHECK(result.exit == 128 + number);
    CHECK(result.err.empty());
    CHECK_FALSE(fs::exists(target / "run.toml"));
  }
  CHECK(run(command(options(target))).exit == 0);  // no --resume is needed
}

TEST_CASE("SIGTERM and SIGINT finish the step, save and say so by the exit code",
          "[train][process]") {
  const TemporaryFolder folder;
  const int number = GENERATE(SIGTERM, SIGINT);
  LongRun once(folder / "once", 5);
  once.process->signal(number);
  const auto result = once.process->wait(30s);
  CHECK(result.exit == 128 + number);
  CHECK(result.out.empty());
  CHECK_THAT(result.err, Catch::Contains("--resume goes on"));
  const auto newest =
      io::CheckpointStore(folder / "once").newest([](const std::string&) { FAIL("damaged"); });
  const auto counters = json::parse(io::read_text(newest / "training/trainer.json"));
  const auto last = json::parse(metrics(folder / "once").back());
  CHECK(counters["step"] == last["step"]);  // nothing done was lost
}

TEST_CASE("a directory in use is 75 and says by whom, a directory with a run 73 with a hint",
          "[train][process]") {
  const TemporaryFolder folder;
  const auto target = folder / "run";
  LongRun first(target, 1);
  for (const bool resume : {false, true}) {
    auto again = first.words;
    if (resume) again.push_back("--resume");
    const auto second = run(command(again));
    CHECK(second.exit == 75);
    CHECK(second.err == concat("lact-train: error: ", target.string(),
                               ": another process is training here: process ", first.process->pid(),
                               "\n"));
  }
  first.process->signal(SIGKILL);
  first.process->wait();
  // Whoever died holds nothing.
  const auto third = run(command(first.words));
  CHECK(third.exit == 73);
  CHECK_THAT(third.err, Catch::Contains("error: ") && Catch::Contains("give --resume"));
}

TEST_CASE("options that contradict the run are refused, others may change", "[train][process]") {
  const TemporaryFolder folder;
  const auto target = folder / "run";
  REQUIRE(run(command(options(target))).exit == 0);
  const auto resume = [&](Words more) {
    more.insert(more.begin(), {"--resume", "-o", target.string()});
    return run(command(more));
  };
  for (const Words& more : std::vector<Words>{{"--lr", "0.5"},
                                              {"--seed", "1"},
                                              {"--threads", "2"},
                                              {"--dtype", "bfloat16"},
                                              {"--width", "17"}}) {
    const auto result = resume(more);
    CAPTURE(more[0], result.err);
    CHECK(result.exit == 64);
    CHECK_THAT(result.err, Catch::Contains(more[0].substr(2)));
  }
  const auto longer = resume({"--steps", "45", "--log-every", "5", "--lr", "1e-3"});
  CAPTURE(longer.err);
  CHECK(longer.exit == 0);
  CHECK(fs::exists(target / "checkpoints/step-45"));

  // Another run with the same options: --config of the first, nothing else.
  const auto copy =
      run(command({"--config", (target / "run.toml").string(), "-o", (folder / "copy").string()}));
  CHECK(copy.exit == 0);
  CHECK(values(folder / "copy/run.toml") == values(target / "run.toml"));
  CHECK(values(target / "run.toml").size() > 20);
}

TEST_CASE("a dry run writes the cost to stdout and touches nothing", "[train][process]") {
  const TemporaryFolder folder;
  const auto plain = run(command({"--dry-run", "-o", (folder / "run").string(), "--flops", "3e9"}));
  CHECK(plain.exit == 0);
  CHECK_THAT(plain.out, Catch::Contains("FLOPs per step     3.00 GFLOP\n"));
  CHECK(plain.err.empty());
  CHECK_FALSE(fs::exists(folder / "run"));
  const auto values = run(command({"--dry-run", "--json", "--width", "10"}));
  CHECK(json::parse(values.out).at("parameters") == 130);
}

TEST_CASE("a run without a directory, and a task that is not there, are said in one line",
          "[train][process]") {
  const auto nowhere = run(command({"--steps", "1"}));
  CHECK(nowhere.exit == 64);
  CHECK(nowhere.err == "lact-train: error: --output: missing: the directory of the run\n");
  CHECK(run({"lact-train", "nothing"}).exit == 69);
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  const auto blocked = run(command({"-o", (folder / "file").string()}));
  CHECK(blocked.exit == 73);
}

TEST_CASE(
    "whatever befalls a file of the newest checkpoint, --resume names it and goes on from before",
    "[train][process]") {
  const TemporaryFolder folder;
  const auto words = [&](const fs::path& run, const char* steps) {
    return command({"-o", run.string(), "--steps", steps, "--save-every", "1", "--keep", "9",
                    "--dtype", "float32", "--device", "cpu", "--threads", "1", "--resume"});
  };
  const auto made = run(words(folder / "made", "3"));
  CAPTURE(made.err);
  REQUIRE(made.exit == 0);
  const auto newest = folder / "run/checkpoints/step-3";
  std::vector<std::string> names;
  for (const auto& [name, hash] : checkpoint(folder / "made", 3)) names.push_back(name);
  REQUIRE(names.size() >= 3);
  for (const auto& name : names)
    for (const std::string how : {"deleted", "cut", "swapped", "flipped"}) {
      // Each file in turn in one way; all ways for the manifest and the model.
      if (name == "README.md") continue;  // its author's
      const bool chosen =
          name == "manifest.json" || name == "model.safetensors" || how == "flipped";
      if (!chosen) continue;
      fs::remove_all(folder / "run");
      fs::copy(folder / "made", folder / "run",
               fs::copy_options::recursive | fs::copy_options::copy_symlinks);
      const auto file = newest / name;
      auto text = io::read_text(file);
      if (how == "deleted") fs::remove(file);
      if (how == "cut") fs::resize_file(file, text.size() / 2);
      if (how == "swapped")  // with another step's
        fs::copy_file(folder / "run/checkpoints/step-2" / name, file,
                      fs::copy_options::overwrite_existing);
      if (how == "flipped") {
        text[text.size() / 3] ^= 1;
        std::ofstream(file, std::ios::binary) << text;
      }
      const auto result = run(words(folder / "run", "3"));
      CAPTURE(name, how, result.err);
      CHECK(result.exit == 0);
      CHECK(result.err.find(newest.string() + ": damaged, passed over: ") != std::string::npos);
      // Such a manifest does not name itself, but what it finds changed.
      if (name != "manifest.json" || (how != "swapped" && how != "flipped"))
        CHECK(result.err.find("passed over: " + name) != std::string::npos);
      CHECK(checkpoint(folder / "run", 3) == checkpoint(folder / "made", 3));
    }
}
