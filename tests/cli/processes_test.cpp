// Tools as several processes, as a launcher starts them: the bytes of one.
#include "support/launch.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <thread>

using namespace lact;
using namespace lact::test;

namespace {

namespace fs = std::filesystem;
using Words = Launch::Words;

std::string format(const std::string& path) {
  return (source_root() / "tests/formats" / path).string();
}

Words joined(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words with_model(Words words, const std::string& modality) {
  return joined(std::move(words),
                {"--model", format(modality + "/run"), "--threads", "1", "--dtype", "float32"});
}

Words render(const Words& more) {
  return joined(with_model({"lact-render", "views"}, "views"),
                joined({"--data", format("views/data"), "--split", "train", "--scene", "0",
                        "--context-views", "2"},
                       more));
}

/// What rank 0 prints; the others print nothing.
std::string printed(int world, const Words& words) {
  const auto results = Launch(world, words).wait();
  for (size_t rank = 0; rank < results.size(); ++rank) {
    CAPTURE(world, rank, results[rank].err);
    REQUIRE(results[rank].exit == 0);
    if (rank > 0) CHECK((results[rank].out + results[rank].err).empty());
  }
  return results[0].out;
}

bool empty(const fs::path& folder) {
  return fs::directory_iterator(folder) == fs::directory_iterator();
}

/// A film of which the first frames are there, and which takes long.
struct LongFilm : TemporaryFolder {
  explicit LongFilm(int world)
      : launch(world, render({"--path", "turntable:100000", "--at-once", "1", "--render-size",
                              "128", "-o", (*this / "film.mp4").string()})) {
    while (launch.processes[0]->running() && empty(*this / ""))
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Launch launch;
};

}  // namespace

TEST_CASE("two and three processes render the films, frames and sheets of one", "[processes]") {
  const TemporaryFolder folder;
  // Groups of three leave one rank of three without any in the last turn.
  const Words views{"--path", "turntable:14", "--at-once", "3", "--render-size", "24"};
  const Words scored{"--path", "dataset", "--at-once", "1", "--metrics", "--json"};
  std::map<std::string, std::string> want;
  std::string metrics;
  for (const int world : {1, 2, 3}) {
    CAPTURE(world);
    const auto to = folder / std::to_string(world);
    fs::create_directory(to);
    printed(world, render(joined(views, {"-o", (to / "film.mp4").string(), "--save-state",
                                         (to / "scene.state").string()})));
    printed(world, render(joined(views, {"-o", (to / "frames").string()})));
    printed(world, render(joined(views, {"-o", (to / "sheet.png").string()})));
    const auto json =
        printed(world, render(joined(scored, {"--sheet", (to / "compared.png").string()})));
    CHECK(fs::exists(to / "frames/013.png"));
    if (world == 1) {
      want = hashes(to);
      metrics = json;
    }
    CHECK(hashes(to) == want);
    CHECK(json == metrics);
    CHECK(json.find("psnr") != std::string::npos);
  }
}

TEST_CASE("processes that read a scene together render it as one does, to 0.01 dB", "[processes]") {
  const TemporaryFolder folder;
  const auto scored = [&](int world, const Words& more) {
    const auto state = (folder / concat(world, ".state")).string();
    const auto json = printed(world, render(joined({"--path", "dataset", "--metrics", "--json",
                                                    "--context-views", "4", "--save-state", state},
                                                   more)));
    return io::parse_json(json, "metrics")["model"]["psnr_pooled"].get<double>();
  };
  const double alone = scored(1, {});
  for (const int world : {2, 3}) {
    CAPTURE(world);
    CHECK(std::abs(scored(world, {"--read-together"}) - alone) < 0.01);
    CHECK((io::read_text(folder / concat(world, ".state")) != io::read_text(folder / "1.state")));
    scored(world, {});
    CHECK((io::read_text(folder / concat(world, ".state")) == io::read_text(folder / "1.state")));
  }
  // What one process was told to do together it does alone.
  const auto state = io::read_text(folder / "1.state");
  scored(1, {"--read-together"});
  CHECK((io::read_text(folder / "1.state") == state));
}

TEST_CASE("scenes and clips are measured by two and three processes as by one", "[processes]") {
  const TemporaryFolder folder;
  const auto quality = [](const std::string& modality, const Words& more) {
    return joined(with_model({"lact-bench", "quality", modality}, modality),
                  joined({format(modality + "/data"), "--split", "train", "--json", "-q"}, more));
  };
  const auto views = quality("views", {"--context-views", "1,2", "--each"});
  const auto sheet = [&](int world) { return (folder / concat(world, ".png")).string(); };
  const auto video = [&](int world) {
    return quality("video", {"--context-chunks", "1", "--at-once", "2", "--sheet-clips", "3",
                             "--sheet", sheet(world)});
  };
  const auto scenes = printed(1, views), clips = printed(1, video(1));
  CHECK(scenes.find("write_strength") != std::string::npos);
  CHECK(clips.find("velocity_error") != std::string::npos);
  for (const int world : {2, 3}) {
    CHECK(printed(world, views) == scenes);
    CHECK(printed(world, video(world)) == clips);
    CHECK((io::read_text(sheet(world)) == io::read_text(sheet(1))));
  }
}

TEST_CASE("of several processes with a random seed all read what rank 0 reads", "[processes]") {
  const TemporaryFolder folder;
  const auto state = (folder / "scene.state").string();
  const Words path{"--path", "spiral:6", "--at-once", "1", "-o", "-"};
  for (int i = 0; i < 3; ++i) {  // other seeds could choose the same views
    const auto frames = printed(
        3, render(joined(path, {"--seed", "-1", "--choose", "random", "--save-state", state})));
    CHECK((frames == printed(1, joined(with_model({"lact-render", "views"}, "views"),
                                       joined(path, {"--state", state})))));
  }
}

TEST_CASE("when a process is killed the others end with 75, and no film appears", "[processes]") {
  const int victim = GENERATE(0, 1, 2);
  LongFilm film(3);
  film.launch.processes[static_cast<size_t>(victim)]->signal(SIGKILL);
  const auto start = std::chrono::steady_clock::now();
  const auto results = film.launch.wait();
  for (int rank = 0; rank < 3; ++rank) {
    const auto& result = results[static_cast<size_t>(rank)];
    CAPTURE(victim, rank, result.err);
    CHECK(result.exit == (rank == victim ? 128 + SIGKILL : 75));
    if (rank == victim) continue;
    CHECK_THAT(result.err,
               Catch::EndsWith(concat("lact-render: error: rank ", victim, " of 3 is gone\n")));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == (rank == 0 ? 2 : 1));
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(4));
  CHECK_FALSE(fs::exists(film / "film.mp4"));
  if (victim != 0) CHECK(empty(film / ""));  // nor a part of it
}

TEST_CASE("a signal to any process stops all, and leaves nothing", "[processes]") {
  const size_t victim = GENERATE(size_t{0}, size_t{1});
  LongFilm film(2);
  film.launch.processes[victim]->signal(SIGTERM);
  const auto results = film.launch.wait();
  for (const auto& result : results) {
    CAPTURE(victim, result.err);
    CHECK(result.exit == 143);
  }
  CHECK_THAT(results[0].err, Catch::EndsWith("lact-render: stopped by SIGTERM\n"));
  CHECK(results[1].err.empty());
  CHECK(empty(film / ""));
}

TEST_CASE("what goes wrong on one process is said by all, with its code", "[processes]") {
  const TemporaryFolder folder;
  const auto film = (folder / "film.mp4").string();
  const auto words = render({"--path", "turntable:4", "-o", film});
  // Rank 0 alone looks where the film goes.
  auto nowhere = words;
  nowhere.back() = (folder / "none/film.mp4").string();
  for (const auto& result : Launch(2, nowhere).wait()) {
    CHECK(result.exit == 73);
    CHECK_THAT(result.err, Catch::EndsWith("none: no such folder\n"));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  auto other = words;
  std::replace(other.begin(), other.end(), std::string("turntable:4"), std::string("spiral:4"));
  for (const auto& result : Launch(2, words, {{1, other}}).wait()) {
    CHECK(result.exit == 78);
    CHECK(result.err ==
          "lact-render: error: rank 1 has other options than rank 0: path = \"spiral:4\", not path "
          "= \"turntable:4\"\n");
  }
  CHECK(empty(folder / ""));
}

TEST_CASE("what only one process can do is refused by each of several, and done by one",
          "[processes]") {
  const TemporaryFolder folder;
  const auto out = (folder / "tokens").string();
  for (const auto& [words, what] : std::map<Words, std::string>{
           {{"lact-tokenize", "text", "info", format("text/data/train.safetensors")},
            "lact-tokenize text info"},
           {{"lact-tokenize", "text", "train", "-o", out, "--vocab-size", "300",
             format("text/b.txt")},
            "lact-tokenize text train"},
           {{"lact-render", "views", "--inspect-state", format("views/scene.state")},
            "--inspect-state"}}) {
    CAPTURE(what);
    for (const auto& result : Launch(2, words).wait()) {
      CHECK(result.exit == 69);
      CHECK(result.out.empty());
      CHECK(result.err ==
            concat(words[0], ": error: ", what,
                   ": is one process, and here are 2 (environment); start it once, or "
                   "without the launcher's variables\n"));
    }
    CHECK(Launch(1, words).wait()[0].exit == 0);
  }
}
