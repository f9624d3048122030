// Models to posed pictures: parsing, polygons, drawing, the verb.

#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <plugins/views/commands.hpp>
#include <plugins/views/objects/models.hpp>
#include <plugins/views/objects/polygon.hpp>
#include <plugins/views/objects/raster.hpp>
#include <plugins/views/objects/rig.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <numbers>
#include <numeric>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;
using Catch::Contains;
using std::numbers::pi;

/// From -1 to 1; front faces outwards.
const char* kCube =
    "v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1\n"
    "f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n";

Mesh parsed(const std::string& obj, const std::string& mtl = "", Faults* faults = nullptr) {
  Faults own;
  auto mesh = parse_obj(
      obj, "m.obj",
      [&](const std::string& name) {
        if (name != "m.mtl") throw Error(Exit::no_input, name, ": no such file");
        return mtl;
      },
      faults != nullptr ? *faults : own);
  if (faults == nullptr) CHECK(own == Faults{});
  return mesh;
}

/// Of z up, in the unit sphere.
Mesh standing(const std::string& obj, const std::string& mtl = "") {
  auto mesh = parsed(obj, mtl);
  stand(mesh, {1, 0, 0, 0, 1, 0, 0, 0, 1}, /*z_up=*/true, "m.obj");
  return mesh;
}

Camera looking(const Vector& eye, double focal, double size) {
  return {focal, focal, size / 2, size / 2, look_at(eye, {0, 0, 0})};
}

template <class Call>
std::string refusal(Exit code, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(error.code() == code);
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "not refused";
}

std::vector<int> pixel(const media::Image& image, int64_t x, int64_t y) {
  const auto* p = image.at(x, y);
  return {p[0], p[1], p[2], p[3]};
}

int64_t covered(const media::Image& image) {
  int64_t count = 0;
  for (size_t i = 3; i < image.pixels.size(); i += 4) count += image.pixels[i] > 0;
  return count;
}

/// A square in the plane x = 0, from -1 to 1 in y and z, whose front looks along +x.
std::string square(double x = 0, const std::string& before = "") {
  const auto at = std::to_string(x);
  return before + "v " + at + " -1 -1\nv " + at + " 1 -1\nv " + at + " 1 1\nv " + at + " -1 1\n";
}

// --- parsing -------------------------------------------------------------------------------------

TEST_CASE("a cube is twelve triangles, by indices from the front or the back") {
  CHECK(parsed(kCube).triangles.size() == 12);
  const auto mesh = parsed(
      "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\n"
      "f -3/-3/-1 -2/-2/-1 -1/-1/-1\n");
  REQUIRE(mesh.triangles.size() == 1);
  for (int32_t k = 0; k < 3; ++k) {
    const auto& corner = mesh.triangles[0].corners[static_cast<size_t>(k)];
    CHECK(corner.place == k);
    CHECK(corner.texture == k);
    CHECK(corner.normal == 0);
  }
}

TEST_CASE("materials are found by the rest of their lines") {
  const auto mesh = parsed("mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl dark wood \nf 1 2 3\n",
                           "newmtl white\nKd 1 1 1\nnewmtl dark wood\nKd 0.2 0.1 0\nd 0.5\n"
                           "map_Kd wood grain.png\nmap_d holes.png\n");
  REQUIRE(mesh.triangles[0].material == 1);
  const auto& wood = mesh.materials[1];
  CHECK(wood.colour == std::array<float, 3>{0.2f, 0.1f, 0});
  CHECK(wood.opacity == 0.5f);
  CHECK(wood.picture == "wood grain.png");
  CHECK(wood.mask == "holes.png");
}

TEST_CASE("what is wrong with a usable model is a line each") {
  Faults faults;
  parsed("mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\nf 1 2 9\nf 1 2 -4\n", "",
         &faults);
  REQUIRE(faults.size() == 2);
  CHECK_THAT(faults[0], Contains("m.obj: mtllib gone.mtl: gone.mtl: no such file"));
  CHECK_THAT(faults[1], Contains("m.obj: 2 faces left out"));
  faults.clear();
  parsed("mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl a\nf 1 2 3\nusemtl b\nf 3 2 1\n",
         "newmtl c\n", &faults);
  REQUIRE(faults.size() == 1);
  CHECK_THAT(faults[0], Contains("material a is in none of its MTL files"));
}

