// Photographs and cameras as other programs store them: the same rig is the same scene, and every
// fault has its line.

#include "rig_files.hpp"
#include "support/golden.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/verify/golden.hpp>
#include <plugins/views/capture/camera_files.hpp>
#include <plugins/views/verify/golden_scene.hpp>

#include <algorithm>
#include <cmath>
#include <sstream>

using namespace lact;
using namespace lact::test;
using namespace lact::views;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

namespace fs = std::filesystem;

/// COLMAP's lenses that no pinhole replaces here, and how many parameters pycolmap 4.2.1 gives
/// them.
const std::vector<std::pair<int, size_t>> kForeign{{7, 5},  {10, 12}, {11, 16}, {12, 4},
                                                   {13, 5}, {16, 6},  {17, 2}};

}  // namespace

TEST_CASE("the same rig is the same scene in every format", "[views]") {
  const TemporaryFolder folder;
  const auto root = folder / "rig";
  const auto cameras = rig_cameras();
  write_rig_images(root / "images");
  fs::path where = root;
  SECTION("opencv_cameras.json") {
    auto names = rig_names();
    for (auto& one : names) one = "images/" + one;
    test::put(root / "opencv_cameras.json",
              cameras_json(cameras, names, kRigWidth, kRigHeight).dump());
  }
  SECTION("transforms.json") {
    test::put(where = root / "transforms.json", transforms_json(cameras).dump());
  }
  SECTION("DL3DV, whose images lie elsewhere than its names say") {
    test::put(root / "nerfstudio/transforms.json", transforms_json(cameras).dump());
    fs::rename(root / "images", root / "nerfstudio/images_4");
  }
  SECTION("COLMAP's text") {
    test::put(root / "sparse/cameras.txt", colmap_text(cameras).cameras);
    test::put(root / "sparse/images.txt", colmap_text(cameras).images);
  }
  SECTION("COLMAP's binary") {
    test::put(root / "sparse/0/cameras.bin", colmap_binary(cameras).cameras);
    test::put(root / "sparse/0/images.bin", colmap_binary(cameras).images);
  }
  SECTION("COLMAP's model, named itself, without points") {
    where = root / "sparse/0";
    test::put(where / "cameras.bin", colmap_binary(cameras, 0).cameras);
    test::put(where / "images.bin", colmap_binary(cameras, 0).images);
  }
  SECTION("COLMAP's files beside the images") {
    test::put(root / "cameras.txt", colmap_text(cameras).cameras);
    test::put(where = root / "images.txt", colmap_text(cameras).images);
  }
  Skipped skipped;
  const auto scene = read(where, &skipped);
  CHECK(skipped.lines.empty());
  CHECK(scene.name == "rig");
  CHECK(difference(scene.cameras, cameras) < kRounding);
  REQUIRE(scene.images.size() == 4);
  for (int i = 0; i < 4; ++i) {
    CHECK(scene.images[static_cast<size_t>(i)] == rig_image(i));
    CHECK(fs::path(scene.files[static_cast<size_t>(i)]).filename() == concat("a ", i, ".png"));
  }
}

TEST_CASE("the real scene is what the recorded values say", "[views][golden]") {
  const auto golden = source_root() / "tests/golden/views";
  verify::Settings settings;
  settings.data = golden;
  const auto result =
      verify::replay(golden / "scene_gso_toy.safetensors", {scene_kind()}, settings);
  CHECK(result.count(verify::Verdict::pass) == 4);
  CHECK(tensors_with(verify::Verdict::fail, {result}).empty());
  // Without the scene nothing is replayed, and nothing has passed.
  settings.data.clear();
  CHECK(verify::replay(result.file, {scene_kind()}, settings).verdict() ==
        verify::Verdict::skipped);
}

