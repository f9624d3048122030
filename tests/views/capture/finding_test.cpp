// Captures as they lie on other people's disks: where photographs, masks and models are found,
// which world their poses are in, and what is told of what is not read.

#include "rig_files.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <plugins/views/capture/capture.hpp>

#include <algorithm>

using namespace lact;
using namespace lact::test;
using namespace lact::views;
using Catch::Contains;
using Json = nlohmann::json;

namespace fs = std::filesystem;

namespace {

/// 12 x 10 pixels of 16 bits: 1, and 0 from column 5 on.
std::string grey16_png() {
  const unsigned char bytes[] = {
      137, 80,  78,  71,  13,  10, 26, 10, 0,   0,  0,   13,  73,  72,  68, 82, 0,   0,  0,
      12,  0,   0,   0,   10,  16, 0,  0,  0,   0,  245, 215, 60,  101, 0,  0,  0,   16, 73,
      68,  65,  84,  120, 218, 99, 96, 96, 132, 67, 52,  48,  204, 37,  0,  26, 169, 0,  51,
      153, 236, 154, 106, 0,   0,  0,  0,  73,  69, 78,  68,  174, 66,  96, 130};
  return {reinterpret_cast<const char*>(bytes), sizeof bytes};
}

}  // namespace

TEST_CASE("a mask of labels or colours keeps all but black, and the image's own transparency stays",
          "[views]") {
  Place place;
  const auto label = GENERATE(as<media::Colour>(), media::Colour{1, 1, 1}, media::Colour{7, 7, 7},
                              media::Colour{128, 0, 0}, media::Colour{255, 255, 255});
  media::Image mask(kRigWidth, kRigHeight), image(kRigWidth, kRigHeight, 4);
  for (int64_t y = 0; y < kRigHeight; ++y)
    for (int64_t x = 0; x < kRigWidth; ++x) {
      for (int c = 0; c < 3; ++c) mask.at(x, y)[c] = x < 5 ? label[static_cast<size_t>(c)] : 0;
      std::copy_n(rig_image(0).at(x, y), 3, image.at(x, y));
      image.at(x, y)[3] = y < 3 ? 0 : 255;
    }
  fs::create_directories(place.folder / "masks");
  media::write_image(place.folder / "images/a 0.png", image);
  for (const auto& name : rig_names()) media::write_image(place.folder / "masks" / name, mask);
  auto how = as_it_is();
  how.masks = "masks";
  const auto scene = read(place.write(), nullptr, how);
  for (int64_t y = 0; y < kRigHeight; ++y)
    for (int64_t x = 0; x < kRigWidth; ++x) {
      const bool kept = x < 5 && y >= 3;
      REQUIRE(scene.images[0].at(x, y)[1] == (kept ? rig_image(0).at(x, y)[1] : 255));
    }
}

TEST_CASE("the masks that transforms.json names are read", "[views]") {
  Place place;
  media::Image mask(kRigWidth, kRigHeight);  // black: all of it is background
  fs::create_directories(place.folder / "masks");
  media::write_image(place.folder / "masks/m.png", mask);
  place.json["frames"][2]["mask_path"] = GENERATE("masks/m.png", "masks\\m.png");
  const auto scene = read(place.write());
  CHECK(scene.images[1] == rig_image(1));
  for (const int one : scene.images[2].pixels) REQUIRE(one == 255);
  place.json["frames"][1]["mask_path"] = "masks/lost.png";
  place.json["frames"][2].erase("mask_path");
  CHECK_THAT(line_of(place.write()), Contains("no such mask: masks/lost.png"));
}