TEST_CASE("what is no model is refused in one line") {
  const auto told = [](const std::string& obj) {
    return refusal(Exit::data, [&] { parsed(obj); });
  };
  CHECK_THAT(told(""), Contains("m.obj: holds no face"));
  CHECK_THAT(told("v 0 0 0\nv 1 0 0\nl 1 2\n"), Contains("holds no face"));
  CHECK_THAT(told(std::string("\x4c\x01\x07\0\xff\xfe f 1\n", 10)), Contains("holds no face"));
  auto dot = parsed("v 1 1 1\nf 1 1 1\n");
  CHECK_THAT(refusal(Exit::data,
                     [&] {
                       stand(dot, {1, 0, 0, 0, 1, 0, 0, 0, 1}, true, "dot.obj");
                     }),
             Contains("dot.obj: the model has no extent"));
}

TEST_CASE("a model stands upright in the middle and reaches as far as 1") {
  // y is up: 4 high, 2 wide, 0 deep; an unused vertex far away changes nothing.
  auto mesh = parsed("v 0 0 5\nv 2 0 5\nv 2 4 5\nv 0 4 5\nv 1e9 0 0\nf 1 2 3 4\n");
  stand(mesh, {1, 0, 0, 0, 1, 0, 0, 0, 1}, /*z_up=*/false, "m.obj");
  const auto half = static_cast<float>(1 / std::sqrt(5.0));
  CHECK(mesh.places[2][0] == Approx(half));
  CHECK(mesh.places[2][1] == Approx(0).margin(1e-6));
  CHECK(mesh.places[2][2] == Approx(2 * half));
  CHECK(mesh.places[0][2] == Approx(-2 * half));
  // A catalogue's rotation comes first: this one makes z-up models y-up.
  auto turned = parsed("v 0 5 0\nv 2 5 0\nv 2 5 4\nv 0 5 4\nf 1 2 3 4\n");
  stand(turned, {1, 0, 0, 0, 0, 1, 0, -1, 0}, /*z_up=*/false, "m.obj");
  CHECK(turned.places[2][2] == Approx(2 * half));
}

// --- polygons ------------------------------------------------------------------------------------

/// Area of a triangle in the plane z = 0, positive if counter-clockwise.
double area(const Point& a, const Point& b, const Point& c) {
  return 0.5 * ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]));
}

void check_triangles(const std::vector<Point>& corners, double want) {
  const auto triangles = triangulate(corners);
  CHECK(triangles.size() == corners.size() - 2);
  double sum = 0, least = 0;
  for (const auto& [a, b, c] : triangles) {
    const double one = area(corners[a], corners[b], corners[c]);
    sum += one;
    least = std::min(least, one);
  }
  CHECK(sum == Approx(want));
  CHECK(least > -1e-6);  // none lies over another
}

TEST_CASE("triangles cover a polygon once, whatever its form") {
  check_triangles({{0, 0, 0}, {2, 0, 0}, {2, 1, 0}, {0, 1, 0}}, 2);
  check_triangles({{0, 0, 0}, {4, 0, 0}, {0.5, 0.5, 0}, {0, 4, 0}}, 2);  // an arrow head
  check_triangles({{0, 0, 0},
                   {3, 0, 0},
                   {3, 3, 0},
                   {2, 3, 0},
                   {2, 1, 0},  // a U
                   {1, 1, 0},
                   {1, 3, 0},
                   {0, 3, 0}},
                  7);
  check_triangles({{0, 0, 0},
                   {4, 0, 0},
                   {4, 4, 0},
                   {0, 4, 0},
                   {0, 0, 0},  // a square with a hole
                   {1, 1, 0},
                   {1, 3, 0},
                   {3, 3, 0},
                   {3, 1, 0},
                   {1, 1, 0}},
                  12);
  std::vector<Point> star;
  double want = 0;
  for (int i = 0; i < 300; ++i) {  // more corners than a byte counts
    const double r = i % 2 == 0 ? 2 : 1, angle = 2 * pi * i / 300;
    star.push_back(
        {static_cast<float>(r * std::cos(angle)), static_cast<float>(r * std::sin(angle)), 0});
    want += 0.5 * 2 * std::sin(2 * pi / 300);
  }
  check_triangles(star, want);
}

