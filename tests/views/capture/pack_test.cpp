// lact-tokenize views pack and info, run as programs.

#include "rig_files.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <plugins/common/media/video.hpp>
#include <plugins/views/capture/rig.hpp>
#include <plugins/views/scene/packed_scenes.hpp>
#include <plugins/views/scene/packed_writer.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>

using namespace lact;
using namespace lact::test;
using namespace lact::views;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Result pack(const TemporaryFolder& folder, Words words) {
  Words all{"lact-tokenize", "views", "pack", "-o", (folder / "out").string(), "--size", "12x10"};
  all.insert(all.end(), words.begin(), words.end());
  return run(all);
}

/// A scene of `views` views, in the format of transforms.json.
void write_scene(const fs::path& folder, int views = 4) {
  write_rig_images(folder / "images", views);
  test::put(folder / "transforms.json", transforms_json(rig_cameras(views)).dump());
}

std::set<std::string> listing(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end; ++item)
    names.insert(item->path().filename());
  return names;
}

std::string names(const PackedScenes& packed) {
  std::string all;
  for (int64_t i = 0; i < packed.size(); ++i)
    all += concat(i > 0 ? " " : "", packed.name(i), ":", packed.views(i));
  return all;
}

bool same(const PackedScenes& packed, int64_t scene, const Scene& want) {
  const auto images = packed.images(scene);
  const auto* bytes = images.const_data_ptr<uint8_t>();
  for (const auto& image : want.images) {
    if (std::memcmp(bytes, image.pixels.data(), image.pixels.size()) != 0) return false;
    bytes += image.pixels.size();
  }
  return packed.files(scene) == want.files && difference(packed.cameras(scene), want.cameras) == 0;
}

}  // namespace

TEST_CASE("a pack holds what reading the scenes gives, train and validation apart", "[views]") {
  const TemporaryFolder folder;
  for (int i = 0; i < 6; ++i) write_scene(folder / concat("many/s", i), 2 + i % 3);
  fs::create_directories(folder / "many/nothing");
  write_scene(folder / "alone");
  test::put(folder / "list.json",
            R"(["alone/transforms.json", "many/s0", "many/s1/transforms.json"])");
  // s0 to s5, then alone, then s0 and s1 again: the third, sixth and ninth are held out, and alone
  // by name.
  const auto result =
      pack(folder, {(folder / "many").string(), (folder / "list.json").string(),
                    "--validation-every", "3", "--validation-scenes", "al*", "--json"});
  CHECK(result.err ==
        "lact-tokenize: train: 5 scenes, 12 views of 12 x 10, 0 skipped\n"
        "lact-tokenize: validation: 4 scenes, 15 views of 12 x 10, 0 skipped\n");
  REQUIRE(result.exit == 0);
  const auto json = Json::parse(result.out);
  CHECK(json["train"]["views"] == 12);
  CHECK(json["validation"]["scenes"] == 4);
  const auto train = PackedScenes::open(folder / "out");
  CHECK(names(train) == "s0:2 s1:3 s3:2 s4:3 s0-2:2");
  CHECK(names(PackedScenes::open(folder / "out", "validation")) == "s2:4 s5:4 alone:4 many/s1:3");
  CHECK(same(train, 1, read(folder / "many/s1")));
  CHECK(same(train, 4, read(folder / "many/s0")));
  CHECK_FALSE(same(train, 0, read(folder / "many/s1")));
}

TEST_CASE("views that are held out are those that --target-every finds again", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a", 5);
  io::write_text(folder / "a/images/a 1.png", "no image");  // counted only if it can be read
  const auto result = pack(folder, {(folder / "a").string(), "--validation-views", "2"});
  INFO(result.err);
  REQUIRE(result.exit == 0);
  const auto train = PackedScenes::open(folder / "out"),
             validation = PackedScenes::open(folder / "out", "validation");
  const auto all = validation.files(0);
  REQUIRE(all.size() == 4);
  CHECK(train.files(0) == std::vector<std::string>{all[1], all[3]});
  CHECK(difference(train.cameras(0), {validation.cameras(0)[1], validation.cameras(0)[3]}) == 0);
}