TEST_CASE("objects that a mask numbers are all kept, however high, and faint ones of 16 bits",
          "[views]") {
  Place place;
  // Columns 0 to 4 of the image are objects.
  const auto numbered = [](uint8_t first, uint8_t step) {
    media::Image mask(kRigWidth, kRigHeight);
    for (int64_t i = 0; i < kRigWidth * kRigHeight; ++i)
      for (int c = 0; c < 3; ++c)
        mask.at(i, 0)[c] =
            i % kRigWidth < 5 ? static_cast<uint8_t>(first + step * (i % kRigWidth)) : uint8_t{0};
    return mask;
  };
  const auto is_kept = [&](const Scene& scene, size_t view) {
    for (int64_t y = 0; y < kRigHeight; ++y)
      for (int64_t x = 0; x < kRigWidth; ++x)
        if (scene.images[view].at(x, y)[1] !=
            (x < 5 ? rig_image(static_cast<int>(view)).at(x, y)[1] : 255))
          return false;
    return true;
  };
  fs::create_directories(place.folder / "masks");
  SECTION("in a folder of masks") {
    for (const auto& name : rig_names())
      media::write_image(place.folder / "masks" / name, numbered(3, 40));
    auto how = as_it_is();
    how.masks = "masks";
    CHECK(is_kept(read(place.write(), nullptr, how), 1));
  }
  SECTION("by transforms.json, in whatever shade") {
    media::write_image(place.folder / "masks/m.png", numbered(1, 60));
    place.json["frames"][2]["mask_path"] = "masks/m.png";
    CHECK(is_kept(read(place.write()), 2));
  }
  SECTION("in 16 bits") {
    test::put(place.folder / "masks/m.png", grey16_png());
    place.json["frames"][2]["mask_path"] = "masks/m.png";
    CHECK(is_kept(read(place.write()), 2));
  }
}

TEST_CASE("photographs are read as stored, because poses are of stored pixels", "[views]") {
  const TemporaryFolder folder;
  const auto images = source_root() / "tests/golden/images";
  const auto turned = media::read_stored_image(images / "turned6.jpg");
  const auto shown = media::read_image(images / "turned6.jpg");
  REQUIRE(turned.width == shown.height);
  REQUIRE(turned.width != shown.width);
  fs::create_directories(folder / "images");
  fs::copy_file(images / "turned6.jpg", folder / "images/a.jpg");
  const auto with = [&](const media::Image& size) {
    test::put(folder / "cameras.txt",
              concat("1 SIMPLE_PINHOLE ", size.width, " ", size.height, " 50 8 8\n"));
    test::put(folder / "images.txt", "1 1 0 0 0 0 0 0 1 a.jpg\n\n");
    return folder.path();
  };
  auto how = as_it_is();
  how.width = turned.width;
  how.height = turned.height;
  CHECK(read(with(turned), nullptr, how).images.at(0) == turned);
  CHECK_THAT(refusal(with(shown), how), Contains("EXIF") && Contains("auto-orient"));
}

TEST_CASE("a transforms.json's world is turned back as far as the file says it was turned",
          "[views]") {
  Place place;
  const auto cameras = rig_cameras();
  SECTION("not at all") {
    place.json.erase("applied_transform");
    // What nerfstudio's axes make of the rig: the world of the file, y and z of cameras turned.
    const auto scene = read(place.write());
    CHECK(scene.world == Matrix{});
    for (size_t i = 0; i < 4; ++i) {
      const auto want = cameras[i].position(), got = scene.cameras[i].position();
      CHECK(got[0] == Approx(want[1]));
      CHECK(got[1] == Approx(want[0]));
      CHECK(got[2] == Approx(-want[2]));
    }
  }
  SECTION("by what today's nerfstudio applies, with a shift and a scale") {
    place.json["applied_transform"] = {{1, 0, 0, 5}, {0, 0, 1, 6}, {0, -1, 0, 7}};
    place.json["applied_scale"] = 2;
    for (size_t i = 0; i < 4; ++i) {
      auto turned = cameras[i].c2w;
      for (int c = 0; c < 4; ++c) {
        turned(1, c) = cameras[i].c2w(2, c);
        turned(2, c) = -cameras[i].c2w(1, c);
      }
      for (int r = 0; r < 3; ++r) {
        turned(r, 1) = -turned(r, 1), turned(r, 2) = -turned(r, 2);
        turned(r, 3) = 2 * (turned(r, 3) + 5 + r);
      }
      for (size_t r = 0; r < 4; ++r)
        for (size_t c = 0; c < 4; ++c)
          place.json["frames"][i]["transform_matrix"][r][c] = turned.m[4 * r + c];
    }
    CHECK(difference(read(place.write()).cameras, cameras) < 10 * kRounding);
  }
  SECTION("null is none") {
    place.json.erase("applied_transform");
    const auto want = read(place.write());
    place.json["applied_transform"] = nullptr;
    place.json["applied_scale"] = nullptr;
    const auto got = read(place.write());
    CHECK(got.world == Matrix{});
    CHECK(difference(got.cameras, want.cameras) == 0);
  }
  SECTION("and what is no turning is refused") {
    place.json["applied_transform"] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, -1, 0}};
    CHECK_THAT(refusal(place.write()), Contains("applied_transform: a mirror image"));
    place.json["applied_transform"] = {1, 2};
    CHECK_THAT(refusal(place.write()), Contains("applied_transform: expected 3 or 4 rows"));
  }
}