TEST_CASE("a polygon without area or with two corners is no problem") {
  CHECK(triangulate({{0, 0, 0}, {1, 0, 0}}).empty());
  CHECK(triangulate({{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}).size() == 2);
  // It crosses itself: some triangles, no more than corners - 2.
  CHECK(triangulate({{0, 0, 0}, {1, 1, 0}, {1, 0, 0}, {0, 1, 0}, {-1, 0.5, 0}}).size() == 3);
}

// --- drawing -------------------------------------------------------------------------------------

TEST_CASE("a cube seen from the front covers the square that its front face projects to") {
  const auto mesh = standing(kCube);
  const double half = 1 / std::sqrt(3.0);  // its corners are 1 away from the middle
  // Of 64 pixels the front face, 3 - half away, covers 16 on each side of the middle.
  const auto image = Renderer(mesh, 64, 64, 2).draw(looking({3, 0, 0}, 16 * (3 - half) / half, 64));
  for (int64_t y = 0; y < 64; ++y)
    for (int64_t x = 0; x < 64; ++x) {
      const bool inside = x >= 16 && x < 48 && y >= 16 && y < 48;
      if (image.at(x, y)[3] != (inside ? 255 : 0)) FAIL("pixel " << x << ", " << y);
    }
}

TEST_CASE("a cube seen from anywhere covers the points between its projected corners") {
  const auto mesh = standing(kCube);
  const Vector eye = GENERATE(Vector{2.1, 1.3, 0.9}, Vector{-1.5, 2, -1.2}, Vector{0.4, -2.6, 2});
  const auto camera = looking(eye, 55, 48);
  const auto w2c = inverse(camera.c2w);
  std::vector<std::array<double, 2>> corners;
  const double half = 1 / std::sqrt(3.0);
  for (int i = 0; i < 8; ++i) {
    const double p[3] = {i & 1 ? half : -half, i & 2 ? half : -half, i & 4 ? half : -half};
    double q[3];
    for (int r = 0; r < 3; ++r)
      q[r] = w2c(r, 0) * p[0] + w2c(r, 1) * p[1] + w2c(r, 2) * p[2] + w2c(r, 3);
    corners.push_back({camera.fx * q[0] / q[2] + 24, camera.fy * q[1] / q[2] + 24});
  }
  // A point is in the hull unless some line through two corners has all of them on its other side;
  // `slack` pixels from such a line it may be counted either way.
  const auto beyond = [&](double x, double y) {
    double most = -1e9;
    for (const auto& a : corners)
      for (const auto& b : corners) {
        const double dx = b[0] - a[0], dy = b[1] - a[1], length = std::hypot(dx, dy);
        if (length < 1e-9) continue;
        const auto side = [&](double px, double py) {
          return (dx * (py - a[1]) - dy * (px - a[0])) / length;
        };
        bool edge = true;
        for (const auto& c : corners) edge &= side(c[0], c[1]) <= 1e-9;
        if (edge) most = std::max(most, side(x, y));
      }
    return most;  // above 0: outside
  };
  const auto image = Renderer(mesh, 48, 48, 2).draw(camera);
  int64_t unsure = 0;
  for (int64_t y = 0; y < 48; ++y)
    for (int64_t x = 0; x < 48; ++x) {
      int least = 0, most = 0;
      for (const double dy : {0.25, 0.75})
        for (const double dx : {0.25, 0.75}) {
          const double out = beyond(static_cast<double>(x) + dx, static_cast<double>(y) + dy);
          least += out < -0.01;
          most += out < 0.01;
        }
      const int alpha = image.at(x, y)[3];
      unsure += least != most;
      CHECK(alpha >= least * 255 / 4);
      CHECK(alpha <= most * 255 / 4 + 1);
    }
  CHECK(unsure < 30);
}

TEST_CASE("a picture on a surface is upright, and its left is left") {
  test::TemporaryFolder folder;
  media::Image picture(4, 4);  // each colour of 2 x 2 texels: between their middles it is pure
  const uint8_t colours[4][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 0}};
  for (int i = 0; i < 16; ++i)
    std::copy_n(colours[i / 8 * 2 + i % 4 / 2], 3, picture.at(i % 4, i / 4));
  media::write_image(folder / "p.png", picture);
  io::write_text(folder / "m.mtl", "newmtl p\nKd 0.64 0.64 0.64\nmap_Kd p.png\n");
  io::write_text(folder / "m.obj", square(0, "mtllib m.mtl\nusemtl p\n") +
                                       "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\n");
  Faults faults;
  auto mesh = read_obj(folder / "m.obj", faults);
  CHECK(faults == Faults{});
  stand(mesh, {1, 0, 0, 0, 1, 0, 0, 0, 1}, true, "m");
  // From +x, y is to the right and z is up. The square fills 64 pixels: 1 / sqrt(2) at 3.
  const auto image =
      Renderer(mesh, 64, 64, 2).draw(looking({3, 0, 0}, 32 * 3 * std::sqrt(2.0), 64));
  const auto colour = [&](int64_t x, int64_t y) {
    const auto p = pixel(image, x, y);
    return std::vector<bool>{p[0] > 60, p[1] > 60, p[2] > 60};
  };
  CHECK(colour(15, 15) == std::vector<bool>{true, false, false});
  CHECK(colour(48, 15) == std::vector<bool>{false, true, false});
  CHECK(colour(15, 48) == std::vector<bool>{false, false, true});
  CHECK(colour(48, 48) == std::vector<bool>{true, true, false});
  // The light on a wall that faces +x: 0.5 + 0.5 ((1 + 0.5 / |(0.5, 0.35, 0.8)|) / 2)^2.
  const double half = 0.5 + 0.25 / std::hypot(0.5, 0.35, 0.8);
  CHECK(pixel(image, 15, 15)[0] == Approx(255 * (0.5 + 0.5 * half * half)).margin(1));
  // Seen from behind the same corner is on the other side.
  const auto back =
      Renderer(mesh, 64, 64, 2).draw(looking({-3, 0, 0}, 32 * 3 * std::sqrt(2.0), 64));
  CHECK(pixel(back, 48, 15)[0] > 60);
  CHECK(pixel(back, 48, 15)[1] == 0);
}

