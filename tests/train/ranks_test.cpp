// lact-train as several processes, as a launcher starts them.
#include "support/launch.hpp"
#include "support/test.hpp"
#include "train/toy_run.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>

#include <ATen/TensorOperators.h>

#include <nlohmann/json.hpp>

#include <signal.h>

#include <filesystem>
#include <memory>
#include <random>
#include <sstream>
#include <thread>

using namespace lact;
using namespace lact::test;
using nlohmann::json;

namespace {

namespace fs = std::filesystem;
using Words = Launch::Words;

/// All end well; rank 0 alone speaks.
void run_well(int world, const Words& words) {
  Launch launch(world, words);
  const auto results = launch.wait();
  for (size_t rank = 0; rank < results.size(); ++rank) {
    CAPTURE(world, rank, results[rank].err);
    REQUIRE(results[rank].exit == 0);
    if (rank > 0) CHECK(results[rank].err.empty());
  }
}

/// Without what depends on the clock, on memory, and on the number of processes.
std::vector<std::string> metrics(const fs::path& run) {
  std::vector<std::string> lines;
  std::istringstream in(io::read_text(run / "metrics.jsonl"));
  for (std::string text; std::getline(in, text);) {
    auto line = json::parse(text);
    for (const char* key : {"throughput(tps)", "tflops", "mfu(%)", "processes"}) line.erase(key);
    for (auto item = line.begin(); item != line.end();)
      item = item.key().rfind("time_metrics/", 0) == 0 || item.key().rfind("memory/", 0) == 0
                 ? line.erase(item)
                 : std::next(item);
    lines.push_back(line.dump());
  }
  return lines;
}

}  // namespace

TEST_CASE("in a fixed order, one, two and four processes train to the same bytes",
          "[train][ranks]") {
  const TemporaryFolder folder;
  run_well(1, fixed(folder / "1"));
  const auto want = checkpoint(folder / "1");
  const auto lines = metrics(folder / "1");
  CHECK(std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
          return line.find("\"loss_metrics/global_avg_loss\":null") != line.npos;
        }) == 2);  // bad steps were met
  for (const int world : {2, 4}) {
    CAPTURE(world);
    const auto run = folder / std::to_string(world);
    run_well(world, fixed(run));
    CHECK(checkpoint(run) == want);
    CHECK(metrics(run) == lines);
  }
}