TEST_CASE("a view that cannot be used is skipped with a line that names it", "[views]") {
  Place place;
  auto& frame = place.json["frames"][1];
  const auto begin = (place.folder / "transforms.json").string() + ": frame 1";
  SECTION("its image is missing") {
    fs::remove(place.folder / "images/a 1.png");
    CHECK_THAT(line_of(place.write()), Contains(begin + " (images/a 1.png): no such image"));
  }
  SECTION("it has no image") {
    frame.erase("file_path");
    CHECK_THAT(line_of(place.write()), Contains(begin + ": a camera without an image"));
  }
  SECTION("its image is damaged") {
    auto bytes = io::read_text(place.folder / "images/a 1.png");
    io::write_text(place.folder / "images/a 1.png", bytes.substr(0, bytes.size() / 2));
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("a 1.png"));
  }
  SECTION("its pose is sheared") {
    frame["transform_matrix"][0][0] = 0.5 + frame["transform_matrix"][0][0].get<double>();
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("not a rotation"));
  }
  SECTION("its pose is a mirror image") {
    for (auto& row : frame["transform_matrix"]) row[0] = -row[0].get<double>();
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("mirror"));
  }
  SECTION("its pose holds a NaN, as Python writes it") {
    frame["transform_matrix"][1][2] = "here";
    CHECK_THAT(line_of(place.write(place.json.dump(), "\"here\"", "NaN")),
               Contains(begin) && Contains("row 1, column 2 is not a number"));
  }
  SECTION("its pose is too short") {
    frame["transform_matrix"].erase(3);
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("4 x 4"));
  }
  SECTION("its focal length is text") {
    frame["fl_x"] = "wide";
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("fl_x is not a number"));
  }
  SECTION("its lens is one that no pinhole can replace") {
    frame["camera_model"] = "EQUIRECTANGULAR";
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("EQUIRECTANGULAR"));
  }
  SECTION("its image has another aspect") {
    media::write_image(place.folder / "images/a 1.png", media::Image(kRigHeight, kRigWidth));
    CHECK_THAT(line_of(place.write()), Contains(begin) && Contains("EXIF"));
  }
}

TEST_CASE("a fault of a COLMAP image is skipped with its line", "[views]") {
  const TemporaryFolder folder;
  write_rig_images(folder / "images");
  auto model = colmap_text(rig_cameras());
  const auto replace = [&](const std::string& from, const std::string& to) {
    model.images.replace(model.images.find(from), from.size(), to);
    test::put(folder / "sparse/cameras.txt", model.cameras);
    test::put(folder / "sparse/images.txt", model.images);
    return folder.path();
  };
  const auto begin = (folder / "sparse/images.txt").string() + ": image 101 (a 1.png): ";
  CHECK_THAT(line_of(replace(" 7 a 1.png", " 8 a 1.png")),
             Contains(begin + "its camera 8 is not among the cameras"));
  const auto first = model.images.find("101 ") + 4;
  const auto number = model.images.substr(first, model.images.find(' ', first) - first);
  CHECK_THAT(line_of(replace("101 " + number, "101 nan")), Contains(begin));
}

TEST_CASE("views of a lens that nothing here undoes are left out, and no others", "[views]") {
  const TemporaryFolder folder;
  write_rig_images(folder / "images");
  SECTION("known or not, in text") {
    // COLMAP 4 has the last two; nobody has EYE_OF_NEWT.
    const auto lens = GENERATE(as<std::string>(), "FOV 12 10 11 12 6 5 0.9",
                               "EUCM 12 10 11 12 6 5 0.5 1", "EYE_OF_NEWT 12 10 1");
    auto model = colmap_text(rig_cameras());
    model.cameras += "8 " + lens + "\n";
    model.images.replace(model.images.find(" 7 a 1.png"), 10, " 8 a 1.png");
    test::put(folder / "sparse/cameras.txt", model.cameras);
    test::put(folder / "sparse/images.txt", model.images);
    CHECK_THAT(line_of(folder.path()),
               Contains("image_undistorter") && Contains(lens.substr(0, lens.find(' '))));
  }
  SECTION("by its number, in binary") {
    auto model = colmap_binary(rig_cameras());
    const auto [number, count] = GENERATE(from_range(kForeign));
    model.cameras[0] = 2;
    model.cameras += std::string("\x08\0\0\0", 4) + static_cast<char>(number) +
                     std::string(3 + 2 * 8 + 8 * count, '\0');
    const auto name = model.images.find("a 1.png");
    model.images[name - 4] = 8;
    test::put(folder / "sparse/cameras.bin", model.cameras);
    test::put(folder / "sparse/images.bin", model.images);
    CHECK_THAT(line_of(folder.path()), Contains("image_undistorter"));
  }
}