TEST_CASE("a frame with w2c is opencv_cameras.json's, in a list or in an object", "[views]") {
  const TemporaryFolder folder;
  write_rig_images(folder.path());
  const auto frames = cameras_json(rig_cameras(), rig_names(), kRigWidth, kRigHeight);
  test::put(folder / "opencv_cameras.json",
            Json{{"scene_name", "kitchen"}, {"frames", frames}}.dump());
  CHECK(difference(read(folder.path()).cameras, rig_cameras()) < kRounding);
  // Nobody has turned it, whatever the file applies to others.
  test::put(
      folder / "opencv_cameras.json",
      Json{{"applied_transform", {{0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, -1, 0}}}, {"frames", frames}}
          .dump());
  const auto scene = read(folder.path());
  CHECK(difference(scene.cameras, rig_cameras()) < kRounding);
  CHECK(scene.world == Matrix{});
}

TEST_CASE("photographs are found by names of Windows, in folders of cameras, and once", "[views]") {
  Place place;
  const auto rename = [&](size_t i, const std::string& name) {
    place.json["frames"][i]["file_path"] = name;
  };
  auto how = as_it_is();
  const auto move = [&](const fs::path& folder, int i) {
    fs::create_directories(place.folder / folder.string());
    const auto name = concat("a ", i, ".png");
    fs::rename(place.folder / "images" / name, place.folder / folder.string() / name);
  };
  SECTION("backslashes") {
    for (size_t i = 0; i < 4; ++i) rename(i, concat("images\\a ", i, ".png"));
  }
  SECTION("whole paths of another machine, in a folder that is named") {
    for (size_t i = 0; i < 4; ++i)
      rename(i, concat(i % 2 == 0 ? "D:\\photos\\a " : "/data/photos/a ", i, ".png"));
    how.images = "images";
  }
  SECTION("folders of cameras, in a folder that is named, or beside") {
    for (int i = 0; i < 4; ++i) {
      move(concat("images_2/", i % 2 == 0 ? "front" : "back"), i);
      rename(static_cast<size_t>(i),
             concat("images/", i % 2 == 0 ? "front" : "back", "/a ", i, ".png"));
    }
    if (GENERATE(true, false)) how.images = "images_2";
  }
  Skipped skipped;
  const auto scene = read(place.write(), &skipped, how);
  CHECK(skipped.lines.empty());
  REQUIRE(scene.images.size() == 4);
  for (int i = 0; i < 4; ++i) CHECK(scene.images[static_cast<size_t>(i)] == rig_image(i));
}