TEST_CASE("a picture far away is the mean of its colours") {
  media::Image picture(64, 64);
  for (int64_t i = 0; i < 64 * 64; ++i)  // black and white squares of one texel
    std::fill_n(picture.at(i % 64, i / 64), 3, uint8_t((i % 64 + i / 64) % 2 * 255));
  const Texture texture(picture);
  CHECK(texture.at(0.3f, 0.7f, 2, false)[0] == Approx(0.5).margin(0.01));
  CHECK(texture.at(0.5f / 64, 0.5f / 64, 0.5f, false)[0] == Approx(1));
  CHECK(texture.at(1 + 0.5f / 64, -1 + 0.5f / 64, 0.5f, false)[0] == Approx(1));  // repeated
  CHECK(texture.at(9, 9, 0.5f, true)[0] == Approx(1));                            // its corners
  CHECK(texture.at(-9, 9, 0.5f, true)[0] == Approx(0));
  CHECK(std::isfinite(texture.at(NAN, INFINITY, NAN, false)[0]));
}

TEST_CASE("surfaces are seen from both sides") {
  const auto mesh = standing(square() + "f 1 2 3 4\n");
  Renderer renderer(mesh, 32, 32, 1);
  const auto front = renderer.draw(looking({3, 0.5, 0.2}, 40, 32));
  const auto back = renderer.draw(looking({-3, -0.5, -0.2}, 40, 32));
  CHECK(covered(front) > 250);
  CHECK(covered(front) == covered(back));
  for (const auto* image : {&front, &back}) CHECK(pixel(*image, 16, 16)[1] > 80);
}

TEST_CASE("of two surfaces in one place the one whose front is seen is seen, without stripes") {
  const auto mesh = standing(square(0, "mtllib m.mtl\n") + square(1e-5) +
                                 "usemtl red\nf 1 2 3\nf 1 3 4\nusemtl blue\nf 8 7 6\nf 8 6 5\n",
                             "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n");
  Renderer renderer(mesh, 48, 48, 2);
  for (const double side : {1.0, -1.0}) {
    const auto image = renderer.draw(looking({1.5 * side, 1.7, 0.8}, 60, 48));
    CHECK(covered(image) > 300);
    int64_t wrong = 0;
    for (int64_t i = 0; i < 48 * 48; ++i)
      wrong += image.pixels[size_t(4 * i + (side > 0 ? 2 : 0))] > 0;
    CHECK(wrong == 0);
  }
}

