// lact-train views, lact-render views and lact-bench as real processes, on small scenes.
#include "small_scenes.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>
#include <plugins/views/model/model.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <sstream>

using namespace lact;
using test::run;

namespace {

/// Data, a trained model and a folder of photographs, made once.
struct Made {
  test::TemporaryFolder folder;
  std::string data, model, photos, more;

  Made() {
    data = (folder / "data").string();
    model = (folder / "run").string();
    photos = (folder / "photos").string();
    more = (folder / "more").string();
    test::write_packed(data, 4, 2, 10, 16);
    test::write_scene(test::small_scene(20, 9, 16), photos);
    test::write_scene(test::small_scene(21, 4, 16), more);
    const auto trained = train("run", {"--steps", "6"});
    if (trained.exit != 0) throw std::runtime_error(trained.err);
  }

  test::Result train(const std::string& name, std::vector<std::string> options) const {
    std::vector<std::string> line = {"lact-train",
                                     "views",
                                     "--data",
                                     data,
                                     "-o",
                                     (folder / name).string(),
                                     "--dim",
                                     "32",
                                     "--layers",
                                     "2",
                                     "--patch-size",
                                     "4",
                                     "--attention-head-dim",
                                     "16",
                                     "--fast-head-dim",
                                     "32",
                                     "--views",
                                     "8",
                                     "--context-views",
                                     "4",
                                     "--target-views",
                                     "3",
                                     "--batch-size",
                                     "2",
                                     "--lr",
                                     "2e-3",
                                     "--warmup-steps",
                                     "1",
                                     "--log-every",
                                     "1",
                                     "--save-every",
                                     "3",
                                     "--eval-every",
                                     "3",
                                     "--dtype",
                                     "float32",
                                     "--threads",
                                     "1",
                                     "--seed",
                                     "7"};
    line.insert(line.end(), options.begin(), options.end());
    return run(line);
  }

  test::Result render(std::vector<std::string> options) const {
    std::vector<std::string> line = {"lact-render", "views",   "--model",   model,
                                     "--dtype",     "float32", "--threads", "1"};
    line.insert(line.end(), options.begin(), options.end());
    return run(line);
  }

  std::string bytes(const std::string& name) const { return io::read_text(folder / name); }
};

const Made& made() {
  static const Made once;
  return once;
}

}  // namespace

TEST_CASE("a training run that was stopped and resumed ends in the same bytes") {
  const auto& m = made();
  REQUIRE(m.train("whole", {"--steps", "6", "--schedule", "constant"}).exit == 0);
  REQUIRE(m.train("parts", {"--steps", "3", "--schedule", "constant"}).exit == 0);
  REQUIRE(m.train("parts", {"--steps", "6", "--schedule", "constant", "--resume"}).exit == 0);
  CHECK(m.bytes("whole/latest/model.safetensors") == m.bytes("parts/latest/model.safetensors"));
  CHECK(m.bytes("whole/latest/training/optimizer.safetensors") ==
        m.bytes("parts/latest/training/optimizer.safetensors"));
}

TEST_CASE("recomputing blocks gives the same losses and gradients") {
  const auto& m = made();
  REQUIRE(m.train("kept", {"--steps", "2"}).exit == 0);
  REQUIRE(m.train("again", {"--steps", "2", "--recompute"}).exit == 0);
  std::istringstream kept(m.bytes("kept/metrics.jsonl")), again(m.bytes("again/metrics.jsonl"));
  for (int step = 0; step < 2; ++step) {
    std::string a, b;
    REQUIRE((std::getline(kept, a) && std::getline(again, b)));
    const auto x = nlohmann::json::parse(a), y = nlohmann::json::parse(b);
    for (const char* key : {"loss_metrics/global_avg_loss", "grad_norm"}) {
      CAPTURE(key, step);
      CHECK(x[key].get<double>() == Approx(y[key].get<double>()).epsilon(1e-3));
    }
  }
}