TEST_CASE("two cameras do not get one photograph, nor one mask, by the end of its name",
          "[views]") {
  Place place;
  auto how = as_it_is();
  how.images = "images";
  // Neither is there as it is called, and one file ends as both.
  place.json["frames"][0]["file_path"] = "front/a 0.png";
  place.json["frames"][1]["file_path"] = "back/a 0.png";
  Skipped skipped;
  CHECK(read(place.write(), &skipped, how).images.size() == 2);
  REQUIRE(skipped.lines.size() == 2);
  CHECK_THAT(skipped.lines[0], Contains("frame 0 (front/a 0.png)") &&
                                   Contains("would be the image of frame 1 (back/a 0.png), too"));
  // What is called so has it.
  place.json["frames"][1]["file_path"] = "a 0.png";
  skipped.lines.clear();
  CHECK(read(place.write(), &skipped, how).images.size() == 3);
  REQUIRE(skipped.lines.size() == 1);
  // Every N-th view is no way out.
  how.every = 4;
  CHECK_THAT(refusal(place.write(), how), Contains("would be the image of frame 1"));
  // Numbers of opencv_cameras.json are those of the image that it names, not of a smaller one.
  const TemporaryFolder other;
  write_rig_images(other / "images_2");
  test::put(other / "opencv_cameras.json",
            cameras_json(rig_cameras(), rig_names(), kRigWidth, kRigHeight).dump());
  CHECK_THAT(refusal(other.path()), Contains("no such image"));
}

TEST_CASE("photographs that differ by their suffix alone do not share a mask", "[views]") {
  Place place;
  for (size_t i : {0, 1}) {
    const auto file = concat("images/same.", i == 0 ? "png" : "webp");
    media::write_image(place.folder / file, rig_image(static_cast<int>(i)));
    place.json["frames"][i]["file_path"] = file;
  }
  fs::create_directories(place.folder / "masks");
  const media::Image mask(kRigWidth, kRigHeight);
  for (const char* name : {"same.png", "a 2.png", "a 3.png"})
    media::write_image(place.folder / "masks" / name, mask);
  auto how = as_it_is();
  how.masks = "masks";
  Skipped skipped;
  CHECK(read(place.write(), &skipped, how).images.size() == 2);
  REQUIRE(skipped.lines.size() == 2);
  CHECK_THAT(skipped.lines[0], Contains("would be the mask of frame 1 (images/same.webp), too"));
  // As COLMAP calls them they have one each.
  for (const char* name : {"same.png.png", "same.webp.png"})
    media::write_image(place.folder / "masks" / name, mask);
  CHECK(read(place.write(), nullptr, how).images.size() == 4);
}

TEST_CASE("masks lie in folders of cameras as photographs do", "[views]") {
  Place place;
  for (size_t i = 0; i < 4; ++i) {
    const auto camera = i % 2 == 0 ? "front" : "back";
    const auto file = concat("images/", camera, "/", i / 2, ".png");
    fs::create_directories(place.folder / concat("images/", camera));
    fs::create_directories(place.folder / concat("masks/", camera));
    media::write_image(place.folder / file, rig_image(static_cast<int>(i)));
    media::Image mask(kRigWidth, kRigHeight);
    if (camera == std::string("front")) std::fill(mask.pixels.begin(), mask.pixels.end(), 255);
    media::write_image(place.folder / concat("masks/", camera, "/", i / 2, ".png"), mask);
    place.json["frames"][i]["file_path"] = file;
  }
  auto how = as_it_is();
  how.masks = "masks";
  const auto scene = read(place.write(), nullptr, how);
  CHECK(scene.images.at(2) == rig_image(2));
  CHECK(scene.images.at(3).pixels == std::vector<uint8_t>(kRigWidth * kRigHeight * 3, 255));
}