TEST_CASE("what lets through is mixed with what is behind it, and leaves the rest open") {
  // One square at x = 0, which covers the right half, and one before it over all.
  const std::string obj = "mtllib m.mtl\n" + square(0.1) +
                          "v 0 0 -1\nv 0 1 -1\nv 0 1 1\nv 0 0 1\n" +
                          "usemtl glass\nf 1 2 3 4\nusemtl wall\nf 5 6 7 8\n";
  const auto mesh = standing(obj, "newmtl glass\nKd 1 0 0\nd 0.25\nnewmtl wall\nKd 0 0 1\n");
  const auto image = Renderer(mesh, 64, 64, 2).draw(looking({3, 0, 0}, 90, 64));
  const auto open = pixel(image, 20, 32), wall = pixel(image, 40, 32);
  CHECK(open[3] == 64);
  CHECK(open[2] == 0);
  CHECK(open[0] > 150);  // alpha is not multiplied in
  CHECK(wall[3] == 255);
  CHECK(double(wall[0]) / wall[2] == Approx(0.25 / 0.75).margin(0.02));
  // From behind the wall hides its half of the glass.
  const auto back = Renderer(mesh, 64, 64, 2).draw(looking({-3, 0, 0}, 90, 64));
  CHECK(pixel(back, 23, 32)[0] == 0);
  CHECK(pixel(back, 44, 32)[3] == 64);
  // Two panes: 1 - 0.75^2.
  const auto panes = standing(
      "mtllib m.mtl\nusemtl glass\n" + square(0.1) + square(-0.1) + "f 1 2 3 4\nf 5 6 7 8\n",
      "newmtl glass\nKd 1 0 0\nd 0.25\n");
  CHECK(pixel(Renderer(panes, 64, 64, 2).draw(looking({3, 0, 0}, 90, 64)), 32, 32)[3] == 112);
}

TEST_CASE("neighbours that let through share their edge once") {
  // A square of glass in 2 x 8 x 8 triangles: a point drawn twice would be darker, one left out
  // open.
  std::string obj = "mtllib m.mtl\nusemtl glass\n";
  for (int i = 0; i <= 8; ++i)
    for (int j = 0; j <= 8; ++j) obj += concat("v 0 ", i / 4.0 - 1, " ", j / 4.0 - 1, "\n");
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) {
      const int a = 9 * i + j + 1;
      obj += concat("f ", a, " ", a + 9, " ", a + 10, "\nf ", a, " ", a + 10, " ", a + 1, "\n");
    }
  const auto mesh = standing(obj, "newmtl glass\nKd 1 0 0\nd 0.5\n");
  Renderer renderer(mesh, 96, 96, 2);
  for (const double angle : {0.0, 0.3, 0.9}) {
    const auto image =
        renderer.draw(looking({3 * std::cos(angle), 3 * std::sin(angle), 0}, 96, 96));
    for (int64_t y = 40; y < 56; ++y)
      for (int64_t x = 40; x < 56; ++x)
        if (image.at(x, y)[3] != 128) FAIL("pixel " << x << ", " << y << " at " << angle);
  }
}

TEST_CASE("a picture's alpha cuts holes, and a mask does so too") {
  test::TemporaryFolder folder;
  const bool masked = GENERATE(false, true);
  media::Image picture(8, 8, masked ? 3 : 4), mask(4, 4);
  std::fill(picture.pixels.begin(), picture.pixels.end(), uint8_t{255});
  for (int64_t y = 0; y < 8 && !masked; ++y)
    for (int64_t x = 0; x < 4; ++x) picture.at(x, y)[3] = 0;  // the left half is open
  for (int64_t y = 0; y < 4; ++y)
    for (int64_t x = 2; x < 4; ++x) std::fill_n(mask.at(x, y), 3, uint8_t{255});
  media::write_image(folder / "p.png", picture);
  media::write_image(folder / "d.png", mask);
  io::write_text(folder / "m.mtl", std::string("newmtl p\nmap_Kd .\\other\\p.png\n") +
                                       (masked ? "d 0\nmap_d d.png\n" : ""));
  io::write_text(folder / "m.obj", square(0, "mtllib m.mtl\nusemtl p\n") +
                                       "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\n");
  Faults faults;
  auto mesh = read_obj(folder / "m.obj", faults);
  CHECK(faults == Faults{});
  stand(mesh, {1, 0, 0, 0, 1, 0, 0, 0, 1}, true, "m");
  const auto image =
      Renderer(mesh, 64, 64, 2).draw(looking({3, 0, 0}, 32 * 3 * std::sqrt(2.0), 64));
  CHECK(pixel(image, 12, 32)[3] == 0);
  CHECK(pixel(image, 52, 32)[3] >= 250);  // a mask that is enlarged rings
}

