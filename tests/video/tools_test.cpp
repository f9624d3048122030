// lact-generate video and lact-bench as real processes, with a small model of random parameters.
#include "small_film.hpp"
#include "support/launch.hpp"
#include "support/test.hpp"

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <nlohmann/json.hpp>

#include <csignal>
#include <filesystem>
#include <thread>

using namespace lact;
using test::run;
namespace fs = std::filesystem;

namespace {

struct Made {
  test::TemporaryFolder folder;
  std::string model = path("model");

  Made() {
    test::write_small_film_model(test::small_film_model(test::small_film_config()), model);
    auto config = test::small_film_config();
    config.condition = "class";
    config.classes = {"cat", "dog"};
    test::write_small_film_model(test::small_film_model(config, 2), path("classes"));
    config.condition = "none";
    config.classes.clear();
    test::write_small_film_model(test::small_film_model(config, 3), path("free"));
    test::write_small_clips(path("data"), "validation", 3, 10);
  }
  std::string path(const std::string& name) const { return (folder / name).string(); }

  std::vector<std::string> line(std::vector<std::string> options,
                                const std::string& which = "model") const {
    std::vector<std::string> all = {"lact-generate", "video", "--model", path(which),
                                    "--steps",       "3",     "--dtype", "float32",
                                    "--threads",     "1"};
    all.insert(all.end(), options.begin(), options.end());
    return all;
  }
  test::Result make(std::vector<std::string> options, const std::string& which = "model") const {
    return run(line(std::move(options), which));
  }
  std::string bytes(const std::string& name) const { return io::read_text(folder / name); }
  /// The frames of a folder, one after another.
  std::string frames(const std::string& name) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(folder / name))
      files.push_back(entry.path().filename().string());
    std::sort(files.begin(), files.end());
    std::string all;
    for (const auto& file : files) {
      const auto image = media::read_image(folder / name / file);
      all.append(image.pixels.begin(), image.pixels.end());
    }
    return all;
  }
};

const Made& made() {
  static const Made once;
  return once;
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

constexpr size_t kFrame = 16 * 16 * 3;

}  // namespace

TEST_CASE("a film in one run and in three runs over a state is the same film") {
  const auto& m = made();
  const auto whole = m.make({"-p", "a dog", "-n", "6", "--seed", "5", "-o", m.path("whole")});
  INFO(whole.err);
  REQUIRE(whole.exit == 0);
  const auto state = m.path("film.state");
  REQUIRE(m.make({"-p", "a dog", "-n", "2", "--seed", "5", "-o", m.path("parts"), "--save-state",
                  state})
              .exit == 0);
  for (int i = 0; i < 2; ++i)
    REQUIRE(run({"lact-generate", "video", "--model", m.model, "--threads", "1", "--state", state,
                 "-n", "2", "-o", m.path("parts"), "--save-state", state})
                .exit == 0);
  CHECK(m.frames("whole").size() == 6 * kFrame);
  CHECK((m.frames("whole") == m.frames("parts")));  // numbers go on where the film does
  CHECK(fs::exists(m.folder / "parts/00005.png"));
  const auto branch = m.make({"--state", state, "-p", "a cat", "-n", "2", "-o", m.path("branch")});
  INFO(branch.err);
  REQUIRE(branch.exit == 0);
  CHECK(fs::exists(m.folder / "branch/00006.png"));
  const auto look = run({"lact-generate", "video", "--inspect-state", state, "--json"});
  REQUIRE(look.exit == 0);
  const auto json = nlohmann::json::parse(look.out);
  CHECK(json["modality"] == "video");
  CHECK(json["chunks"] == 3);
  CHECK(json["frames"] == 6);
  CHECK(json["layers"] == 2);
  CHECK(json["prompt"] == "a dog");
}