TEST_CASE("images.txt is read with lines of points, without, and with some", "[views]") {
  const TemporaryFolder folder;
  write_rig_images(folder / "images");
  const auto model = colmap_text(rig_cameras());
  std::istringstream lines(model.images);
  std::string kept;
  const bool some = GENERATE(false, true);
  for (std::string line; std::getline(lines, line);)
    if (line.find(".png") != line.npos || line[0] == '#' || (some && !line.empty()))
      kept += line + "\n";
  test::put(folder / "sparse/cameras.txt", model.cameras);
  test::put(folder / "sparse/images.txt", kept);
  const auto scene = read(folder.path());
  CHECK(difference(scene.cameras, rig_cameras()) < kRounding);
  CHECK(scene.files == rig_names());
}

TEST_CASE("a scene without any view that can be used is an error that names the first", "[views]") {
  Place place;
  for (auto& frame : place.json["frames"]) frame.erase("file_path");
  CHECK_THAT(refusal(place.write()),
             Contains("65 ") && Contains("none of 4 views") && Contains("frame 0"));
  place.json["frames"] = Json::array();
  CHECK_THAT(refusal(place.write()), Contains("none of 0 views"));
}

TEST_CASE("what holds no cameras is refused by its name", "[views]") {
  const TemporaryFolder folder;
  CHECK_THAT(refusal(folder.path()),
             Contains("66 " + folder.path().string() + ": holds no cameras") &&
                 Contains("dense/0/sparse"));
  CHECK_THAT(refusal(folder / "missing.json"), Contains("66 "));
  test::put(folder / "transforms.json", "{\"w\": 1}");
  CHECK_THAT(refusal(folder.path()), Contains("65 ") && Contains("no camera file"));
  test::put(folder / "transforms.json", "{\"w\": ");
  CHECK_THAT(refusal(folder.path()), Contains("not JSON"));
}

TEST_CASE("intrinsics follow images of another size than stated", "[views]") {
  Place place;
  place.json["w"] = 2.0 * kRigWidth;
  place.json["h"] = 2 * kRigHeight;
  const auto scene = read(place.write());
  auto want = rig_cameras();
  for (auto& camera : want) camera.fx /= 2, camera.fy /= 2, camera.cx /= 2, camera.cy /= 2;
  CHECK(difference(scene.cameras, want) < kRounding);
}

TEST_CASE("a frame's own intrinsics stand before the file's", "[views]") {
  Place place;
  place.json["frames"][2]["fl_x"] = 20;
  place.json["frames"][2]["w"] = 6;
  place.json["frames"][2]["h"] = 5;
  const auto scene = read(place.write());
  CHECK(scene.cameras[1].fx == 11);
  CHECK(scene.cameras[2].fx == 40);
  CHECK(scene.cameras[2].cx == 12.5);
}

TEST_CASE("a field of view serves where there is no focal length", "[views]") {
  Place place;
  for (const char* key : {"fl_x", "fl_y", "cx", "cy", "w", "h"}) place.json.erase(key);
  place.json["camera_angle_x"] = 2 * std::atan(0.5);  // w / (2 tan) is w
  // NeRF's names have no suffix.
  for (int i = 0; i < 4; ++i)
    place.json["frames"][static_cast<size_t>(i)]["file_path"] = concat("./images/a ", i);
  const auto scene = read(place.write());
  REQUIRE(scene.cameras.size() == 4);
  CHECK(scene.cameras[0].fx == Approx(12).epsilon(1e-12));
  CHECK(scene.cameras[0].fy == scene.cameras[0].fx);
  CHECK(scene.cameras[0].cx == 6);
  CHECK(scene.cameras[0].cy == 5);
  place.json["camera_angle_y"] = 2 * std::atan(1.0);
  CHECK(read(place.write()).cameras[0].fy == Approx(5).epsilon(1e-12));
}

TEST_CASE("numbers of opencv_cameras.json are those of the stored image", "[views]") {
  const TemporaryFolder folder;
  write_rig_images(folder.path());
  // w and h inform; halved, they scale nothing.
  test::put(folder / "opencv_cameras.json",
            cameras_json(rig_cameras(), rig_names(), kRigWidth / 2, kRigHeight / 2).dump());
  CHECK(difference(read(folder.path()).cameras, rig_cameras()) < kRounding);
}