TEST_CASE("from inside a cube there is wall everywhere") {
  const auto mesh = standing(kCube);
  const auto image = Renderer(mesh, 32, 32, 2).draw(looking({0.3, 0.2, 0.1}, 10, 32));
  CHECK(covered(image) == 32 * 32);
  for (size_t i = 3; i < image.pixels.size(); i += 4) REQUIRE(image.pixels[i] == 255);
}

TEST_CASE("normals of the file round a surface that is flat without them") {
  const auto shades = [](const std::string& face) {
    const auto mesh = standing(square() + "vn 1 -2 0\nvn 1 2 0\n" + face);
    const auto image = Renderer(mesh, 64, 64, 1).draw(looking({3, 0, 0}, 90, 64));
    return std::vector<int>{pixel(image, 18, 32)[0], pixel(image, 46, 32)[0]};
  };
  const auto flat = shades("f 1 2 3 4\n"), round = shades("f 1//1 2//2 3//2 4//1\n");
  CHECK(flat[0] == flat[1]);
  CHECK(round[1] > round[0] + 20);  // the light comes from +y
  // Normals that point to the wrong side are turned.
  const auto inwards = standing(square() + "vn -1 2 0\nvn -1 -2 0\nf 1//1 2//2 3//2 4//1\n");
  const auto image = Renderer(inwards, 64, 64, 1).draw(looking({3, 0, 0}, 90, 64));
  CHECK(pixel(image, 46, 32)[0] == round[1]);
}

// --- cameras and names ---------------------------------------------------------------------------

TEST_CASE("random cameras stand at one distance between the elevations, each area alike") {
  Rig rig;
  rig.views = 4000;
  const auto cameras = cameras_of(rig, 1, "chair");
  double sum = 0, sine = std::sin(pi / 18);
  for (const auto& camera : cameras) {
    const auto eye = camera.position();
    const double z = eye[2] / 2.7;
    CHECK(dot(eye, eye) == Approx(2.7 * 2.7));
    CHECK(z > -sine - 1e-9);
    CHECK(z < std::sin(70 * pi / 180) + 1e-9);
    sum += z / 4000;
  }
  // The height of a point on a sphere is uniform. Its mean of 4000 is within 4 deviations.
  const double high = std::sin(70 * pi / 180);
  CHECK(sum == Approx((high - sine) / 2).margin(4 * (high + sine) / std::sqrt(12.0 * 4000)));
  CHECK(cameras[0].fx == Approx(64 / std::tan(25 * pi / 180)));
  CHECK(cameras_of(rig, 1, "chair")[7].c2w == cameras[7].c2w);
  CHECK_FALSE(cameras_of(rig, 1, "table")[7].c2w == cameras[7].c2w);
  CHECK_FALSE(cameras_of(rig, 2, "chair")[7].c2w == cameras[7].c2w);
}

TEST_CASE("four rings of sixteen are the cameras of the sample scene") {
  // data/views/gso_toy: image i is on ring i / 16 at 0, 20, 40, 60 degrees, 22.5 degrees apart.
  Rig rig;
  rig.views = 64, rig.rings = 4, rig.lowest = 0, rig.highest = 60, rig.size = 512;
  const auto cameras = cameras_of(rig, 0, "");
  CHECK(cameras[0].fx == Approx(548.99).margin(0.01));
  CHECK(cameras[0].cx == 256);
  for (int i : {0, 5, 16, 37, 63}) {
    const auto eye = cameras[static_cast<size_t>(i)].position();
    CHECK(eye[2] == Approx(2.7 * std::sin(i / 16 * 20 * pi / 180)).margin(1e-9));
    CHECK(std::cos(std::atan2(eye[1], eye[0])) == Approx(std::cos(i % 16 * pi / 8)).margin(1e-9));
  }
  rig.rings = 5;
  CHECK_THAT(refusal(Exit::usage, [&] { cameras_of(rig, 0, ""); }), Contains("does not divide"));
}