TEST_CASE("a checkpoint is trained on in every type of products, and its parameters are float32") {
  const auto& m = made();
  for (const char* dtype : {"float32", "bfloat16"}) {
    CAPTURE(dtype);
    const auto tuned = m.train(concat("tuned-", dtype), {"--steps", "1", "--init-from", m.model,
                                                         "--dtype", dtype, "--eval-every", "1"});
    INFO(tuned.err);
    REQUIRE(tuned.exit == 0);
    const auto checkpoint = io::Checkpoint::open(m.folder / concat("tuned-", dtype));
    for (const auto& name : checkpoint.names()) CHECK(checkpoint.entry(name).dtype == "F32");
  }
}

TEST_CASE("training says what it evaluates, and that there are no weights for LPIPS") {
  const auto& m = made();
  const auto result = m.train("told", {"--steps", "3"});
  CHECK_THAT(result.err, Catch::Contains("no --lpips weights"));
  CHECK_THAT(m.bytes("told/metrics.jsonl"), Catch::Contains("validation_metrics/psnr"));
}

TEST_CASE("a scene kept as a state renders the same pixels without the photographs") {
  const auto& m = made();
  const auto state = (m.folder / "scene.state").string();
  const auto at_once = m.render({"--images", m.photos, "--size", "16", "--save-state", state,
                                 "--path", "turntable:3", "-o", (m.folder / "a").string()});
  INFO(at_once.err);
  REQUIRE(at_once.exit == 0);
  REQUIRE(
      m.render({"--state", state, "--path", "turntable:3", "-o", (m.folder / "b").string()}).exit ==
      0);
  for (const char* frame : {"/000.png", "/001.png", "/002.png"})
    CHECK((m.bytes("a" + std::string(frame)) == m.bytes("b" + std::string(frame))));
  CHECK((m.bytes("a/000.png") != m.bytes("a/001.png")));
}

TEST_CASE("views added to a state are another update, in the frame of the first") {
  const auto& m = made();
  const auto first = (m.folder / "first.state").string(), both = (m.folder / "both.state").string();
  REQUIRE(m.render({"--images", m.photos, "--size", "16", "--save-state", first}).exit == 0);
  const auto added =
      m.render({"--state", first, "--images", m.more, "--size", "16", "--save-state", both});
  INFO(added.err);
  REQUIRE(added.exit == 0);
  const auto a = io::load_state(first), b = io::load_state(both);
  CHECK(a.value("views") == "9");
  CHECK(b.value("views") == "13");
  CHECK(test::same_bytes(a.tensor("pose.frame"), b.tensor("pose.frame")));
  CHECK(a.tensor("layer.0.w0").sizes() == b.tensor("layer.0.w0").sizes());
  CHECK_FALSE(test::same_bytes(a.tensor("layer.0.w0"), b.tensor("layer.0.w0")));
  // By the library: the same two updates.
  const auto model = views::ViewModel::load(io::Checkpoint::open(m.model), at::kCPU);
  auto weights = model.start();
  for (const auto& [seed, count] : {std::pair{20, 9}, std::pair{21, 4}}) {
    const auto scene = test::small_scene(seed, count, 16);
    auto posed = views::posed(scene.cameras);
    posed.images = at::empty({count, 16, 16, 3}, at::kByte);
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(scene.images[static_cast<size_t>(i)].pixels.data(), 16 * 16 * 3,
                  posed.images[i].data_ptr<uint8_t>());
    posed.images = posed.images.movedim(-1, 1);
    weights = model.reconstruct(posed, weights);
  }
  // Cameras went through a file and the inverse of their matrices.
  CHECK(test::scaled_error(b.tensor("layer.1.w1"), weights[1].down.mT()) < 1e-3);
}