TEST_CASE("frames go to pipes, patterns, films and several of them, always the same") {
  const auto& m = made();
  const auto raw = m.make({"-n", "4", "-o", "-", "-o", m.path("all"), "-o", m.path("x/a-%02d.png"),
                           "-o", m.path("film.mp4"), "-o", m.path("film.webm")});
  INFO(raw.err);
  REQUIRE(raw.exit == 0);
  CHECK(raw.out.size() == 4 * kFrame);
  CHECK((raw.out == m.frames("all")));
  CHECK((raw.out == m.frames("x")));
  CHECK(fs::exists(m.folder / "x/a-03.png"));
  for (const char* name : {"film.mp4", "film.webm"}) {
    media::VideoReader film(m.folder / name);
    int frames = 0;
    while (film.next()) ++frames;
    CHECK(frames == 4);
    CHECK(film.rate() == Approx(8));
  }
  const auto json = m.make({"-n", "3", "-o", m.path("three"), "--json", "--sampler", "euler"});
  REQUIRE(json.exit == 0);
  CHECK_THAT(json.err, Catch::Contains("4 frames instead of 3"));
  const auto report = nlohmann::json::parse(json.out);
  CHECK(report["frames"] == 4);
  CHECK(report["chunks"] == 2);
  CHECK(report["sampler"] == "euler");
}