TEST_CASE("a narrow field of view stands farther off") {
  Rig rig;
  rig.fov = 20;
  const auto eye = cameras_of(rig, 0, "")[0].position();
  // The unit sphere takes the same share of the picture: sin(25) / sin(10) times as far.
  CHECK(std::sqrt(dot(eye, eye)) ==
        Approx(2.7 * std::sin(25 * pi / 180) / std::sin(10 * pi / 180)));
}

TEST_CASE("models are called as their catalogue calls them, and turned as it says") {
  test::TemporaryFolder folder;
  const auto put = [&](const std::string& name, const std::string& text) {
    fs::create_directories((folder / name).parent_path());
    io::write_text(folder / name, text);
  };
  for (const char* name : {"lib/x/chair1/chair1.obj", "lib/x/chair2/chair2.OBJ", "lib/x/bill.obj",
                           "lib/x/new.obj", "other/set/mug/mug.obj", "other/mug.obj"})
    put(name, kCube);
  put("lib/x/readme.txt", "");
  put("lib/PluginFurnitureCatalog.properties",
      "# comment\nname#1=Caf\xe9 chair (red)\r\nmodel#1=/x/chair1/chair1.obj\nname#2=Caf\xe9 chair "
      "(red)\nmodel#2=/x/chair2/chair2.OBJ\nmodelRotation#2=1 0 0 0 0 1 0 -1 0\n"
      "name#3=Bill 5 \\u20ac \\u00C9\nmodel#3=/x/bill.obj\nmodelRotation#3=1 2 3\n");
  std::vector<std::string> names;
  const auto models = find_models({folder.path().string()});
  for (const auto& model : models) names.push_back(model.name);
  CHECK(names == std::vector<std::string>{"bill-5-e.bill", "cafe-chair-red.chair1",
                                          "cafe-chair-red.chair2", "lib.x.new", "other.mug",
                                          "other.set.mug"});
  CHECK(models[2].rotation == Rotation{1, 0, 0, 0, 0, 1, 0, -1, 0});
  CHECK(models[0].rotation == Rotation{1, 0, 0, 0, 1, 0, 0, 0, 1});  // not nine numbers
  // Two folders of the same form: names stay apart.
  names.clear();
  for (const auto& model :
       find_models({(folder / "other/set/mug").string(), (folder / "other/mug.obj").string()}))
    names.push_back(model.name);
  CHECK(names == std::vector<std::string>{"mug", "mug.2"});
  CHECK_THAT(refusal(Exit::no_input, [&] { find_models({(folder / "gone").string()}); }),
             Contains("no such file or folder"));
  fs::create_directories(folder / "empty");
  CHECK_THAT(refusal(Exit::usage, [&] { find_models({(folder / "empty").string()}); }),
             Contains("no OBJ file"));
}

// --- the verb ------------------------------------------------------------------------------------

void run(const std::vector<std::string>& arguments, int threads = 1, uint64_t seed = 5) {
  log::set_level(log::Level::error);
  cli::CommandLine line;
  const auto verb = tokenize_objects();
  verb->declare(line.options());
  line.parse(arguments);
  cli::Context context;
  context.threads = threads;
  context.seed = seed;
  verb->run(context);
}

/// Every file of a folder: its path and bytes.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      out[entry.path().lexically_relative(folder).string()] = io::read_text(entry.path());
  return out;
}