TEST_CASE("a pack without validation removes that of an earlier run", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a");
  write_scene(folder / "b");
  const auto scenes = Words{(folder / "a").string(), (folder / "b").string()};
  CHECK(pack(folder, {scenes[0], scenes[1], "--validation-every", "2"}).exit == 0);
  CHECK(listing(folder / "out") ==
        std::set<std::string>{"train.safetensors", "validation.safetensors"});
  const auto first = io::read_text(folder / "out/train.safetensors");
  CHECK(pack(folder, {scenes[0]}).exit == 0);
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});
  CHECK(io::read_text(folder / "out/train.safetensors") == first);  // the same bytes
  CHECK(pack(folder, {scenes[0], scenes[1], "--shard-size", "1K"}).exit == 0);
  CHECK(listing(folder / "out") == std::set<std::string>{"train-00001-of-00002.safetensors",
                                                         "train-00002-of-00002.safetensors",
                                                         "train.safetensors.index.json"});
  CHECK(same(PackedScenes::open(folder / "out"), 1, read(folder / "b")));
}

TEST_CASE("pack skips and counts what it cannot use, or ends there if it is strict", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "sound");
  write_scene(folder / "torn");
  fs::remove(folder / "torn/images/a 2.png");
  write_scene(folder / "lost", 1);
  fs::remove_all(folder / "lost/images");
  write_scene(folder / "damaged", 1);
  io::write_text(folder / "damaged/images/a 0.png", "no image");
  const Words scenes{(folder / "sound").string(), (folder / "torn").string(),
                     (folder / "lost").string(), (folder / "damaged").string()};
  const auto result = pack(folder, scenes);
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("torn/transforms.json: frame 2 (images/a 2.png): no such image"));
  CHECK_THAT(result.err, Contains("lost/transforms.json: none of 1 views"));
  CHECK_THAT(result.err, Contains("damaged/transforms.json: frame 0"));
  CHECK_THAT(result.err,
             Contains("train: 2 scenes, 7 views of 12 x 10, 2 skipped, 2 scenes left out\n"));
  CHECK(names(PackedScenes::open(folder / "out")) == "sound:4 torn:3");
  const auto before = listing(folder / "out");
  for (size_t i : {1, 2, 3}) {
    const auto strict = pack(folder, {scenes[0], scenes[i], "--strict"});
    CHECK((strict.exit == 65 || strict.exit == 66));
    CHECK_THAT(strict.err, Contains("error: ") && Contains("transforms.json: "));
    CHECK(listing(folder / "out") == before);
  }
  CHECK(names(PackedScenes::open(folder / "out")) == "sound:4 torn:3");
}

TEST_CASE("pack says which option is wrong", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a");
  const auto a = (folder / "a").string();
  const auto refuses = [&](const Words& words, const std::string& line) {
    const auto result = pack(folder, words);
    CHECK(result.exit == 64);
    CHECK_THAT(result.err, Contains(line));
  };
  refuses({a, "--size", "12x"}, "--size 12x");
  refuses({a, "--validation-scenes", "b*"}, "no scene is called b*");
  refuses({a, a, "--video", "film.mp4"}, "--video is for one scene");
  refuses({a, "--shard-size", "0"}, "--shard-size 0");
  refuses({a, "--every", "0"}, "--every");
  refuses({a, "--validation-views", "1"}, "leaves no view for training");
  refuses({a, "--validation-views", "2", "--validation-every", "2"}, "excludes");
  CHECK(pack(folder, {a, "--validation-scenes", "a"}).exit == 65);
  CHECK(pack(folder, {(folder / "none").string()}).exit == 66);
  CHECK(listing(folder / "out").empty());
}

TEST_CASE("a pack that is stopped leaves nothing", "[views]") {
  const TemporaryFolder folder;
  // One large image, a thousand times: seconds of work.
  fs::create_directories(folder / "a");
  media::write_image(folder / "a/one.png", media::Image(700, 700));
  const std::vector<std::string> files(1000, "one.png");
  std::vector<Camera> cameras(1000, rig_cameras(1)[0]);
  test::put(folder / "a/opencv_cameras.json", cameras_json(cameras, files, 700, 700).dump());
  Process process({"lact-tokenize", "views", "pack", "-o", (folder / "out").string(), "--size",
                   "600", (folder / "a").string()});
  const auto start = std::chrono::steady_clock::now();
  while (listing(folder / "out").empty() &&
         std::chrono::steady_clock::now() - start < std::chrono::seconds(60))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK_FALSE(listing(folder / "out").empty());  // it writes
  process.signal(SIGTERM);
  CHECK(process.wait().exit == 128 + SIGTERM);
  CHECK(listing(folder / "out").empty());
}

