// Cameras, camera paths and the choice of views.

#include "support/golden.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/views/camera/camera.hpp>
#include <plugins/views/camera/choose_views.hpp>
#include <plugins/views/camera/trajectory.hpp>
#include <plugins/views/verify/golden_trajectories.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <numbers>
#include <set>

namespace lact::views {
namespace {

using Catch::Contains;
using std::numbers::pi;

// Golden values are float32; the bound is that of the golden files.
constexpr double kGolden = 3.2e-6;

const io::SafeTensors& golden() {
  static const auto file =
      io::SafeTensors::open(test::source_root() / "tests/golden/views/cameras.safetensors");
  return file;
}

std::vector<Matrix> matrices(const std::string& name) {
  const auto all = golden().tensor(name).to(at::kDouble).reshape({-1, 4, 4}).contiguous();
  std::vector<Matrix> out(static_cast<size_t>(all.size(0)));
  const auto* data = all.const_data_ptr<double>();
  for (auto& matrix : out)
    for (auto& one : matrix.m) one = *data++;
  return out;
}

double distance(const Matrix& a, const Matrix& b) {
  double worst = 0;
  for (size_t i = 0; i < 16; ++i) worst = std::max(worst, std::abs(a.m[i] - b.m[i]));
  return worst;
}

double distance(const Vector& a, const Vector& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

Camera camera(const Vector& eye, const Vector& target, const Vector& up = {0, 0, 1}) {
  return {100, 100, 50, 50, look_at(eye, target, up)};
}

std::vector<Camera> cameras(const std::vector<Matrix>& poses) {
  std::vector<Camera> out;
  for (const auto& pose : poses) out.push_back({100, 100, 50, 50, pose});
  return out;
}

/// Of a turn around z.
Matrix turned(double degrees) {
  const double c = std::cos(degrees * pi / 180), s = std::sin(degrees * pi / 180);
  return {{c, -s, 0, 0, s, c, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}};
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

// --- cameras -------------------------------------------------------------------------------------

TEST_CASE("camera-to-world is the inverse of world-to-camera as the reference has it") {
  const auto w2c = matrices("in.w2c"), c2w = matrices("out.c2w");
  REQUIRE(w2c.size() == c2w.size());
  for (size_t i = 0; i < w2c.size(); ++i) {
    CHECK(distance(inverse(w2c[i]), c2w[i]) < kGolden * 10);  // its positions are up to 10
    CHECK(distance(inverse(w2c[i]) * w2c[i], Matrix{}) < 1e-12);
  }
}

TEST_CASE("a singular matrix has no inverse") {
  Matrix flat;
  flat(2, 2) = 0;
  CHECK_THAT(refusal(Exit::internal, [&] { inverse(flat); }), Contains("singular"));
}

TEST_CASE("a camera on the x axis that looks at the origin has z up in its image") {
  const auto pose = look_at({2, 0, 0}, {0, 0, 0});
  CHECK(pose.column(0) == Vector{0, 1, 0});   // right
  CHECK(pose.column(1) == Vector{0, 0, -1});  // down
  CHECK(pose.column(2) == Vector{-1, 0, 0});  // forward
  CHECK(pose.column(3) == Vector{2, 0, 0});
  CHECK(fault_of_pose(pose).empty());
}

TEST_CASE("what is no pose is told apart") {
  Matrix pose = look_at({1, 2, 3}, {0, 0, 0});
  const auto with = [&](int row, int column, double value) {
    auto out = pose;
    out(row, column) = value;
    return fault_of_pose(out);
  };
  CHECK(with(0, 3, 1e9).empty());
  CHECK(with(0, 0, pose(0, 0) + 2e-4).empty());
  CHECK_THAT(with(1, 3, std::nan("")), Contains("not a number"));
  CHECK_THAT(with(2, 1, INFINITY), Contains("not a number"));
  CHECK_THAT(with(3, 0, 0.1), Contains("last row"));
  CHECK_THAT(with(3, 3, 2), Contains("last row"));
  CHECK_THAT(with(0, 0, pose(0, 0) + 0.1), Contains("not a rotation"));
  for (int r = 0; r < 3; ++r) pose(r, 0) = -pose(r, 0);
  CHECK_THAT(fault_of_pose(pose), Contains("mirror image"));
}

TEST_CASE("poses are normalised as the reference does it") {
  const auto all = cameras(matrices("in.scene_c2w"));
  const auto want = matrices("out.normalized_c2w");
  const auto rule = normalization(all);
  for (size_t i = 0; i < all.size(); ++i) CHECK(distance(rule(all[i]).c2w, want[i]) < kGolden);
  CHECK(rule(all[0]).fx == all[0].fx);
}

TEST_CASE("cameras that look at each other have no mean direction") {
  const std::vector<Camera> two{camera({1, 0, 0}, {0, 0, 0}), camera({-1, 0, 0}, {0, 0, 0})};
  CHECK_THAT(refusal(Exit::data, [&] { normalization(two); }), Contains("no mean direction"));
}

TEST_CASE("a camera file holds the matrices that lead back to the cameras") {
  const auto one = camera({1, 2, 3}, {0, 1, 0});
  const auto file = cameras_json({one}, {"images/a.png"}, 100, 80);
  REQUIRE(file.size() == 1);
  CHECK(file[0]["file_path"] == "images/a.png");
  CHECK(file[0]["w"] == 100);
  CHECK(file[0]["h"] == 80);
  Matrix w2c;
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) w2c(r, c) = file[0]["w2c"][r][c].get<double>();
  CHECK(distance(w2c * one.c2w, Matrix{}) < 1e-12);
}

// --- paths ---------------------------------------------------------------------------------------

TEST_CASE("turntables and interpolated paths are those of the reference") {
  const auto results = test::replay_golden("views", {trajectories_kind()});
  CHECK(test::count_kind(results, "trajectories") == 1);
  CHECK(test::tensors_with(verify::Verdict::fail, results) == "");
  CHECK(test::tensors_with(verify::Verdict::skipped, results) == "");
}

TEST_CASE("a turntable of one frame is a photograph from 30 degrees above") {
  const auto path = turntable(1, 64, 32);
  REQUIRE(path.cameras.size() == 1);
  const auto eye = path.cameras[0].position();
  CHECK(eye[2] == Approx(2.35 * 0.5));
  CHECK(path.cameras[0].fx == Approx(32 / std::tan(25 * pi / 180)));  // horizontal, of the width
  CHECK(path.cameras[0].cy == 16);
}

TEST_CASE("an arc between two rotations is cut into equal angles, a line is not a rotation") {
  Camera a{100, 100, 50, 50, turned(0)}, b{200, 100, 50, 50, turned(90)};
  b.c2w(0, 3) = 3;
  const auto arc = interpolate({a, b}, 2, 100, 100, Blend::slerp);
  REQUIRE(arc.cameras.size() == 4);
  for (int i = 0; i < 4; ++i) {
    auto want = turned(30 * i);
    want(0, 3) = i;
    CHECK(distance(arc.cameras[static_cast<size_t>(i)].c2w, want) < 1e-12);
  }
  CHECK(arc.cameras[1].fx == Approx(133.333333));
  const auto line = interpolate({a, b}, 1, 100, 100);
  CHECK(line.cameras[1].c2w(0, 0) == Approx(0.5));
  CHECK(line.cameras[1].c2w(1, 0) == Approx(0.5));
}

TEST_CASE("half-way on an arc is the same turn from both ends, whatever the rotations") {
  // Cameras around a sphere: turns of up to 180 degrees, every branch of the conversion.
  std::vector<Camera> ring;
  for (int i = 0; i < 40; ++i)
    ring.push_back(camera({std::cos(i * 2.4), std::sin(i * 2.4), std::sin(i * 1.7)}, {0, 0, 0},
                          {std::sin(i * 0.9), std::cos(i * 1.3), 0.5}));
  const auto path = interpolate(ring, 1, 100, 100, Blend::slerp);
  for (size_t i = 0; i + 2 < path.cameras.size(); i += 2) {
    Matrix a = path.cameras[i].c2w, m = path.cameras[i + 1].c2w, b = path.cameras[i + 2].c2w;
    REQUIRE(fault_of_pose(m).empty());
    for (auto* one : {&a, &m, &b})
      for (int r = 0; r < 3; ++r) (*one)(r, 3) = 0;
    CHECK(distance(m * inverse(a), b * inverse(m)) < 1e-9);
  }
}

TEST_CASE("a path of N frames begins at the first view and ends at the last") {
  const std::vector<Camera> views{camera({1, 0, 0}, {9, 0, 0}), camera({2, 0, 0}, {9, 0, 0}),
                                  camera({4, 0, 0}, {9, 0, 0})};
  const auto path = resample(views, 5, 100, 100);
  std::vector<double> x;
  for (const auto& one : path.cameras) x.push_back(one.position()[0]);
  CHECK(x == std::vector<double>{1, 1.5, 2, 3, 4});
  CHECK(resample(views, 1, 100, 100).cameras[0].position()[0] == 1);
  CHECK_THAT(refusal(Exit::usage, [&] { resample(views, 0, 100, 100); }), Contains("frames"));
  CHECK_THAT(refusal(Exit::usage, [&] { resample({}, 3, 100, 100); }), Contains("no view"));
}

TEST_CASE("the focus is the point that all cameras look at") {
  const Vector target{1, 2, 3};
  const std::vector<Camera> views{camera({5, 2, 4}, target), camera({5, 3, 3}, target),
                                  camera({5, 1, 2}, target)};
  CHECK(distance(focus(views), target) < 1e-9);
}

TEST_CASE("where lines of sight are parallel the focus is ten times the spread away") {
  std::vector<Camera> views;
  for (const double y : {-2.0, 0.0, 2.0}) views.push_back(camera({0, y, 0}, {1, y, 0}));
  CHECK(distance(focus(views), {20, 0, 0}) < 1e-9);
  CHECK(distance(focus({camera({0, 0, 0}, {1, 0, 0})}), {1, 0, 0}) < 1e-9);
}

TEST_CASE("a spiral stays among the views and looks where they look") {
  std::vector<Camera> views;
  for (int i = 0; i < 11; ++i)  // a bow, one unit wide to each side, five away
    views.push_back(camera({0, 0.2 * (i - 5), 0.1 * (i % 2)}, {5, 0, 0}));
  const auto path = spiral(views, 24, 100, 100);
  REQUIRE(path.cameras.size() == 24);
  const auto target = focus(views);
  double widest = 0;
  for (const auto& one : path.cameras) {
    CHECK(fault_of_pose(one.c2w).empty());
    const Vector to{target[0] - one.position()[0], target[1] - one.position()[1],
                    target[2] - one.position()[2]};
    CHECK(distance(unit(to), one.c2w.column(2)) < 1e-9);
    CHECK(one.c2w.column(1)[2] < -0.9);  // upright
    CHECK(one.fx == Approx(100));
    widest = std::max(widest, std::abs(one.position()[1]));
  }
  // Distances from the middle are 0, .2, .2, ..., 1, 1: nine tenths are within 1.
  CHECK(widest == Approx(1).epsilon(0.05));
}

TEST_CASE("views from all around have no spiral") {
  std::vector<Camera> ring;
  for (int i = 0; i < 8; ++i)
    ring.push_back(camera({std::cos(i * pi / 4), std::sin(i * pi / 4), 0}, {0, 0, 0}));
  CHECK_THAT(refusal(Exit::data, [&] { spiral(ring, 8, 64, 64); }), Contains("turntable"));
}

// --- camera_path.json ----------------------------------------------------------------------------

nlohmann::json camera_path() {
  nlohmann::json file{{"camera_type", "perspective"},
                      {"render_width", 200},
                      {"render_height", 100},
                      {"fps", 24},
                      {"seconds", 2},
                      {"camera_path", nlohmann::json::array()}};
  const auto transforms = matrices("in.nerfstudio_transform");
  for (const auto& one : transforms)
    file["camera_path"].push_back({{"camera_to_world", one.m}, {"fov", 90}, {"aspect", 2}});
  return file;
}

TEST_CASE("a path of nerfstudio turns as its transforms do") {
  const auto path = parse_camera_path(camera_path().dump(), "path.json", nerfstudio_world());
  CHECK(path.width == 200);
  CHECK(path.height == 100);
  CHECK(path.rate == 24);
  const auto want = matrices("out.nerfstudio_w2c");
  REQUIRE(path.cameras.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i)
    CHECK(distance(inverse(path.cameras[i].c2w), want[i]) < kGolden * 10);
  CHECK(path.cameras[0].fy == Approx(50));  // 90 degrees are the height of 100
  CHECK(path.cameras[0].fx == Approx(50));
  CHECK(path.cameras[0].cx == 100);
}

TEST_CASE("without a world a path of nerfstudio only changes axes") {
  nlohmann::json file = camera_path();
  file["camera_path"] = {{{"camera_to_world", Matrix{}.m}, {"fov", 60}}};
  file.erase("fps");
  const auto path = parse_camera_path(file.dump(), "path.json");
  CHECK(path.cameras[0].c2w == Matrix{{1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1}});
  CHECK(path.rate == Approx(0.5));  // one frame in two seconds
}

TEST_CASE("a path of nerfstudio's viewer comes back by what its data parser has done") {
  const nlohmann::json parser{{"transform", {{0, 0, 1, -2}, {1, 0, 0, 3}, {0, 1, 0, 0.5}}},
                              {"scale", 0.25}};
  nlohmann::json file = camera_path();
  const auto poses = matrices("in.nerfstudio_transform");
  for (size_t i = 0; i < poses.size(); ++i) {
    const Matrix turned{{0, 0, 1, -2, 1, 0, 0, 3, 0, 1, 0, 0.5, 0, 0, 0, 1}};
    auto seen = turned * poses[i];
    for (int r = 0; r < 3; ++r) seen(r, 3) *= 0.25;  // positions alone, as nerfstudio does
    file["camera_path"][i]["camera_to_world"] = seen.m;
  }
  const auto path = parse_camera_path(file.dump(), "path.json",
                                      parse_dataparser_world(parser.dump(), "parser.json"));
  for (size_t i = 0; i < poses.size(); ++i)
    CHECK(distance(path.cameras[i].c2w, opencv_axes(poses[i])) < 1e-12);
  CHECK_THAT(refusal(Exit::data, [] { parse_dataparser_world("{}", "parser.json"); }),
             Contains("parser.json: no dataparser_transforms.json"));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto broken = parser;
    broken[key] = value;
    return refusal(Exit::data, [&] { parse_dataparser_world(broken.dump(), "parser.json"); });
  };
  CHECK_THAT(with("scale", 0), Contains("not a scale and a rotation"));
  CHECK_THAT(with("transform", 1), Contains("expected 3 or 4 rows"));
}

TEST_CASE("cameras in another world are far from those that were read, others are not") {
  std::vector<Camera> ring, inside;
  for (int i = 0; i < 8; ++i) {
    ring.push_back(camera({4 * std::cos(i * pi / 4), 4 * std::sin(i * pi / 4), 1}, {0, 0, 0}));
    inside.push_back(camera({std::cos(i * pi / 4), std::sin(i * pi / 4), 0}, {0, 0, 2}));
  }
  CHECK(far_from(ring, ring) == 0);
  CHECK(far_from(ring, inside) == 8);
  CHECK(far_from({ring[0]}, {ring[0]}) == 0);
  // One place tells nothing, and between two views is not far from them.
  CHECK(far_from({ring[0]}, inside) == 0);
  CHECK(far_from({ring[1], ring[1], ring[1]}, inside) == 0);
  CHECK(far_from({ring[0], ring[2]}, {camera({2, 2, 1}, {0, 0, 0})}) == 0);
  CHECK(far_from({ring[0], ring[2]}, {camera({2, 2, 5}, {0, 0, 0})}) == 1);
}

TEST_CASE("a world in a file of ours comes back, and so do the words of earlier versions") {
  const Matrix world{{0, 2, 0, 1, 2, 0, 0, 0, 0, 0, -2, 5, 0, 0, 0, 1}};
  CHECK(world_of(world_json(world), "x") == world);
  CHECK(world_of("nerfstudio", "x") == nerfstudio_world());
  CHECK(world_of("opencv", "x") == Matrix{});
  CHECK_THAT(refusal(Exit::data, [] { world_of("flat", "x"); }), Contains("x: expected a world"));
}

TEST_CASE("a broken camera path is one line that names its place") {
  const auto told = [](const char* key, const nlohmann::json& value) {
    auto file = camera_path();
    if (file["camera_path"][0].contains(key))
      file["camera_path"][1][key] = value;
    else
      file[key] = value;
    return refusal(Exit::data, [&] { parse_camera_path(file.dump(), "p.json"); });
  };
  CHECK_THAT(told("fov", 180), Contains("p.json: camera_path[1]: fov: "));
  CHECK_THAT(told("fov", "wide"), Contains("expected a number, found \"wide\""));
  CHECK_THAT(told("camera_to_world", {1, 2, 3}), Contains("camera_path[1]: camera_to_world: "));
  CHECK_THAT(told("camera_to_world", std::vector<double>(16, 1)), Contains("last row"));
  CHECK_THAT(told("camera_type", "fisheye"), Contains("expected \"perspective\", found"));
  CHECK_THAT(told("camera_path", nlohmann::json::array()), Contains("expected a list of 1 to"));
  CHECK_THAT(told("camera_path", {1, 2}), Contains("camera_path[0]: expected an object"));
  CHECK_THAT(told("render_width", 0), Contains("render_width: expected 1 to"));
  CHECK_THAT(told("render_height", 1e9), Contains("render_height: expected 1 to"));
  CHECK_THAT(told("fps", 0), Contains("frames a second"));
  CHECK_THAT(refusal(Exit::data, [] { parse_camera_path("[1]", "p.json"); }), Contains("object"));
  CHECK_THAT(refusal(Exit::data, [] { parse_camera_path("{", "p.json"); }), Contains("p.json"));
  CHECK_THAT(refusal(Exit::no_input, [] { read_camera_path("/nowhere/p.json"); }),
             Contains("/nowhere/p.json"));
}

// --- the choice of views -------------------------------------------------------------------------

/// `groups` bundles of five cameras, far from each other; the third of each is the middle one.
std::vector<Camera> bundles(int groups, double unit = 1) {
  std::vector<Camera> out;
  for (int g = 0; g < groups; ++g)
    for (int i = 0; i < 5; ++i) {
      const double angle = 2 * pi * g / groups + 0.02 * (i - 2);
      out.push_back(camera({unit * std::cos(angle), unit * std::sin(angle), 0}, {0, 0, 0}));
    }
  return out;
}

TEST_CASE("of bundles of cameras the middle one of each is chosen, in any unit of length") {
  const double unit = GENERATE(1.0, 1e-6, 1e9);
  for (uint64_t seed = 0; seed < 20; ++seed)
    CHECK(choose_views(bundles(6, unit), 6, seed) == std::vector<int64_t>{2, 7, 12, 17, 22, 27});
}

TEST_CASE("cameras that look apart from one place are told apart") {
  std::vector<Camera> views;
  for (const double angle : {0.0, 0.01, 0.02, 1.5, 1.51, 1.52, 3.0, 3.01, 3.02})
    views.push_back(camera({0, 0, 0}, {std::cos(angle), std::sin(angle), 0}));
  CHECK(choose_views(views, 3, 5) == std::vector<int64_t>{1, 4, 7});
}

TEST_CASE("the same seed chooses the same views, and each view once") {
  std::vector<Camera> views;
  for (int i = 0; i < 60; ++i)
    views.push_back(camera({std::cos(i * 2.4), std::sin(i * 2.4), std::sin(i * 1.7)}, {0, 0, 9}));
  const auto first = choose_views(views, 16, 3);
  CHECK(first == choose_views(views, 16, 3));
  CHECK(std::set<int64_t>(first.begin(), first.end()).size() == 16);
  CHECK(choose_views(views, 60, 3).size() == 60);
}

TEST_CASE("cameras in one place are still different views") {
  const std::vector<Camera> same(7, camera({1, 0, 0}, {0, 0, 0}));
  CHECK(choose_views(same, 3, 0).size() == 3);
  CHECK(choose_views(same, 7, 0) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK_THAT(refusal(Exit::usage, [&] { choose_views(same, 8, 0); }), Contains("1 to 7"));
  CHECK_THAT(refusal(Exit::usage, [&] { choose_views(same, 0, 0); }), Contains("1 to 7"));
}

}  // namespace

TEST_CASE("a single camera, or several at one spot, keep their unit of length") {
  Camera one{100, 100, 50, 50, look_at({3, -5, 0.5}, {0, 0, 0})};
  auto turned = one;
  turned.c2w = look_at({3, -5, 0.5}, {0, 1, 0});
  for (const auto& cameras : {std::vector<Camera>{one}, std::vector<Camera>{one, turned}}) {
    const auto normal = normalization(cameras);
    CHECK(normal.scale == 1);
    for (const double coordinate : normal(one).position())
      CHECK(coordinate == Approx(0).margin(1e-9));
  }
}

}  // namespace lact::views