TEST_CASE("a folder of models becomes scenes, the same bytes for the same seed on any threads") {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "in");
  for (const char* name : {"a", "b", "c", "d"})
    io::write_text(folder / concat("in/", name, ".obj"), kCube);
  const std::vector<std::string> models{(folder / "in").string(), "--views", "3", "--size", "24"};
  const auto drawn = [&](const std::string& name, int threads, uint64_t seed) {
    auto arguments = models;
    arguments.insert(arguments.end(), {"-o", (folder / name).string()});
    run(arguments, threads, seed);
    return contents(folder / name);
  };
  const auto first = drawn("one", 1, 5);
  CHECK(first.size() == 4 * (3 + 1) + 1);
  CHECK(first == drawn("two", 3, 5));
  CHECK_FALSE(first == drawn("three", 1, 6));
  const auto scenes = nlohmann::json::parse(first.at("scenes.json"));
  CHECK(scenes == nlohmann::json{"a/opencv_cameras.json", "b/opencv_cameras.json",
                                 "c/opencv_cameras.json", "d/opencv_cameras.json"});
  const auto cameras = nlohmann::json::parse(first.at("b/opencv_cameras.json"));
  REQUIRE(cameras.size() == 3);
  CHECK(cameras[2]["file_path"] == "images/002.png");
  CHECK(cameras[2]["w"] == 24);
  const auto image = media::read_image(folder / "one/b/images/002.png");
  CHECK(image.channels == 4);
  CHECK(image.width == 24);
  CHECK(covered(image) > 50);
  CHECK(image.at(0, 0)[3] == 0);
}

TEST_CASE("a broken model, texture or material file is passed over, or ends a strict run") {
  test::TemporaryFolder folder;
  const auto in = folder / "in";
  fs::create_directories(in);
  io::write_text(in / "broken.obj", "no model at all\n");
  io::write_text(in / "good.obj", kCube);
  io::write_text(in / "torn.png", "\x89PNG\r\n\x1a\nno more");
  io::write_text(in / "torn.mtl", "newmtl t\nKd 0 1 0\nmap_Kd torn.png\n");
  io::write_text(in / "torn.obj", "mtllib torn.mtl\nusemtl t\n" + std::string(kCube));
  const std::vector<std::string> arguments{
      in.string(), "-o", (folder / "out").string(), "--views", "2", "--size", "16"};
  run(arguments);
  const auto scenes = nlohmann::json::parse(io::read_text(folder / "out/scenes.json"));
  CHECK(scenes == nlohmann::json{"good/opencv_cameras.json", "torn/opencv_cameras.json"});
  const auto plain = media::read_image(folder / "out/torn/images/000.png");
  CHECK(pixel(plain, 8, 8)[1] > 100);  // its plain colour, green
  CHECK(pixel(plain, 8, 8)[0] == 0);
  CHECK_FALSE(fs::exists(folder / "out/broken"));
  auto strict = arguments;
  strict.push_back("--strict");
  CHECK_THAT(refusal(Exit::data, [&] { run(strict); }), Contains("broken.obj: holds no face"));
  fs::remove(in / "broken.obj");
  CHECK_THAT(refusal(Exit::data, [&] { run(strict); }), Contains("torn.obj: texture: "));
  fs::remove(in / "torn.obj");
  fs::remove(in / "good.obj");
  io::write_text(in / "broken.obj", "no model at all\n");
  CHECK_THAT(refusal(Exit::data, [&] { run(arguments); }), Contains("no model could be drawn"));
}

TEST_CASE("a model next to invisible is left out, with nothing in its place") {
  test::TemporaryFolder folder;
  io::write_text(folder / "ghost.obj", "mtllib ghost.mtl\nusemtl g\n" + std::string(kCube));
  io::write_text(folder / "ghost.mtl", "newmtl g\nd 0.01\n");
  io::write_text(folder / "cube.obj", kCube);
  const auto out = (folder / "out").string();
  run({folder.path().string(), "-o", out, "--views", "2", "--size", "16"});
  CHECK(nlohmann::json::parse(io::read_text(folder / "out/scenes.json")).size() == 1);
  CHECK(contents(folder / "out").size() == 4);
  run({folder.path().string(), "-o", out, "--views", "2", "--size", "16", "--min-coverage", "0"});
  CHECK(nlohmann::json::parse(io::read_text(folder / "out/scenes.json")).size() == 2);
}

TEST_CASE("a limit takes models from the whole list") {
  test::TemporaryFolder folder;
  for (const char* name : {"a", "b", "c", "d", "e", "f"})
    io::write_text(folder / concat(name, ".obj"), kCube);
  run({folder.path().string(), "-o", (folder / "out").string(), "--views", "1", "--size", "8",
       "--limit", "3"});
  CHECK(nlohmann::json::parse(io::read_text(folder / "out/scenes.json")) ==
        nlohmann::json{"a/opencv_cameras.json", "c/opencv_cameras.json", "e/opencv_cameras.json"});
}

}  // namespace
}  // namespace lact::views::objects