TEST_CASE("a pack that outgrows its disk leaves the old one", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a");
  REQUIRE(pack(folder, {(folder / "a").string()}).exit == 0);
  const auto before = io::read_text(folder / "out/train.safetensors");
  // Files may have 64 blocks of 1024 bytes; a write beyond them fails.
  const auto result =
      run({"/bin/bash", "-c",
           "trap '' XFSZ; ulimit -f 64; exec \"$0\" views pack -o \"$1\" --size 200 \"$2\"",
           (build_root() / "tools/lact-tokenize").string(), (folder / "out").string(),
           (folder / "a").string()});
  CHECK(result.exit == 74);
  CHECK_THAT(result.err, Contains("train.safetensors"));
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});
  CHECK(io::read_text(folder / "out/train.safetensors") == before);
}

TEST_CASE("views may be frames of a film, by the numbers of their names", "[views]") {
  const TemporaryFolder folder;
  constexpr int kFrames = 12;
  {
    media::VideoWriter film(folder / "film.mp4", 64, 64, 10);
    for (int i = 0; i < kFrames; ++i) {
      media::Image frame(64, 64);
      std::fill(frame.pixels.begin(), frame.pixels.end(), static_cast<uint8_t>(20 * i));
      film.add(frame);
    }
    film.finish();
  }
  auto json = transforms_json(rig_cameras(4));
  json["w"] = json["h"] = 64;
  const auto shades = [&](const Words& files) {
    for (size_t i = 0; i < files.size(); ++i) json["frames"][i]["file_path"] = files[i];
    test::put(folder / "transforms.json", json.dump());
    auto how = as_it_is();
    how.video = folder / "film.mp4";
    Skipped skipped;
    std::vector<int> frames;
    for (const auto& image : read(folder / "transforms.json", &skipped, how).images)
      frames.push_back(static_cast<int>(std::lround(image.pixels[0] / 20.0)));
    CHECK(skipped.lines.size() + frames.size() == 4);
    return frames;
  };
  // Counted from 1, and taken in the order of the film.
  CHECK(shades({"f_0012.png", "f_0003.png", "f_0001.png", "f_0007.png"}) ==
        std::vector<int>{0, 2, 6, 11});
  // A 0 among them: counted from there.
  CHECK(shades({"f_0.png", "f_3.png", "f_11.png", "f_10.png"}) == std::vector<int>{0, 3, 10, 11});
  // Beyond the end, and without a number.
  CHECK(shades({"f_2.png", "f_13.png", "f_4.png", "last.png"}) == std::vector<int>{1, 3});
}

TEST_CASE("a film's frames are what ffmpeg cuts out of it, transparent ones over the background",
          "[views]") {
  const TemporaryFolder folder;
  const auto films = source_root() / "tests/golden/films";
  auto json = transforms_json(rig_cameras(1));
  json["w"] = json["h"] = 32;
  json["frames"][0]["file_path"] = "f_1.png";
  test::put(folder / "transforms.json", json.dump());
  auto how = as_it_is();
  how.width = how.height = 32;
  how.background = {10, 20, 200};
  how.video = films / "anamorphic.mp4";  // 32 x 32, shown as 64 x 32
  CHECK(read(folder / "transforms.json", nullptr, how).images.size() == 1);
  how.video = films / "alpha.mov";
  const auto image = read(folder / "transforms.json", nullptr, how).images.at(0);
  CHECK(image.at(4, 16)[2] == 200);
  CHECK(image.at(28, 16)[2] < 10);
  const auto hdr =
      pack(folder, {(folder / "transforms.json").string(), "--video", (films / "pq.mp4").string()});
  CHECK_THAT(hdr.err, Contains("pq.mp4: is an HDR film (PQ)"));
}

TEST_CASE("a pack that waits for a film can be stopped", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a", 1);
  const auto pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  Process process({"lact-tokenize", "views", "pack", "-o", (folder / "out").string(), "--video",
                   pipe.string(), (folder / "a").string()});
  const int to = ::open(pipe.c_str(), O_WRONLY);  // waits until it is opened to be read
  REQUIRE(to >= 0);
  process.signal(SIGTERM);
  CHECK(process.wait(std::chrono::seconds(30)).exit == 128 + SIGTERM);
  ::close(to);
  CHECK(listing(folder / "out").empty());
}