TEST_CASE("texts, views and films are trained by two processes as by one, in a fixed order",
          "[train][ranks]") {
  const std::string modality = GENERATE("text", "views", "video");
  CAPTURE(modality);
  const TemporaryFolder folder;
  fs::copy(source_root() / "tests/formats" / modality / "data", folder / "data",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::copy_file(source_root() / "tests/formats" / modality / "run/run.toml", folder / "old.toml");
  const auto words = [&](const char* run) {
    return Words{"lact-train",
                 modality,
                 "--config",
                 (folder / "old.toml").string(),
                 "--data",
                 (folder / "data").string(),
                 "-o",
                 (folder / run).string(),
                 "--steps",
                 "4",
                 "--grad-accum",
                 "4",
                 "--threads",
                 "1",
                 "--log-every",
                 "1",
                 "--reduce-order",
                 "fixed"};
  };
  run_well(1, words("one"));
  run_well(2, words("two"));
  CHECK(checkpoint(folder / "two") == checkpoint(folder / "one"));
  CHECK(metrics(folder / "two") == metrics(folder / "one"));
}

TEST_CASE("micro-batches of which other shares are masked weigh alike for any number of processes",
          "[train][ranks]") {
  const TemporaryFolder folder;
  const auto old = source_root() / "tests/formats/text";
  std::string text;
  for (int document = 0; document < 120; ++document) {
    for (int word = 0; word <= document % 40; ++word)
      text += concat("word", word * document % 7, " ");
    text += "\x1e";
  }
  io::write_text(folder / "documents.txt", text);
  REQUIRE(run({(build_root() / "tools/lact-tokenize").string(), "text", "encode", "-q", "-m",
               (old / "data/tokenizer.model").string(), "--document-separator", "\\x1e", "-o",
               (folder / "data").string(), (folder / "documents.txt").string()})
              .exit == 0);
  const auto words = [&](const std::string& run) {
    return Words{"lact-train",
                 "text",
                 "--config",
                 (old / "run/run.toml").string(),
                 "--data",
                 (folder / "data").string(),
                 "-o",
                 (folder / run).string(),
                 "--steps",
                 "3",
                 "--grad-accum",
                 "4",
                 "--batch-size",
                 "1",
                 "--seq-len",
                 "24",
                 "--threads",
                 "1",
                 "--log-every",
                 "1",
                 "--eval-every",
                 "0",
                 "--reduce-order",
                 "fixed"};
  };
  for (const int world : {1, 2, 4}) {
    CAPTURE(world);
    const auto name = std::to_string(world);
    run_well(world, words(name));
    CHECK(checkpoint(folder / name) == checkpoint(folder / "1"));
    CHECK(metrics(folder / name) == metrics(folder / "1"));
  }
}

TEST_CASE("processes that share each scene or film learn what one learns, and go on as one",
          "[train][ranks]") {
  const std::string modality = GENERATE("views", "video");
  CAPTURE(modality);
  const TemporaryFolder folder;
  fs::copy(source_root() / "tests/formats" / modality / "data", folder / "data",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::copy_file(source_root() / "tests/formats" / modality / "run/run.toml", folder / "old.toml");
  const auto words = [&](const char* run, const Words& more) {
    Words all{"lact-train",   modality,
              "--config",     (folder / "old.toml").string(),
              "--data",       (folder / "data").string(),
              "-o",           (folder / run).string(),
              "--steps",      "6",
              "--grad-accum", "2",
              "--threads",    "1",
              "--log-every",  "1",
              "--dtype",      "float32",
              "--eval-every", "3"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Words two{"--context-parallel-degree", "2"};
  run_well(1, words("one", {}));
  run_well(2, words("shared", two));
  run_well(4, words("both", two));  // two groups of two
  // Groups with the same members, for two purposes.
  run_well(4,
           words("cut", {"--context-parallel-degree", "2", "--data-parallel-shard-degree", "2"}));
  const auto want = metrics(folder / "one");
  for (const auto* run : {"shared", "both", "cut"}) {
    CAPTURE(run);
    const auto got = metrics(folder / run);
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const auto a = json::parse(want[i]), b = json::parse(got[i]);
      for (const auto* key : {"loss_metrics/global_avg_loss", "loss_metrics/global_max_loss",
                              "grad_norm", "validation_metrics/loss"})
        if (a.contains(key))
          CHECK(b.at(key).get<double>() == Approx(a[key].get<double>()).epsilon(1e-3));
    }
  }
  Launch text(2, {"lact-train", "toy", "--plugin-dir", (build_root() / "tests/train").string(),
                  "-o", (folder / "toy").string(), "--context-parallel-degree", "2"});
  for (const auto& result : text.wait()) {
    CHECK(result.exit == 78);
    CHECK_THAT(result.err, Catch::Contains("computes each micro-batch in one process"));
  }
  if (modality == "views") return;
  Launch three(3, words("three", {"--context-parallel-degree", "3", "--grad-accum", "3"}));
  for (const auto& result : three.wait()) {
    CHECK(result.exit == 64);
    CHECK_THAT(result.err, Catch::EndsWith("error: --context-parallel-degree 3: does not divide "
                                           "the model's 2 heads of attention\n"));
  }
}

TEST_CASE("processes that cut the parameters among them train as one does, and go on as one",
          "[train][ranks]") {
  const std::string modality = GENERATE("text", "views", "video");
  CAPTURE(modality);
  const TemporaryFolder folder;
  fs::copy(source_root() / "tests/formats" / modality / "data", folder / "data",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::copy_file(source_root() / "tests/formats" / modality / "run/run.toml", folder / "old.toml");
  const auto words = [&](const std::string& run, const Words& more) {
    Words all{"lact-train",   modality,
              "--config",     (folder / "old.toml").string(),
              "--data",       (folder / "data").string(),
              "-o",           (folder / run).string(),
              "--grad-accum", "4",
              "--threads",    "1",
              "--log-every",  "1",
              "--dtype",      "float32",
              "--optimizer",  "adamw",
              "--ema",        "0.9",
              "--eval-every", "3",
              "--save-every", "3"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto near = [&](const std::string& run) {
    CAPTURE(run);
    const auto want = metrics(folder / "whole"), got = metrics(folder / run);
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const auto a = json::parse(want[i]), b = json::parse(got[i]);
      for (const auto* key :
           {"loss_metrics/global_avg_loss", "grad_norm", "validation_metrics/loss"})
        if (a.contains(key))
          CHECK(b.at(key).get<double>() == Approx(a[key].get<double>()).epsilon(1e-3));
    }
    // Whole tensors, as one process writes them.
    const auto mine = fs::canonical(folder / run / "latest"),
               one = fs::canonical(folder / "whole/latest");
    for (const auto* file : {"model.safetensors", "training/optimizer.safetensors"}) {
      const auto a = io::SafeTensors::open(one / file), b = io::SafeTensors::open(mine / file);
      REQUIRE(b.entries().size() == a.entries().size());
      for (const auto& entry : a.entries()) {
        CAPTURE(file, entry.name);
        CHECK(b.entry(entry.name).shape == entry.shape);
      }
    }
  };
  run_well(1, words("whole", {"--steps", "6"}));
  run_well(2, words("cut", {"--steps", "6", "--data-parallel-shard-degree", "2"}));
  near("cut");
  run_well(4, words("both", {"--steps", "6", "--data-parallel-shard-degree", "2"}));
  near("both");
  // Half of it cut, saved beside training, then whole again.
  run_well(2, words("half", {"--steps", "3", "--data-parallel-shard-degree", "2", "--async-mode",
                             "async"}));
  run_well(1, words("half", {"--steps", "6", "--resume"}));
  CHECK(io::verify_checkpoint(fs::canonical(folder / "half/latest")).empty());
  Launch muon(2, words("muon", {"--steps", "1", "--data-parallel-shard-degree", "2", "--optimizer",
                                "muon"}));
  for (const auto& result : muon.wait()) {
    CHECK(result.exit == 78);
    CHECK_THAT(result.err, Catch::Contains("--optimizer muon needs whole matrices"));
  }
}

TEST_CASE("a dry run says what one process of many holds and sends, and meets nobody",
          "[train][ranks]") {
  const auto plan = [](const Words& more) {
    Words all{"env",
              "RANK=9",
              "WORLD_SIZE=64",
              "LOCAL_RANK=1",
              "LOCAL_WORLD_SIZE=8",
              "MASTER_ADDR=nobody.invalid",
              (build_root() / "tools/lact-train").string(),
              "text",
              "--preset",
              "60m",
              "--grad-accum",
              "128",
              "--batch-size",
              "1",
              "--dtype",
              "float32",
              "--dry-run"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  };
  const auto whole = plan({"--json"}), cut = plan({"--json", "--data-parallel-shard-degree", "8"});
  REQUIRE(whole.exit == 0);
  REQUIRE(cut.exit == 0);
  const auto a = json::parse(whole.out), b = json::parse(cut.out);
  CHECK(a["process"]["first_micro_batch"] == 18);
  CHECK(a["process"]["micro_batches"] == 2);
  CHECK(a["process"]["parameters"] == a["parameters"]);
  // A ring sends every number twice but for its own part.
  CHECK(a["process"]["sent_summing_bytes"].get<double>() ==
        Approx(8.0 * a["parameters"].get<double>() * 63 / 64));
  const double in_blocks =
      (a["process"]["parameters"].get<double>() - b["process"]["parameters"].get<double>()) * 8 / 7;
  CHECK(in_blocks > 0.3 * a["parameters"].get<double>());
  // Blocks are gathered forward and backward, in both micro-batches.
  CHECK(b["process"]["sent_gathering_bytes"].get<double>() ==
        Approx(2 * 2 * 4 * in_blocks * 7 / 8));
  CHECK(b["process"]["memory_bytes"] < a["process"]["memory_bytes"]);
  CHECK(plan({"--data-parallel-shard-degree", "7"}).exit == 78);
}

TEST_CASE("a dry run counts the queries, keys, values and outputs that share a film's tokens",
          "[train][ranks]") {
  const auto planned =
      run({"env", "RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=nobody.invalid",
           (build_root() / "tools/lact-train").string(), "video", "--preset", "tiny", "--dtype",
           "float32", "--context-parallel-degree", "2", "--dry-run", "--json"});
  CAPTURE(planned.err);
  REQUIRE(planned.exit == 0);
  const auto plan = json::parse(planned.out);
  // Half of the tokens are here, and half of their heads there: four times width 96 of three
  // layers, forward and backward.
  CHECK(plan["process"]["sent_exchange_bytes"].get<double>() ==
        Approx(plan["tokens_per_step"].get<double>() / 2 / 2 * 4 * 96 * 3 * 2 * 4));
}

TEST_CASE("in the fast order a number of processes gives its bytes each time, and nearly one's",
          "[train][ranks]") {
  const TemporaryFolder folder;
  const Words more{"--steps", "20", "--save-every", "0"};
  run_well(1, toy(folder / "alone", more));
  run_well(2, toy(folder / "a", more));
  run_well(2, toy(folder / "b", more));
  CHECK(checkpoint(folder / "a") == checkpoint(folder / "b"));
  const auto alone = metrics(folder / "alone"), two = metrics(folder / "a");
  REQUIRE(alone.size() == two.size());
  for (size_t i = 0; i < two.size(); ++i) {
    const auto a = json::parse(alone[i]), b = json::parse(two[i]);
    if (!a.contains("loss_metrics/global_avg_loss")) continue;
    const double loss = a["loss_metrics/global_avg_loss"];
    CHECK(b["loss_metrics/global_avg_loss"].get<double>() == Approx(loss).epsilon(1e-6));
  }
}

TEST_CASE("a run goes on with another number of processes to the same bytes", "[train][ranks]") {
  const TemporaryFolder folder;
  run_well(1, fixed(folder / "whole"));
  for (const auto& [steps, world] : {std::pair{"10", 4}, std::pair{"15", 1}, std::pair{"25", 2}}) {
    auto words = fixed(folder / "run", {"--resume"});
    *std::find(words.begin(), words.end(), "30") = steps;
    run_well(world, words);
  }
  run_well(4, fixed(folder / "run", {"--resume"}));
  auto got = checkpoint(folder / "run"), want = checkpoint(folder / "whole");
  // A shorter run evaluates at its end, and the schedule of the steps until then was another one.
  CHECK(got.size() == want.size());
  CHECK(metrics(folder / "run").size() >= metrics(folder / "whole").size());
}

TEST_CASE("a process that is killed ends all others with 75, and the next start goes on",
          "[train][ranks]") {
  const TemporaryFolder folder;
  run_well(1, fixed(folder / "whole"));
  const auto want = checkpoint(folder / "whole");
  const auto with = [&](const std::string& mode) {  // saves are a good part of the work
    return fixed(folder / "run",
                 {"--resume", "--slow", "0.01", "--save-every", "2", "--async-mode", mode});
  };
  std::mt19937 random(20261201);
  int killed = 0;
  for (int i = 0; i < trials(6); ++i) {
    const int world = 1 << (1 + random() % 2);
    const auto words = with(i % 2 == 0 ? "disabled" : "async");
    const auto victim = random() % static_cast<size_t>(world);
    Launch launch(world, words);
    // In the middle of the work: start-up has its own time-out.
    const auto seen =
        fs::exists(folder / "run/metrics.jsonl") ? fs::file_size(folder / "run/metrics.jsonl") : 0;
    std::error_code none;
    while (launch.processes[0]->running() &&
           (!fs::exists(folder / "run/metrics.jsonl", none) ||
            fs::file_size(folder / "run/metrics.jsonl", none) <= seen))
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
    launch.processes[victim]->signal(SIGKILL);
    const auto start = std::chrono::steady_clock::now();
    const auto results = launch.wait();
    if (fs::read_symlink(folder / "run/latest", none).filename() == "step-30") {
      CHECK(checkpoint(folder / "run") == want);  // who was killed later is not missed
      fs::remove_all(folder / "run");
      continue;
    }
    ++killed;
    for (size_t rank = 0; rank < results.size(); ++rank) {
      CAPTURE(world, victim, rank, results[rank].err);
      if (rank == victim) continue;
      CHECK(results[rank].exit == 75);
      CHECK_THAT(results[rank].err,
                 Catch::EndsWith(concat("error: rank ", victim, " of ", world,
                                        " is gone; --resume goes on from the last checkpoint\n")));
    }
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(4));
  }
  CHECK(killed > 0);
  run_well(4, with("async"));
  CHECK(checkpoint(folder / "run") == want);
}

TEST_CASE("a signal to any process stops all after the same step, saved", "[train][ranks]") {
  const TemporaryFolder folder;
  for (const int victim : {0, 1, 2}) {
    const auto run = folder / std::to_string(victim);
    Launch launch(3, toy(run, {"--steps", "100000", "--micro-batches", "3", "--save-every", "0",
                               "--slow", "0.01"}));
    while (launch.processes[0]->running() && !fs::exists(run / "metrics.jsonl"))
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    launch.processes[static_cast<size_t>(victim)]->signal(SIGTERM);
    const auto results = launch.wait();
    for (const auto& result : results) {
      CAPTURE(result.err);
      CHECK(result.exit == 143);
    }
    CHECK_THAT(results[0].err, Catch::EndsWith("lact-train: stopped by SIGTERM\n"));
    CHECK(io::verify_checkpoint(fs::canonical(run / "latest")).empty());
  }
}

TEST_CASE("processes that cannot be one run are told why, in one line each", "[train][ranks]") {
  const TemporaryFolder folder;
  const auto words = toy(folder / "run", {"--steps", "3"});
  Launch odd(3, words);
  for (const auto& result : odd.wait()) {
    CHECK(result.exit == 78);
    CHECK_THAT(result.err, Catch::Contains("3 processes do not divide the 4 micro-batches"));
  }
  Launch other(2, words, {{1, toy(folder / "run", {"--steps", "4"})}});
  for (const auto& result : other.wait()) {
    CHECK(result.exit == 78);
    CHECK_THAT(result.err, Catch::Contains("rank 1 has other options than rank 0: steps = 4"));
  }
  Launch nowhere(2, toy(folder / "run", {"--comm-interface", "nosuch0"}));
  for (const auto& result : nowhere.wait()) {
    CHECK(result.exit == 69);
    CHECK_THAT(result.err, Catch::StartsWith("lact-train: error: --comm-interface nosuch0: ") &&
                               Catch::Contains("lo"));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  CHECK_FALSE(fs::exists(folder / "run/checkpoints"));
  run_well(2, toy(folder / "random", {"--steps", "2", "--seed", "-1"}));
  const auto broken =
      run({"env", "RANK=1", "MASTER_ADDR=127.0.0.1", (build_root() / "tools/lact-train").string(),
           "toy", "--plugin-dir", (build_root() / "tests/train").string(), "-o",
           (folder / "run").string(), "--steps", "1"});
  CHECK(broken.exit == 78);
  CHECK_THAT(broken.err, Catch::Contains("environment: WORLD_SIZE: missing"));
}