TEST_CASE("a film goes on from first frames, whole chunks of them") {
  const auto& m = made();
  const auto read = m.make({"-n", "5", "-o", m.path("first")});
  REQUIRE(read.exit == 0);
  fs::remove(m.folder / "first/00005.png");
  const auto result =
      m.make({"--frames", m.path("first"), "-n", "2", "-o", m.path("next"), "--echo"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  CHECK_THAT(result.err, Catch::Contains("read 4 frames; the last 1 fill no chunk"));
  const auto all = m.frames("next");
  CHECK(all.size() == 6 * kFrame);
  CHECK((all.substr(0, 4 * kFrame) == m.frames("first").substr(0, 4 * kFrame)));
  // By hand: read, keep, go on.
  REQUIRE(
      m.make({"--frames", m.path("first"), "-n", "0", "--save-state", m.path("read.state")}).exit ==
      0);
  const auto later = m.make({"--state", m.path("read.state"), "-n", "2", "-o", "-"});
  CHECK((later.out == all.substr(4 * kFrame)));
  const auto few = m.make({"--frames", m.path("first"), "--max-frames", "1", "-o", m.path("no")});
  CHECK(few.exit == 65);
  CHECK_THAT(few.err, Catch::Contains("1 frame does not fill a chunk of 2"));
}

TEST_CASE("one image is held for the first chunk, and the film goes on from it") {
  const auto& m = made();
  REQUIRE(m.make({"-n", "2", "-o", m.path("two")}).exit == 0);
  const auto film = [&](const char* image) {
    const auto made = m.make({"--frames", m.path("two/") + image, "-n", "2", "-o", "-"});
    CAPTURE(made.err);
    REQUIRE(made.exit == 0);
    CHECK_THAT(made.err, Catch::Contains("read 2 frames: one image, held"));
    return made.out;
  };
  CHECK((film("00000.png") != film("00001.png")));
}

TEST_CASE("a number may stand in the folder of a pattern") {
  const auto& m = made();
  REQUIRE(m.make({"-n", "2", "-o", m.path("shot%d/frame.png")}).exit == 0);
  CHECK(fs::exists(m.folder / "shot0/frame.png"));
  CHECK(fs::exists(m.folder / "shot1/frame.png"));
  CHECK_FALSE(fs::exists(m.folder / "shot%d"));
}

TEST_CASE("a model without fast weights continues nothing, and says so") {
  const auto& m = made();
  auto config = test::small_film_config();
  config.fast.reset();
  test::write_small_film_model(test::small_film_model(config), m.path("plain"));
  REQUIRE(m.make({"-n", "2", "-o", m.path("given")}).exit == 0);
  const auto given = m.make({"--frames", m.path("given"), "-o", m.path("no")}, "plain");
  CHECK(given.exit == 64);
  CHECK_THAT(given.err, Catch::Contains("no fast weights"));
  const auto longer = m.make({"-n", "4", "-o", "-"}, "plain");
  CHECK(longer.exit == 0);
  CHECK_THAT(longer.err, Catch::Contains("after every 2 frames another begins"));
  CHECK(m.make({"-n", "2", "-o", "-"}, "plain").err.find("warning") == std::string::npos);
}

TEST_CASE("frames of odd sizes become even in films, which is told") {
  const auto& m = made();
  auto config = test::small_film_config();
  config.codec = {"unshuffle", 3};
  config.in_dim = config.out_dim = 27;
  config.patch_size = {1, 1, 1};
  config.width = config.height = 15;
  test::write_small_film_model(test::small_film_model(config), m.path("odd-model"));
  const auto odd = m.make({"-n", "2", "-o", m.path("odd.mp4")}, "odd-model");
  CAPTURE(odd.err);
  REQUIRE(odd.exit == 0);
  CHECK_THAT(odd.err, Catch::Contains("frames of 15 x 15 become 16 x 16"));
}

TEST_CASE("a signal in mid-film leaves whole pictures, a whole film and a state that goes on") {
  const auto& m = made();
  test::Process film(m.line({"-n", "-1", "--seed", "9", "-o", m.path("endless"), "-o",
                             m.path("endless.mp4"), "--save-state", m.path("endless.state")}));
  for (int i = 0; i < 3000 && !fs::exists(m.folder / "endless/00003.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  film.signal(SIGTERM);
  const auto ended = film.wait();
  INFO(ended.err);
  CHECK(ended.exit == 143);
  const auto seen = m.frames("endless");  // every picture can be read
  const auto state = io::load_state(m.folder / "endless.state");
  CHECK(state.value("frames") == std::to_string(seen.size() / kFrame));
  media::VideoReader reader(m.folder / "endless.mp4");
  size_t frames = 0;
  while (reader.next()) ++frames;
  CHECK(frames == seen.size() / kFrame);
  REQUIRE(m.make({"--state", m.path("endless.state"), "-n", "2", "-o", m.path("endless")}).exit ==
          0);
  const auto count = std::to_string(seen.size() / kFrame + 2);
  REQUIRE(m.make({"-n", count, "--seed", "9", "-o", m.path("undisturbed")}).exit == 0);
  CHECK((m.frames("endless") == m.frames("undisturbed")));
}

TEST_CASE("a signal while frames are read leaves a state that goes on behind those") {
  const auto& m = made();
  {
    media::VideoWriter film(m.folder / "long.mp4", 16, 16, 10);
    for (int i = 0; i < 600; ++i) {
      media::Image image(16, 16);
      std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(i % 251));
      film.add(image);
    }
    film.finish();
  }
  const auto options = [&](const char* where, std::vector<std::string> more) {
    std::vector<std::string> all = {
        "--frames", m.path("long.mp4"), "--max-frames", "301", "--echo", "-n", "2",
        "-o",       m.path(where)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto state = m.path("reading.state");
  test::Process film(m.line(options("stopped", {"--save-state", state})));
  for (int i = 0; i < 3000 && !fs::exists(m.folder / "stopped/00003.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  film.signal(SIGTERM);
  const auto ended = film.wait();
  INFO(ended.err);
  CHECK(ended.exit == 143);
  const auto seen = m.frames("stopped").size() / kFrame;
  CHECK(seen < 300);
  CHECK(nlohmann::json::parse(io::load_state(state).value("reading"))["frames"] == seen);
  const auto alone = m.make({"--state", state, "-n", "2", "-o", m.path("stopped")});
  CHECK(alone.exit == 64);
  CHECK_THAT(alone.err, Catch::Contains("give the same --frames"));
  const auto other = m.make(
      {"--state", state, "--frames", m.path("whole"), "--save-state", m.path("other.state")});
  CHECK(other.exit == 65);
  CHECK_THAT(other.err, Catch::Contains("of other frames"));
  const auto still = m.make({"--state", state, "--frames", m.path("stopped/00000.png"),
                             "--save-state", m.path("other.state")});
  CHECK(still.exit == 65);
  CHECK_THAT(still.err, Catch::Contains("of other frames"));
  const auto later = m.make(options("stopped", {"--state", state, "--save-state", state}));
  INFO(later.err);
  REQUIRE(later.exit == 0);
  CHECK(io::load_state(state).metadata.count("reading") == 0);
  REQUIRE(m.make(options("straight", {})).exit == 0);
  CHECK(m.frames("straight").size() == 302 * kFrame);
  CHECK((m.frames("stopped") == m.frames("straight")));
}

TEST_CASE("a player that is closed ends the program silently") {
  const auto& m = made();
  std::string command;
  for (auto word : m.line({"-n", "-1", "-o", "-", "-q"})) {
    if (word == "lact-generate") word = (test::build_root() / "tools" / word).string();
    command += "'" + word + "' ";
  }
  const auto result =
      run({"sh", "-c", "{ " + command + "; echo ended $? >&2; } | head -c 2000 | wc -c"});
  CHECK_THAT(result.out, Catch::Contains("2000"));
  CHECK(result.err == "ended 141\n");
}

TEST_CASE("a player that is closed leaves whole outputs and a state that goes on") {
  const auto& m = made();
  std::string command;
  for (auto word : m.line({"-n", "-1", "--seed", "9", "-o", "-", "-o", m.path("closed"), "-o",
                           m.path("closed.mp4"), "--save-state", m.path("closed.state")})) {
    if (word == "lact-generate") word = (test::build_root() / "tools" / word).string();
    command += "'" + word + "' ";
  }
  const auto result =
      run({"sh", "-c", "{ " + command + "; echo ended $? >&2; } | head -c 2000 | wc -c"});
  CHECK(result.err == "ended 141\n");
  const auto seen = m.frames("closed");
  REQUIRE_FALSE(seen.empty());
  const auto frames = std::to_string(seen.size() / kFrame);
  CHECK(io::load_state(m.folder / "closed.state").value("frames") == frames);
  media::VideoReader reader(m.folder / "closed.mp4");
  size_t shown = 0;
  while (reader.next()) ++shown;
  CHECK(shown == seen.size() / kFrame);
  REQUIRE(m.make({"--state", m.path("closed.state"), "-n", "2", "-o", m.path("closed")}).exit == 0);
  const auto count = std::to_string(seen.size() / kFrame + 2);
  REQUIRE(m.make({"-n", count, "--seed", "9", "-o", m.path("watched")}).exit == 0);
  CHECK((m.frames("closed") == m.frames("watched")));
}

TEST_CASE("an output that fails ends the film after the others and the state have the chunk") {
  const auto& m = made();
  fs::create_directories(m.folder / "blocked/00003.png");  // where a picture would be
  const auto result = m.make({"-n", "8", "-o", m.path("blocked"), "-o", m.path("beside"),
                              "--save-state", m.path("blocked.state")});
  CHECK(result.exit == 73);
  CHECK(lines(result.err) == 1);
  CHECK_THAT(result.err, Catch::Contains("00003.png"));
  CHECK(m.frames("beside").size() == 4 * kFrame);
  CHECK(io::load_state(m.folder / "blocked.state").value("frames") == "4");
  // What cannot be made at all is told before anything is.
  io::write_text(m.folder / "file", "");
  for (const char* output : {"file/film", "no/film.mp4", "no/sheet.png"}) {
    const auto unopened = m.make({"--frames", m.path("beside"), "-n", "2", "-o", m.path(output),
                                  "--save-state", m.path("unopened.state")});
    CAPTURE(output);
    CHECK(unopened.exit == 73);
    CHECK_FALSE(fs::exists(m.folder / "unopened.state"));
  }
}

TEST_CASE("raw frames are not written to a terminal") {
  const auto& m = made();
  std::string command;
  for (auto word : m.line({"-o", "-"})) {
    if (word == "lact-generate") word = (test::build_root() / "tools" / word).string();
    command += "'" + word + "' ";
  }
  const auto result = run({"script", "-qec", command, "/dev/null"});
  CHECK(result.exit == 64);
  CHECK_THAT(result.out, Catch::Contains("stdout is a terminal"));
}

TEST_CASE("what cannot be done is refused in one line, before anything is made") {
  const auto& m = made();
  const auto refused = [&](std::vector<std::string> options, int exit, const char* words,
                           const char* model = "model") {
    const auto result = m.make(std::move(options), model);
    CAPTURE(words, result.err);
    CHECK(result.exit == exit);
    CHECK(lines(result.err) == 1);
    CHECK_THAT(result.err, Catch::Contains(words));
  };
  const auto out = m.path("never");
  refused({}, 64, "--output, or --save-state");
  refused({"-o", "film.avi"}, 64, "film.avi");
  refused({"-o", "-", "--json"}, 64, "stdout");
  refused({"-o", out, "--class", "cat"}, 64, "--prompt");
  refused({"-o", out, "-p", "x", "--class", "cat"}, 64, "exclude");
  refused({"-o", out, "-p", "x"}, 64, "--class", "classes");
  refused({"-o", out, "--class", "dgo"}, 64, "dog", "classes");
  refused({"-o", out, "-p", "x"}, 64, "takes no prompt", "free");
  refused({"-o", out, "--guidance", "2"}, 64, "nothing to guide", "free");
  refused({"-o", out, "--negative", "rain"}, 64, "no effect");
  refused({"-o", out, "--negative", "rain", "--guidance", "1"}, 64, "no effect");
  refused({"-o", out, "--negative", "rain"}, 64, "takes no prompt", "free");
  refused({"-o", out, "-o", "sheet.webp", "-n", "-1"}, 64, "sheet.webp");
  refused({"-o", out, "--size", "18x16"}, 64, "multiples of 4 x 4");
  refused({"-o", out, "--echo"}, 64, "--frames");
  refused({"-o", out, "-n", "0"}, 64, "makes nothing");
  refused({"-o", out, "--frames", m.path("nothing.mp4")}, 66, "nothing.mp4");
  refused({"--save-state", m.path("no/where.state")}, 73, "where.state");
  refused({"-o", out}, 66, "nobody", "nobody");
  CHECK_FALSE(fs::exists(m.folder / "never/00000.png"));
}

TEST_CASE("states of another model, damaged ones and other sizes are refused") {
  const auto& m = made();
  const auto state = m.path("own.state");
  REQUIRE(m.make({"-n", "2", "--save-state", state}).exit == 0);
  const auto foreign = m.make({"--state", state, "-o", m.path("no")}, "free");
  CHECK(foreign.exit == 65);
  CHECK_THAT(foreign.err, Catch::Contains("own.state") && Catch::Contains("another model"));
  const auto negative = m.make({"--state", state, "-o", m.path("no"), "--negative", "rain"});
  CHECK(negative.exit == 64);
  CHECK_THAT(negative.err, Catch::Contains("has no effect"));
  const auto size = m.make({"--state", state, "-o", m.path("no"), "--size", "32x16"});
  CHECK(size.exit == 64);
  CHECK_THAT(size.err, Catch::Contains("16 x 16"));
  auto bytes = m.bytes("own.state");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  io::write_text(m.folder / "hurt.state", bytes);
  const auto hurt = m.make({"--state", m.path("hurt.state"), "-o", m.path("no")});
  CHECK(hurt.exit == 65);
  CHECK_THAT(hurt.err, Catch::Contains("hurt.state"));
}

TEST_CASE("a class makes another film, and so does the seed") {
  const auto& m = made();
  const auto film = [&](std::vector<std::string> options) {
    options.insert(options.end(), {"-n", "2", "-o", "-"});
    const auto result = m.make(options, "classes");
    INFO(result.err);
    REQUIRE(result.exit == 0);
    return result.out;
  };
  const auto cat = film({"--class", "cat"});
  CHECK((cat == film({"--class", "0"})));
  CHECK((cat != film({"--class", "dog"})));
  CHECK((cat != film({})));
  CHECK((cat != film({"--class", "cat", "--seed", "43"})));
  CHECK((cat != film({"--class", "cat", "--guidance", "3"})));
}

TEST_CASE("a bare tensor file makes the film of its model directory") {
  const auto& m = made();
  auto config = test::small_film_config();
  config.dim = 128;  // a published head
  config.num_heads = config.num_layers = 1;
  config.in_dim = config.out_dim = 3;
  config.fast = video::FastOptions{};
  config.fast->head_dim = 64;
  config.chunk_frames = 3;
  config.codec = {};
  config.condition = "none";
  test::write_small_film_model(test::small_film_model(config), m.path("wide"));
  fs::create_directories(m.folder / "bare");
  fs::copy_file(m.folder / "wide/model.safetensors", m.folder / "bare/x.safetensors");
  const std::vector<std::string> options = {"-n", "6", "-o", "-", "--size", "8x8"};
  const auto wide = m.make(options, "wide"), bare = m.make(options, "bare/x.safetensors");
  INFO(bare.err);
  REQUIRE(bare.exit == 0);
  CHECK(bare.out.size() == 6 * 8 * 8 * 3);
  CHECK((bare.out == wide.out));
  const auto unsized = m.make({"-o", m.path("never")}, "bare/x.safetensors");
  CHECK(unsized.exit == 64);
  CHECK_THAT(unsized.err, Catch::Contains("give --size"));
}

TEST_CASE("quality gives a row for each chunk and model, and the last frame beside them") {
  const auto& m = made();
  const auto result = run({"lact-bench",       "quality", "video",    m.path("data"),
                           "--model",          m.model,   "--model",  m.path("free"),
                           "--context-chunks", "2",       "--chunks", "4",
                           "--seeds",          "2",       "--steps",  "2",
                           "--json",           "-q",      "--sheet",  m.path("sheet.png"),
                           "--sheet-clips",    "2"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  REQUIRE(rows.size() == 2 * 5 + 3);
  CHECK(rows[0]["model"] == "model");
  CHECK_FALSE(rows[0].contains("psnr"));  // was given
  CHECK(rows[0]["velocity_error"].get<double>() > 0);
  CHECK(rows[3]["frames"] == "6-7");
  CHECK(rows[3]["psnr"].get<double>() > 1);
  CHECK(rows[4]["chunk"] == "mean");
  CHECK(rows[9]["model"] == "free");
  CHECK(rows[0]["learn"] == "all");
  CHECK(rows[0]["write_strength"].get<double>() > 0);
  const auto off = run({"lact-bench", "quality", "video", m.path("data"), "--model", m.model,
                        "--context-chunks", "2", "--chunks", "4", "--steps", "2", "--seeds", "2",
                        "--learn", "none", "-o", "jsonl", "-q"});
  REQUIRE(off.exit == 0);
  const auto unlearned = nlohmann::json::parse(off.out.substr(0, off.out.find('\n')));
  CHECK(unlearned["learn"] == "none");
  CHECK(unlearned["trained_learn"] == "all");
  CHECK_FALSE(unlearned.contains("write_strength"));
  // The first chunk was read after nothing; the second after one that was learned from, or not.
  CHECK(unlearned["velocity_error"] == rows[0]["velocity_error"]);
  CHECK(rows[10]["model"] == "last frame repeated");
  CHECK(media::read_image(m.folder / "sheet.png").height > 6 * 64);
  io::write_text(m.folder / "quality.json", result.out);
  const auto plot = run({"lact-bench", "plot", m.path("quality.json"), "--out", m.path("q.svg")});
  INFO(plot.err);
  REQUIRE(plot.exit == 0);
  CHECK_THAT(m.bytes("q.svg"), Catch::Contains("PSNR (dB)") && Catch::Contains("free"));
  const auto negative = run(
      {"lact-bench", "quality", "video", m.path("data"), "--model", m.model, "--negative", "rain"});
  CHECK(negative.exit == 64);
  CHECK_THAT(negative.err, Catch::Contains("has no effect"));
  const auto all = run({"lact-bench", "quality", "video", m.path("data"), "--model", m.model,
                        "--context-chunks", "5"});
  CHECK(all.exit == 64);
  CHECK_THAT(all.err, Catch::Contains("none is left"));
}

TEST_CASE("bench times chunks of a film and a training step") {
  const auto& m = made();
  const auto result =
      run({"lact-bench", "video", "--model", m.model, "--chunks", "1,3", "--steps", "2", "-r", "2",
           "--train-chunks", "2", "--json", "--threads", "1", "--dtype", "float32"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  REQUIRE(rows.size() == 3);
  CHECK(rows[1]["chunk"] == 3);
  CHECK(rows[1]["tokens"] == 32);
  CHECK(rows[1]["peak_bytes"].get<double>() > 0);
  CHECK(rows[2]["test"] == "train");
  CHECK(rows[2]["tokens"] == 3 * 32);
  CHECK(rows[2]["flops"].get<double>() > rows[1]["flops"].get<double>());
}

namespace {

/// The words of a guided film, whose branches have prompts of other lengths.
std::vector<std::string> guided(std::vector<std::string> more) {
  more.insert(more.begin(), {"--guidance", "2.5", "--negative", "a long negative prompt"});
  return made().line(more);
}

}  // namespace

TEST_CASE("two processes make the guided film and the state that one makes", "[processes]") {
  const auto& m = made();
  REQUIRE(m.make({"-n", "5", "-o", m.path("given")}).exit == 0);
  const auto make = [&](int world, const std::vector<std::string>& more) {
    const auto results = test::Launch(world, guided(more)).wait();
    for (size_t rank = 0; rank < results.size(); ++rank) {
      CAPTURE(world, rank, results[rank].err);
      CHECK(results[rank].exit == 0);
      if (rank > 0) CHECK((results[rank].out + results[rank].err).empty());
    }
  };
  const auto place = [&](const char* what, int world) { return m.path(concat(what, world)); };
  for (const int world : {1, 2}) {
    make(world, {"-p", "a dog", "-n", "6", "-o", place("guided", world), "--save-state",
                 place("a.state", world)});
    // What exists is appended to both branches; two processes go on where one has stopped.
    make(world, {"--state", m.path("a.state1"), "--frames", m.path("given"), "-n", "4", "-o",
                 place("next", world), "--save-state", place("b.state", world)});
  }
  CHECK(m.frames("guided1").size() == 6 * kFrame);
  CHECK((m.frames("guided1") == m.frames("guided2")));
  CHECK((m.frames("next1") == m.frames("next2")));
  CHECK((m.bytes("a.state1") == m.bytes("a.state2")));
  CHECK((m.bytes("b.state1") == m.bytes("b.state2")));
  CHECK((m.bytes("a.state1") != m.bytes("b.state1")));
}

TEST_CASE("a signal to one of two processes ends their film as one's, with a state that goes on",
          "[processes]") {
  const auto& m = made();
  const auto victim = GENERATE(size_t{0}, size_t{1});
  const auto folder = concat("shared-", victim), state = m.path(folder + ".state");
  test::Launch film(
      2, guided({"-n", "-1", "--seed", "9", "-o", m.path(folder), "--save-state", state}));
  for (int i = 0; i < 3000 && !fs::exists(m.folder / (folder + "/00003.png")); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  film.processes[victim]->signal(SIGTERM);
  for (const auto& ended : film.wait()) {
    CAPTURE(victim, ended.err);
    CHECK(ended.exit == 143);
  }
  const auto seen = m.frames(folder).size() / kFrame;
  CHECK(io::load_state(state).value("frames") == std::to_string(seen));
  REQUIRE(run(guided({"--state", state, "-n", "2", "-o", m.path(folder)})).exit == 0);
  REQUIRE(
      run(guided({"-n", std::to_string(seen + 2), "--seed", "9", "-o", m.path(folder + "-alone")}))
          .exit == 0);
  CHECK((m.frames(folder) == m.frames(folder + "-alone")));
}

TEST_CASE(
    "two processes end alike when an output fails, one is killed, or there is nothing to share",
    "[processes]") {
  const auto& m = made();
  fs::create_directories(m.folder / "barred/00003.png");
  for (const auto& result :
       test::Launch(2, guided({"-n", "8", "-o", m.path("barred"), "-o", m.path("near"),
                               "--save-state", m.path("barred.state")}))
           .wait()) {
    CHECK(result.exit == 73);
    CHECK_THAT(result.err, Catch::Contains("00003.png"));
  }
  CHECK(m.frames("near").size() == 4 * kFrame);
  CHECK(io::load_state(m.folder / "barred.state").value("frames") == "4");

  test::Launch film(2, guided({"-n", "-1", "-o", m.path("lost"), "-o", m.path("lost.mp4"),
                               "--save-state", m.path("lost.state")}));
  for (int i = 0; i < 3000 && !fs::exists(m.folder / "lost/00003.png"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  film.processes[1]->signal(SIGKILL);
  const auto left = film.processes[0]->wait();
  CHECK(left.exit == 75);
  CHECK(left.err == "lact-generate: error: rank 1 of 2 is gone\n");
  CHECK_FALSE(fs::exists(m.folder / "lost.mp4"));
  CHECK_FALSE(fs::exists(m.folder / "lost.state"));

  for (const auto& [world, words] : {std::pair{3, guided({"-o", m.path("no")})},
                                     std::pair{2, m.line({"--guidance", "1", "-o", m.path("no")})}})
    for (const auto& result : test::Launch(world, words).wait()) {
      CHECK(result.exit == 69);
      CHECK_THAT(result.err, Catch::Contains("a film is made by"));
      CHECK(lines(result.err) == 1);
    }
  CHECK_FALSE(fs::exists(m.folder / "no"));
}
