// Distortion is undone: what a lens has bent stands where the pinhole says.

#include "rig_files.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>

#include <array>
#include <cmath>
#include <cstdio>

using namespace lact;
using namespace lact::test;
using namespace lact::views;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

constexpr int64_t kWide = 240, kHigh = 180;
constexpr double kF = 150, kFy = 155, kX = 123.5, kY = 86.25;
constexpr double kSpot = 2;  ///< sigma in pixels
/// What bends a spot moves its centre, too, by up to 0.1; half a pixel shows.
constexpr double kExact = 0.15;

using Place = std::array<double, 2>;

/// OpenCV's model as its documentation writes it: k1 k2 p1 p2 k3 k4 k5 k6.
Place bend(const std::array<double, 8>& d, double x, double y) {
  const double r2 = x * x + y * y;
  const double radial = (1 + d[0] * r2 + d[1] * r2 * r2 + d[4] * r2 * r2 * r2) /
                        (1 + d[5] * r2 + d[6] * r2 * r2 + d[7] * r2 * r2 * r2);
  return {x * radial + 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x),
          y * radial + d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y};
}

Place bend_fisheye(const std::array<double, 8>& d, double x, double y) {
  const double r = std::hypot(x, y), t = std::atan(r), t2 = t * t;
  const double bent =
      t * (1 + d[0] * t2 + d[1] * t2 * t2 + d[2] * t2 * t2 * t2 + d[3] * t2 * t2 * t2 * t2);
  return r > 0 ? Place{x * bent / r, y * bent / r} : Place{0, 0};
}

struct Glass {
  std::string model;       ///< COLMAP's name
  std::string parameters;  ///< behind f, cx, cy
  bool one_f = false, fisheye = false;
  std::array<double, 8> d{};
};

/// Directions (x, y, 1) to points that all lenses show.
std::vector<Place> directions() {
  std::vector<Place> all;
  for (int i = -2; i <= 2; ++i)
    for (int j = -1; j <= 1; ++j) all.push_back({0.24 * i + 0.02, 0.3 * j - 0.01});
  return all;
}

Place bent(const Glass& glass, const Place& at) {
  return glass.fisheye ? bend_fisheye(glass.d, at[0], at[1]) : bend(glass.d, at[0], at[1]);
}

/// Spots where the lens shows the points. The centre of the first pixel lies at (centre, centre).
media::Image photograph(const Glass& glass, double centre, int64_t channels = 3) {
  media::Image image(kWide, kHigh, channels);
  const double fy = glass.one_f ? kF : kFy;
  for (int64_t y = 0; y < kHigh; ++y)
    for (int64_t x = 0; x < kWide; ++x) {
      double light = 0;
      for (const auto& at : directions()) {
        const auto [u, v] = bent(glass, at);
        const double dx = static_cast<double>(x) + centre - (kF * u + kX);
        const double dy = static_cast<double>(y) + centre - (fy * v + kY);
        light += std::exp(-(dx * dx + dy * dy) / (2 * kSpot * kSpot));
      }
      for (int64_t c = 0; c < 3; ++c)
        image.at(x, y)[c] = channels == 4 ? 200 : static_cast<uint8_t>(std::lround(255 * light));
      if (channels == 4) image.at(x, y)[3] = static_cast<uint8_t>(std::lround(255 * light));
    }
  return image;
}

/// The largest distance of a spot to where the camera, a pinhole, sees its point.
double worst_miss(const media::Image& image, const Camera& camera, double centre) {
  double worst = 0;
  for (const auto& at : directions()) {
    const double u = camera.fx * at[0] + camera.cx, v = camera.fy * at[1] + camera.cy;
    double sum = 0, x_sum = 0, y_sum = 0;
    for (auto y = static_cast<int64_t>(v) - 9; y <= static_cast<int64_t>(v) + 9; ++y)
      for (auto x = static_cast<int64_t>(u) - 9; x <= static_cast<int64_t>(u) + 9; ++x) {
        if (x < 0 || y < 0 || x >= kWide || y >= kHigh) return INFINITY;
        const double light = image.at(x, y)[1];
        sum += light;
        x_sum += light * (static_cast<double>(x) + centre);
        y_sum += light * (static_cast<double>(y) + centre);
      }
    if (sum < 255) return INFINITY;
    worst = std::max(worst, std::hypot(x_sum / sum - u, y_sum / sum - v));
  }
  return worst;
}

Preparation same_size() {
  Preparation how;
  how.width = kWide;
  how.height = kHigh;
  return how;
}

std::vector<Glass> glasses() {
  return {{"SIMPLE_PINHOLE", "", true, false, {}},
          {"PINHOLE", "", false, false, {}},
          {"SIMPLE_RADIAL", "-0.12", true, false, {-0.12}},
          {"RADIAL", "0.1 -0.07", true, false, {0.1, -0.07}},
          {"OPENCV", "-0.11 0.04 0.003 -0.002", false, false, {-0.11, 0.04, 0.003, -0.002}},
          {"FULL_OPENCV",
           "-0.2 0.05 0.002 -0.001 0.01 0.08 -0.02 0.005",
           false,
           false,
           {-0.2, 0.05, 0.002, -0.001, 0.01, 0.08, -0.02, 0.005}},
          {"OPENCV_FISHEYE", "0.05 -0.02 0.01 -0.003", false, true, {0.05, -0.02, 0.01, -0.003}},
          {"SIMPLE_FISHEYE", "", true, true, {}},
          {"FISHEYE", "", false, true, {}},
          {"SIMPLE_RADIAL_FISHEYE", "0.04", true, true, {0.04}},
          {"RADIAL_FISHEYE", "-0.05 0.02", true, true, {-0.05, 0.02}}};
}

}  // namespace