TEST_CASE("a state of another model, a damaged one, and none at all are refused in one line") {
  const auto& m = made();
  const auto state = (m.folder / "own.state").string();
  REQUIRE(m.render({"--images", m.photos, "--size", "16", "--save-state", state}).exit == 0);
  REQUIRE(m.train("other", {"--steps", "1", "--seed", "8"}).exit == 0);
  const auto foreign =
      run({"lact-render", "views", "--model", (m.folder / "other").string(), "--state", state,
           "--path", "turntable:1", "-o", (m.folder / "c").string()});
  CHECK(foreign.exit == 65);
  CHECK_THAT(foreign.err, Catch::Contains("another model"));
  auto bytes = m.bytes("own.state");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  io::write_text(m.folder / "hurt.state", bytes);
  const auto hurt = m.render({"--state", (m.folder / "hurt.state").string(), "--path",
                              "turntable:1", "-o", (m.folder / "c").string()});
  CHECK(hurt.exit == 65);
  CHECK_THAT(hurt.err, Catch::Contains("hurt.state"));
  const auto nothing = m.render({"--path", "turntable:1", "-o", (m.folder / "c").string()});
  CHECK(nothing.exit == 64);
  CHECK_THAT(nothing.err, Catch::Contains("--images, --data or --state"));
}

TEST_CASE("views that a state has read are neither read again nor its targets") {
  const auto& m = made();
  const auto state = (m.folder / "known.state").string();
  const std::vector<std::string> source = {"--images", m.photos, "--size", "16"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), source.begin(), source.end());
    return m.render(more);
  };
  REQUIRE(with({"--context-views", "6", "--save-state", state}).exit == 0);
  const auto scored =
      with({"--state", state, "--context-views", "0", "--path", "dataset", "--metrics", "--json"});
  INFO(scored.err);
  REQUIRE(scored.exit == 0);
  CHECK(nlohmann::json::parse(scored.out)["targets"].size() == 3);
  const auto again = with({"--state", state, "--save-state", (m.folder / "again.state").string()});
  CHECK_THAT(again.err, Catch::Contains("6 of these views before"));
  CHECK(io::load_state(m.folder / "again.state").value("views") == "9");
}

TEST_CASE("photographs are read at the size that the model was trained on, or a state was") {
  const auto& m = made();
  const auto state = (m.folder / "sized.state").string();
  const auto first = m.render({"--images", m.photos, "--save-state", state});
  CHECK_THAT(first.err, Catch::Contains("read 9 views of 16 x 16"));
  REQUIRE(m.render({"--images", m.photos, "--size", "24", "--save-state", state}).exit == 0);
  const auto added = m.render({"--state", state, "--images", m.more, "--save-state", state});
  CHECK_THAT(added.err, Catch::Contains("added 4 views of 24 x 24"));
  const auto bare = m.folder / "sized";
  std::filesystem::create_directories(bare);
  std::filesystem::copy_file(m.folder / "run/latest/model.safetensors", bare / "x.safetensors");
  const auto unknown = run({"lact-render", "views", "--model", (bare / "x.safetensors").string(),
                            "--images", m.photos, "--context-views", "1", "--save-state", state});
  CHECK_THAT(unknown.err, Catch::Contains("256 x 256 (--size)"));
}

TEST_CASE("render finds photographs where --photographs says, and says so itself") {
  const auto& m = made();
  const auto moved = m.folder / "moved";
  std::filesystem::create_directories(moved);
  std::filesystem::copy(m.photos, moved, std::filesystem::copy_options::recursive);
  std::filesystem::rename(moved / "images", moved / "elsewhere");
  std::vector<std::string> line = {"--images", moved.string(), "--max-views",
                                   "3",        "--save-state", (m.folder / "moved.state").string()};
  const auto lost = m.render(line);
  CHECK(lost.exit == 65);
  CHECK_THAT(lost.err, Catch::Contains("name its folder by --photographs"));
  line.insert(line.end(), {"--photographs", "elsewhere"});
  CHECK_THAT(m.render(line).err, Catch::Contains("read 3 views"));
}