TEST_CASE("of a reconstruction that fell apart the largest part is read, and the others told",
          "[views]") {
  const TemporaryFolder folder;
  const auto root = folder / "rig";
  write_rig_images(root / "images");
  const auto cameras = rig_cameras();
  const auto put = [&](const std::string& part, int views) {
    const auto model = colmap_text({cameras.begin(), cameras.begin() + views});
    test::put(root / "sparse" / part / "cameras.txt", model.cameras);
    test::put(root / "sparse" / part / "images.txt", model.images);
  };
  put("0", 2);
  put("1", 4);
  put("10", 3);
  const auto where = root / GENERATE(as<std::string>(), "", "sparse", "sparse/");
  Skipped skipped;
  Faults faults(false, skipped);
  auto capture = list_capture(where, as_it_is(), faults);
  CHECK(capture.shots.size() == 4);
  CHECK(capture.name == "rig");
  REQUIRE(capture.notes.size() == 1);
  CHECK_THAT(capture.notes[0], Contains("sparse/1: the largest") && Contains("sparse/0: 2") &&
                                   Contains("sparse/10: 3"));
  CHECK(find_captures(where).size() == 1);
  // A damaged part is told of, and the next one read.
  io::write_text(root / "sparse/1/cameras.txt", "1 PINHOLE\n");
  capture = list_capture(where, as_it_is(), faults);
  CHECK(capture.shots.size() == 3);
  REQUIRE(capture.notes.size() == 2);
  CHECK_THAT(capture.notes[0],
             Contains("sparse/1/cameras.txt") && Contains("this part of the reconstruction"));
  CHECK_THAT(capture.notes[1], Contains("sparse/10: the largest") && Contains("sparse/0: 2"));
  CHECK_THROWS_WITH(list_capture(root / "sparse/1", as_it_is(), faults),
                    Contains("sparse/1/cameras.txt"));
  // A part that is named is read alone, and says nothing.
  capture = list_capture(root / "sparse/0", as_it_is(), faults);
  CHECK(capture.shots.size() == 2);
  CHECK(capture.notes.empty());
}

TEST_CASE("a scene is called by its own folder, wherever in it the model lies", "[views]") {
  const TemporaryFolder folder;
  const auto root = folder / "kitchen";
  const auto [model, images] =
      GENERATE(table<std::string, std::string>({{"colmap/sparse/0", "images"},
                                                {"dense/0/sparse", "dense/0/images"},
                                                {"dense/sparse", "dense/images"},
                                                {"sparse/0", "images"}}));
  CAPTURE(model);
  write_rig_images(root / images);
  test::put(root / model / "cameras.bin", colmap_binary(rig_cameras()).cameras);
  test::put(root / model / "images.bin", colmap_binary(rig_cameras()).images);
  const auto scene = read(root / model);
  CHECK(scene.name == "kitchen");
  CHECK(scene.images.size() == 4);
  CHECK(read(root).images.size() == 4);
  CHECK(read(root).name == "kitchen");
}

TEST_CASE("the split of a transforms.json is told, or kept to", "[views]") {
  Place place;
  const auto parts = [&](bool split) {
    auto how = as_it_is();
    how.split = split;
    Skipped skipped;
    Faults faults(false, skipped);
    const auto capture = list_capture(place.write(), how, faults);
    std::string all;
    for (const auto& shot : capture.shots) all += concat(shot.file[9], shot.held ? "!" : "");
    return concat(all, " ", capture.notes.size());
  };
  CHECK(parts(false) == "0123 0");
  CHECK_THROWS_WITH(parts(true), Contains("has no split"));
  place.json["test_filenames"] = {"./images/a 2.png"};
  CHECK(parts(false) == "0123 1");
  CHECK(parts(true) == "012!3 0");
  place.json["train_filenames"] = {"images/a 0.png"};
  place.json["val_filenames"] = {"images/a 1.png"};  // neither read nor a target
  CHECK(parts(true) == "02! 0");
  place.json.erase("test_filenames");
  CHECK(parts(true) == "01! 0");
}

TEST_CASE("NeRF's three files are one scene with a split", "[views]") {
  Place place;
  auto train = place.json, test = place.json;
  train["frames"].erase(2), train["frames"].erase(2);
  test["frames"].erase(0), test["frames"].erase(0);
  test::put(place.folder / "transforms_train.json", train.dump());
  test::put(place.folder / "transforms_test.json", test.dump());
  Skipped skipped;
  Faults faults(false, skipped);
  auto how = as_it_is();
  auto capture = list_capture(place.folder.path(), how, faults);
  CHECK(capture.shots.size() == 2);
  REQUIRE(capture.notes.size() == 1);
  CHECK_THAT(capture.notes[0], Contains("held out in transforms_test.json"));
  how.split = true;
  const auto scene = read(place.folder.path(), nullptr, how);
  CHECK(scene.held == std::vector<int64_t>{2, 3});
  CHECK(difference(scene.cameras, rig_cameras()) < kRounding);
}