TEST_CASE("what a lens of COLMAP has bent stands where the pinhole says", "[views]") {
  const auto glass = GENERATE(from_range(glasses()));
  CAPTURE(glass.model);
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "images");
  const auto original = photograph(glass, 0.5);
  media::write_image(folder / "images/a.png", original);
  test::put(folder / "cameras.txt",
            concat("1 ", glass.model, " ", kWide, " ", kHigh, " ", kF, " ",
                   glass.one_f ? "" : concat(kFy, " "), kX, " ", kY, " ", glass.parameters, "\n"));
  test::put(folder / "images.txt", "1 1 0 0 0 0 0 0 1 a.png\n\n");
  const auto scene = read(folder.path(), nullptr, same_size());
  CHECK(worst_miss(scene.images.at(0), scene.cameras.at(0), 0.5) < kExact);
  const bool straight = glass.parameters.empty() && !glass.fisheye;
  CHECK((scene.images[0] == original) == straight);
  // The bound can fail: as it was, the image does not fit.
  const Camera raw{kF, glass.one_f ? kF : kFy, kX, kY, {}};
  if (!straight) CHECK(worst_miss(original, raw, 0.5) > 5 * kExact);
}

TEST_CASE("the distortion of transforms.json is undone as its official converter does it",
          "[views]") {
  // It hands cx and cy to OpenCV, for which the first pixel's centre is 0.
  const auto glass =
      GENERATE(Glass{"OPENCV", "", false, false, {-0.11, 0.04, 0.003, -0.002}},
               Glass{"OPENCV_FISHEYE", "", false, true, {0.05, -0.02, 0.01, -0.003}});
  CAPTURE(glass.model);
  const TemporaryFolder folder;
  media::write_image(folder / "a.png", photograph(glass, 0));
  Json json{{"fl_x", kF},
            {"fl_y", kFy},
            {"cx", kX},
            {"cy", kY},
            {"w", kWide},
            {"h", kHigh},
            {"camera_model", glass.model},
            {"k1", glass.d[0]},
            {"k2", glass.d[1]},
            {glass.fisheye ? "k3" : "p1", glass.d[2]},
            {glass.fisheye ? "k4" : "p2", glass.d[3]}};
  json["frames"] = {
      {{"file_path", "a.png"},
       {"transform_matrix", {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}}}};
  test::put(folder / "transforms.json", json.dump());
  const auto scene = read(folder.path(), nullptr, same_size());
  CHECK(worst_miss(scene.images.at(0), scene.cameras.at(0), 0) < kExact);
}

TEST_CASE("transparent pixels lend no colour to their neighbours", "[views]") {
  // Grey of one brightness behind spots of alpha: nothing but that grey may show on that grey.
  const Glass glass{
      "OPENCV", "-0.11 0.04 0.003 -0.002", false, false, {-0.11, 0.04, 0.003, -0.002}};
  const TemporaryFolder folder;
  auto image = photograph(glass, 0.5, 4);
  for (size_t i = 0; i < image.pixels.size(); i += 4)
    if (image.pixels[i + 3] == 0) image.pixels[i] = image.pixels[i + 1] = 0;
  std::filesystem::create_directories(folder / "images");
  media::write_image(folder / "images/a.png", image);
  test::put(folder / "cameras.txt", concat("1 OPENCV ", kWide, " ", kHigh, " ", kF, " ", kFy, " ",
                                           kX, " ", kY, " ", glass.parameters, "\n"));
  test::put(folder / "images.txt", "1 1 0 0 0 0 0 0 1 a.png\n\n");
  auto how = same_size();
  how.background = {200, 200, 200};
  const auto scene = read(folder.path(), nullptr, how);
  int darkest = 255, brightest = 0;
  for (const int one : scene.images.at(0).pixels) {
    darkest = std::min(darkest, one);
    brightest = std::max(brightest, one);
  }
  CHECK(darkest >= 198);  // premultiplied in 8 bits, twice rounded
  CHECK(brightest <= 202);
}

TEST_CASE("a lens that sees more than a pinhole can is refused in words", "[views]") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "images");
  media::write_image(folder / "images/a.png", media::Image(kWide, kHigh));
  // 120 pixels from the middle at f = 60 are 115 degrees of an equidistant lens.
  test::put(folder / "cameras.txt",
            concat("1 SIMPLE_RADIAL_FISHEYE ", kWide, " ", kHigh, " 60 ", kX, " ", kY, " 0\n"));
  test::put(folder / "images.txt", "1 1 0 0 0 0 0 0 1 a.png\n\n");
  CHECK_THAT(refusal(folder.path(), same_size()),
             Contains("a.png") && Contains("too wide an angle"));
}