TEST_CASE("a bare scene model normalises poses by its published name, or says that it does not") {
  const auto& m = made();
  const auto bare = m.folder / "published";
  std::filesystem::create_directories(bare);
  const auto rendered = [&](const std::string& name, const std::vector<std::string>& more = {}) {
    std::filesystem::copy_file(m.folder / "run/latest/model.safetensors", bare / name,
                               std::filesystem::copy_options::overwrite_existing);
    std::vector<std::string> line = {"--model",      (bare / name).string(),
                                     "--images",     m.photos,
                                     "--path",       "spiral:1",
                                     "-o",           "-",
                                     "--size",       "16",
                                     "--muon-dtype", "auto"};
    line.insert(line.end(), more.begin(), more.end());
    auto result = m.render(line);
    INFO(result.err);
    REQUIRE(result.exit == 0);
    return result;
  };
  const auto scene = rendered("scene_res16x16.safetensors");
  CHECK(scene.err.find("warning") == std::string::npos);
  const auto told = rendered("x.safetensors", {"--normalize-poses", "all"});
  CHECK(told.err.find("warning") == std::string::npos);
  CHECK((scene.out == told.out));
  const auto unknown = rendered("x.safetensors");
  CHECK_THAT(unknown.err,
             Catch::Contains("does not say whether") && Catch::Contains("--normalize-poses all"));
  CHECK((unknown.out == rendered("obj_res16.safetensors").out));
  CHECK((unknown.out != scene.out));
}

TEST_CASE("the views that a camera file holds out are the targets, packed or not") {
  const auto& m = made();
  // NeRF's files: the first four photographs for training, two others held out.
  const auto folder = m.folder / "nerf";
  std::filesystem::create_directories(folder);
  const auto cameras = test::small_scene(20, 9, 16).cameras;
  const auto write = [&](const char* name, std::vector<int> views) {
    auto frames = nlohmann::json::array();
    for (const int view : views) {
      auto rows = nlohmann::json::array();
      const auto pose = cameras[static_cast<size_t>(view)].c2w;
      for (int r = 0; r < 4; ++r)
        rows.push_back({pose(r, 0), -pose(r, 1), -pose(r, 2), pose(r, 3)});
      frames.push_back(
          {{"file_path", lact::concat(m.photos, "/images/", view)}, {"transform_matrix", rows}});
    }
    const nlohmann::json file{{"camera_angle_x", 0.8}, {"frames", frames}};
    io::write_text(folder / name, file.dump());
  };
  write("transforms_train.json", {0, 1, 2, 4});
  write("transforms_test.json", {3, 5});
  const std::vector<std::string> measured = {"--target-split", "--path", "dataset", "--metrics",
                                             "--json"};
  const auto score = [&](std::vector<std::string> line) {
    line.insert(line.end(), measured.begin(), measured.end());
    const auto result = m.render(line);
    INFO(result.err);
    REQUIRE(result.exit == 0);
    return nlohmann::json::parse(result.out);
  };
  const auto direct = score({"--images", folder.string()});
  CHECK(direct["context"] == 4);
  REQUIRE(direct["targets"].size() == 2);
  CHECK_THAT(direct["targets"][0]["file"].get<std::string>(), Catch::Contains("images/3"));
  const auto packed = (m.folder / "nerf-packed").string();
  const auto pack = run({"lact-tokenize", "views", "pack", "--size", "16", "--validation-split",
                         "-o", packed, folder.string()});
  INFO(pack.err);
  REQUIRE(pack.exit == 0);
  CHECK_THAT(pack.err, Catch::Contains("train: 1 scene, 4 views") &&
                           Catch::Contains("validation: 1 scene, 6 views"));
  CHECK(score({"--data", packed})["model"] == direct["model"]);
  const auto bench = run({"lact-bench", "quality", "views", "--model", m.model, packed,
                          "--context-views", "4", "--target-split", "--json", "-q"});
  INFO(bench.err);
  REQUIRE(bench.exit == 0);
  CHECK(nlohmann::json::parse(bench.out)[0]["target_views"] == 2);
  CHECK_THAT(
      m.render({"--images", m.photos, "--target-split", "--path", "dataset", "--metrics"}).err,
      Catch::Contains("has no split"));
}