TEST_CASE("info knows a ring of cameras by its measures, packed or not", "[views]") {
  const TemporaryFolder folder;
  constexpr int kViews = 8;
  std::vector<Camera> ring;
  for (int i = 0; i < kViews; ++i) {
    const double a = 2 * 3.14159265358979 * i / kViews;
    // A field of view of 2 atan(1/2) = 53.13 degrees, around (1, 2, 3), 2 away.
    ring.push_back(
        {12, 12, 6, 5, look_at({1 + 2 * std::cos(a), 2 + 2 * std::sin(a), 3}, {1, 2, 3})});
  }
  write_rig_images(folder / "ring", kViews);
  test::put(folder / "ring/opencv_cameras.json",
            cameras_json(ring, rig_names(kViews), kRigWidth, kRigHeight).dump());
  REQUIRE(pack(folder, {(folder / "ring").string()}).exit == 0);
  const auto where = GENERATE(as<std::string>(), "ring", "out", "out/train.safetensors");
  const auto plot = (folder / "rig.svg").string();
  const auto result =
      run({"lact-tokenize", "views", "info", (folder / where).string(), "--json", "--plot", plot});
  REQUIRE(result.exit == 0);
  const auto json = Json::parse(result.out);
  REQUIRE(json.size() == 1);
  CHECK(json[0]["scene"] == "ring");
  CHECK(json[0]["views"] == kViews);
  CHECK(json[0]["files"].size() == kViews);
  CHECK(json[0]["field_of_view_min"].get<double>() == Approx(53.1301).epsilon(1e-5));
  CHECK(json[0]["distance_min"].get<double>() == Approx(2));
  CHECK(json[0]["distance_max"].get<double>() == Approx(2));
  CHECK(json[0]["high"][0].get<double>() == Approx(3));
  CHECK(json[0]["centre"][1].get<double>() == Approx(2));
  const auto svg = io::read_text(plot);
  size_t frusta = 0;
  for (size_t at = 0; (at = svg.find("<g ", at)) != svg.npos; ++at) ++frusta;
  CHECK(frusta == 3 * kViews);  // in three panels
  CHECK_THAT(svg, Contains(">7</text>") && Contains("ring: 8 views") && !Contains("nan"));
  const auto table =
      run({"lact-tokenize", "views", "info", (folder / where).string(), "--scene", "r*"});
  CHECK_THAT(table.out, Contains("53.1") && Contains("4 x 4 x 0") && Contains("1 scene, 8 views"));
  CHECK(run({"lact-tokenize", "views", "info", (folder / where).string(), "--scene", "x"}).exit ==
        64);
  const auto png = run({"lact-tokenize", "views", "info", (folder / where).string(), "--plot",
                        (folder / "rig.png").string()});
  CHECK(png.exit == 64);
  CHECK_THAT(png.err, Contains("rig.png: draws an SVG"));
}

TEST_CASE("rigs whose axes do not meet, and single cameras, are drawn too", "[views]") {
  std::vector<Camera> cameras{rig_cameras(1)[0]};
  const auto drawn = [&] {
    const auto svg = rig_svg("a <b> & c", cameras, kRigWidth, kRigHeight);
    CHECK_THAT(svg, Contains("a &lt;b&gt; &amp; c") && !Contains("nan") && !Contains("inf"));
    return svg;
  };
  drawn();
  cameras.push_back(cameras[0]);  // one place
  drawn();
  cameras[1].c2w(0, 3) += 1;  // parallel
  drawn();
  CHECK(drawn() == drawn());
}

TEST_CASE("info finds a changed byte of packed images", "[views]") {
  const TemporaryFolder folder;
  write_scene(folder / "a");
  REQUIRE(pack(folder, {(folder / "a").string()}).exit == 0);
  const auto file = folder / "out/train.safetensors";
  auto bytes = io::read_text(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes[sizeof header + header + 5] ^= 1;
  io::write_text(file, bytes);
  const auto result = run({"lact-tokenize", "views", "info", (folder / "out").string()});
  CHECK(result.exit == 65);
  CHECK_THAT(result.err, Contains("000000.images: damaged"));
  CHECK(run({"lact-tokenize", "views", "info", file.string(), "--no-check"}).exit == 0);
}