TEST_CASE("images are scaled until they cover, and cut to the middle", "[views]") {
  Place place;
  auto how = as_it_is();
  how.width = 6;
  how.height = 7;  // 12 x 10 times 0.7: 8.4, rounded to 8; one column on each side goes
  const auto scene = read(place.write(), nullptr, how);
  const auto small = media::resize(rig_image(2), 8, 7);
  for (int64_t y = 0; y < 7; ++y)
    for (int64_t x = 0; x < 6; ++x)
      for (int c = 0; c < 3; ++c) REQUIRE(scene.images[2].at(x, y)[c] == small.at(x + 1, y)[c]);
  CHECK(scene.cameras[2].fx == Approx(0.7 * 11).epsilon(1e-14));
  CHECK(scene.cameras[2].cx == Approx(0.7 * 6.25 - 1).epsilon(1e-14));
  CHECK(scene.cameras[2].cy == Approx(0.7 * 4.5).epsilon(1e-14));
}

TEST_CASE("each N-th view, or so many, are taken evenly", "[views]") {
  Place place;
  const auto names = [&](int64_t every, int64_t most) {
    auto how = as_it_is();
    how.every = every;
    how.max_views = most;
    std::string all;
    for (const auto& file : read(place.write(), nullptr, how).files) all += file[9];
    return all;
  };
  CHECK(names(1, 0) == "0123");
  CHECK(names(2, 0) == "02");
  CHECK(names(3, 0) == "03");
  CHECK(names(9, 0) == "0");
  CHECK(names(1, 3) == "012");
  CHECK(names(1, 2) == "02");
  CHECK(names(1, 9) == "0123");
  // Views that cannot be used are none of the two.
  fs::remove(place.folder / "images/a 0.png");
  CHECK(names(1, 2) == "12");
  CHECK(names(2, 0) == "2");
}

TEST_CASE("masks put the background in place of what is black", "[views]") {
  Place place;
  media::Image mask(kRigWidth, kRigHeight);
  for (int64_t y = 0; y < kRigHeight; ++y)
    for (int64_t x = 0; x < kRigWidth; ++x)
      for (int c = 0; c < 3; ++c) mask.at(x, y)[c] = x < 5 ? 255 : x == 5 ? 51 : 0;
  fs::create_directories(place.folder / "cut out/images");
  media::write_image(place.folder / "cut out/images/a 0.png", mask);
  media::write_image(place.folder / "cut out/a 2.webp", mask);
  media::write_image(place.folder / "cut out/a 3.png.png", mask);
  auto how = as_it_is();
  how.masks = "cut out";
  how.background = {10, 20, 200};
  Skipped skipped;
  const auto scene = read(place.write(), &skipped, how);
  REQUIRE(skipped.lines.size() == 1);
  CHECK_THAT(skipped.lines[0], Contains("a 1.png") && Contains("no mask"));
  REQUIRE(scene.images.size() == 3);
  for (const size_t i : {0, 2}) {  // WebP is lossy
    const auto original = rig_image(i == 0 ? 0 : 3);
    for (int64_t y = 0; y < kRigHeight; ++y) {
      CHECK(scene.images[i].at(4, y)[2] == original.at(4, y)[2]);
      // A fifth of the image, four fifths of the background.
      CHECK(scene.images[i].at(5, y)[2] ==
            Approx(original.at(5, y)[2] * 0.2 + 200 * 0.8).margin(0.51));
      CHECK(scene.images[i].at(6, y)[0] == 10);
      CHECK(scene.images[i].at(11, y)[1] == 20);
    }
  }
}

TEST_CASE("photographs may lie in another folder", "[views]") {
  Place place;
  const TemporaryFolder elsewhere;
  fs::rename(place.folder / "images", elsewhere / "photos");
  auto how = as_it_is();
  how.images = elsewhere / "photos";
  CHECK(read(place.write(), nullptr, how).images.size() == 4);
  fs::rename(elsewhere / "photos", place.folder / "photos");
  how.images = "photos";  // in the scene's folder
  CHECK(read(place.write(), nullptr, how).images.size() == 4);
}

TEST_CASE("constants that JSON does not have are read as no numbers, but not inside text",
          "[views]") {
  const auto json =
      parse_python_json(R"({"a": [NaN, -Infinity, Infinity, 1], "b\"NaN": "NaN"})", "x");
  CHECK(json.dump() == R"({"a":[null,null,null,1],"b\"NaN":"NaN"})");
}