TEST_CASE("frames that would be joined with those of an earlier film have a warning") {
  const auto& m = made();
  const auto frames = (m.folder / "longer").string();
  const auto to = [&](const char* path) {
    return m.render({"--images", m.photos, "--path", path, "-o", frames}).err;
  };
  CHECK(to("turntable:3").find("warning") == std::string::npos);
  CHECK(to("turntable:3").find("warning") == std::string::npos);
  CHECK_THAT(to("turntable:2"), Catch::Contains("longer/002.png: is of other frames"));
}

TEST_CASE("a path that cannot be rendered is refused before anything is read") {
  const auto& m = made();
  const auto refused = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--images", m.photos, "--size", "16"});
    const auto result = m.render(more);
    CHECK(result.exit == 64);
    CHECK(result.err.find("read 9 views") == std::string::npos);
    return result.err;
  };
  const auto out = (m.folder / "never").string();
  CHECK_THAT(refused({"--path", "nonsense", "-o", out}), Catch::Contains("--path nonsense"));
  for (const char* option : {"-o", "--sheet"}) {
    const auto lost = m.render({"--images", m.photos, "--target-every", "3", "--path", "dataset",
                                option, out + "/sheet.png"});
    CHECK(lost.exit == 73);
    CHECK_THAT(lost.err, Catch::Contains("never: no such folder"));
    CHECK(lost.err.find("read 6 views") == std::string::npos);
  }
  CHECK_THAT(refused({"--path", "turntable:0", "-o", out}), Catch::Contains("1 or more"));
  CHECK_THAT(refused({"--path", "spiral", "-o", out + ".avi"}), Catch::Contains(".webm"));
  CHECK_THAT(refused({"--path", "spiral", "-o", out, "--render-size", "18"}),
             Catch::Contains("18 x 18 is no multiple"));
  CHECK_THAT(refused({"--path", "turntable", "-o", out, "--normalize-poses", "all"}),
             Catch::Contains("spiral or interpolate"));
  CHECK_THAT(refused({"--path", "spiral", "-o", "-", "--save-state", "-"}),
             Catch::Contains("stdout"));
}

TEST_CASE("frames go to folders, pictures, films and pipes") {
  const auto& m = made();
  const auto place = [&](const char* name) { return (m.folder / name).string(); };
  const std::vector<std::string> source = {"--data", m.data,   "--scene",
                                           "1",      "--path", "interpolate:1"};
  const auto to = [&](const std::string& output) {
    auto line = source;
    line.insert(line.end(), {"--context-views", "3", "-o", output});
    return m.render(line);
  };
  REQUIRE(to(place("frames")).exit == 0);
  for (int i = 0; i < 5; ++i)  // three views, one between each two
    CHECK(std::filesystem::exists(m.folder / lact::concat("frames/00", i, ".png")));
  const auto raw = to("-");
  REQUIRE(raw.exit == 0);
  REQUIRE(raw.out.size() == 5 * 16 * 16 * 3);
  const auto third = media::read_image(m.folder / "frames/002.png");
  CHECK(raw.out.substr(2 * 16 * 16 * 3, 16 * 16 * 3) ==
        std::string(third.pixels.begin(), third.pixels.end()));
  REQUIRE(to(place("film.mp4")).exit == 0);
  media::VideoReader film(m.folder / "film.mp4");
  int frames = 0;
  while (film.next()) ++frames;
  CHECK(frames == 5);
  REQUIRE(to(place("sheet.png")).exit == 0);
  CHECK(media::read_image(m.folder / "sheet.png").width > 5 * 16);
  const auto wrong = to(place("film.avi"));
  CHECK(wrong.exit == 64);
  CHECK_THAT(wrong.err, Catch::Contains(".mp4"));
}

TEST_CASE("views that were held out are compared with the truth and with two baselines") {
  const auto& m = made();
  const auto result =
      m.render({"--images", m.photos, "--size", "16", "--target-every", "3", "--path", "dataset",
                "--metrics", "--json", "--sheet", (m.folder / "compare.png").string()});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto json = nlohmann::json::parse(result.out);
  CHECK(json["context"] == 6);
  CHECK(json["targets"].size() == 3);
  CHECK(json["targets"][1]["file"] == "images/3.png");
  CHECK(json["model"]["views"] == 3);
  // The nearest view of a target that was read would be itself; the mean colour is above noise.
  CHECK(json["mean_colour"]["psnr_pooled"].get<double>() > 5);
  CHECK(json["nearest_view"]["psnr_pooled"].get<double>() < 60);
  CHECK(media::read_image(m.folder / "compare.png").height > 4 * 16);
}

TEST_CASE("a photograph is rendered from a bare tensor file as from its model directory") {
  const auto& m = made();
  std::filesystem::create_directories(m.folder / "bare");
  std::filesystem::copy_file(m.folder / "run/latest/model.safetensors",
                             m.folder / "bare/x.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const std::vector<std::string> line = {"--images", m.photos,      "--size", "16",
                                         "--path",   "turntable:1", "-o"};
  auto a = line, b = line;
  a.insert(a.end(), {(m.folder / "dir.png").string()});
  b.insert(b.end(), {(m.folder / "bare.png").string(), "--model",
                     (m.folder / "bare/x.safetensors").string(), "--muon-dtype", "auto"});
  REQUIRE(m.render(a).exit == 0);
  const auto bare = m.render(b);
  INFO(bare.err);
  REQUIRE(bare.exit == 0);
  CHECK((m.bytes("dir.png") == m.bytes("bare.png")));  // pixels are no words
}

TEST_CASE("quality gives one line for each number of views, and the baselines beside it") {
  const auto& m = made();
  const auto result = run({"lact-bench", "quality", "views", "--model", m.model, m.data,
                           "--context-views", "1,4", "--target-every", "5", "--json", "-q"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["context_views"] == 1);
  CHECK(rows[1]["target_views"] == 4);  // two of each of two scenes
  CHECK(rows[1]["nearest_view/psnr_pooled"].get<double>() >
        rows[1]["mean_colour/psnr_pooled"].get<double>() - 20);
  CHECK(rows[0]["write_strength"].get<double>() > 0);
  const auto both = run({"lact-bench", "quality", "views", "--model", m.model, m.data,
                         "--target-every", "5", "--target-split"});
  CHECK(both.exit == 64);
  CHECK_THAT(both.err, Catch::Contains("--target-split excludes --target-every"));
}

TEST_CASE("bench reads and renders at each number of views") {
  const auto result = run({"lact-bench",
                           "views",
                           "--dim",
                           "32",
                           "--layers",
                           "1",
                           "--fast-head-dim",
                           "32",
                           "--attention-head-dim",
                           "16",
                           "--context-views",
                           "2,3",
                           "--size",
                           "32x16",
                           "-r",
                           "1",
                           "--target-views",
                           "2",
                           "--json",
                           "--threads",
                           "1"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto rows = nlohmann::json::parse(result.out);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0]["test"] == "read");
  CHECK(rows[2]["tokens"] == 3 * 8);
  CHECK(rows[3]["test"] == "render");
  CHECK(rows[0]["write_strength"].get<double>() > 0.05);  // Newton-Schulz, whatever the rate
}
