#include "rig_files.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace lact::test {

using namespace views;
using Json = nlohmann::json;
namespace fs = std::filesystem;

std::vector<Camera> rig_cameras(int count) {
  std::vector<Camera> cameras;
  for (int i = 0; i < count; ++i)
    cameras.push_back({11, 12, 6.25, 4.5,
                       look_at({2 + 0.1 * i, 1 - 0.9 * i, 0.5 + 0.3 * i}, {0.1, 0.05 * i, 0})});
  return cameras;
}

std::vector<std::string> rig_names(int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(concat("a ", i, ".png"));
  return names;
}

media::Image rig_image(int i) {
  media::Image image(kRigWidth, kRigHeight);
  for (size_t k = 0; k < image.pixels.size(); ++k)
    image.pixels[k] = static_cast<uint8_t>(37 * static_cast<size_t>(i) + 3 * k);
  return image;
}

void write_rig_images(const fs::path& folder, int count) {
  fs::create_directories(folder);
  for (int i = 0; i < count; ++i)
    media::write_image(folder / rig_names(count)[static_cast<size_t>(i)], rig_image(i));
}

Json transforms_json(const std::vector<Camera>& cameras) {
  // Worlds: nerfstudio's (x, y, z) is COLMAP's (y, x, -z), and it says so. Cameras: y and z turn
  // round.
  Matrix world, axes;
  world(0, 0) = world(1, 1) = 0;
  world(0, 1) = world(1, 0) = 1;
  world(2, 2) = -1;
  axes(1, 1) = axes(2, 2) = -1;
  Json frames = Json::array();
  for (size_t i = 0; i < cameras.size(); ++i) {
    const auto t = world * cameras[i].c2w * axes;
    Json rows = Json::array();
    for (int r = 0; r < 4; ++r) rows.push_back({t(r, 0), t(r, 1), t(r, 2), t(r, 3)});
    frames.push_back({{"file_path", concat("images/a ", i, ".png")}, {"transform_matrix", rows}});
  }
  const auto& one = cameras[0];
  return {{"applied_transform", {{0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, -1, 0}}},
          {"fl_x", one.fx},
          {"fl_y", one.fy},
          {"cx", one.cx},
          {"cy", one.cy},
          {"w", kRigWidth},
          {"h", double{kRigHeight}},
          {"camera_model", "OPENCV"},
          {"frames", frames}};
}

namespace {

/// w x y z of a rotation, by the largest of the four (Shepperd).
std::array<double, 4> quaternion(const Matrix& m) {
  const double trace = m(0, 0) + m(1, 1) + m(2, 2);
  if (trace > 0) {
    const double s = 2 * std::sqrt(1 + trace);
    return {s / 4, (m(2, 1) - m(1, 2)) / s, (m(0, 2) - m(2, 0)) / s, (m(1, 0) - m(0, 1)) / s};
  }
  int i = 0;
  for (int k : {1, 2})
    if (m(k, k) > m(i, i)) i = k;
  const int j = (i + 1) % 3, k = (i + 2) % 3;
  const double s = 2 * std::sqrt(1 + m(i, i) - m(j, j) - m(k, k));
  std::array<double, 4> q{};
  q[0] = (m(k, j) - m(j, k)) / s;
  q[static_cast<size_t>(i) + 1] = s / 4;
  q[static_cast<size_t>(j) + 1] = (m(j, i) + m(i, j)) / s;
  q[static_cast<size_t>(k) + 1] = (m(k, i) + m(i, k)) / s;
  return q;
}

template <class Number>
void append(std::string& bytes, Number value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string digits(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

Model colmap_text(const std::vector<Camera>& cameras) {
  const auto& one = cameras[0];
  Model model{
      concat("# Camera list\n#   CAMERA_ID, MODEL\n\n7 PINHOLE ", kRigWidth, " ", kRigHeight, " ",
             digits(one.fx), " ", digits(one.fy), " ", digits(one.cx), " ", digits(one.cy), "\r\n"),
      "# Image list with two lines of data per image:\n"};
  for (size_t i = cameras.size(); i-- > 0;) {  // not in the order of the names
    const auto w2c = inverse(cameras[i].c2w);
    model.images += std::to_string(100 + i);
    for (const double q : quaternion(w2c)) model.images += " " + digits(q);
    for (int r = 0; r < 3; ++r) model.images += " " + digits(w2c(r, 3));
    // An image whose points are an empty line, and one with points.
    model.images += concat(" 7 a ", i, ".png\n", i % 2 == 0 ? "" : "1.5 2.5 -1 3 4 17", "\n");
  }
  return model;
}

Model colmap_binary(const std::vector<Camera>& cameras, int points) {
  const auto& one = cameras[0];
  Model model;
  append(model.cameras, uint64_t{1});
  append(model.cameras, uint32_t{7});
  append(model.cameras, int32_t{1});  // PINHOLE
  append(model.cameras, static_cast<uint64_t>(kRigWidth));
  append(model.cameras, static_cast<uint64_t>(kRigHeight));
  for (const double p : {one.fx, one.fy, one.cx, one.cy}) append(model.cameras, p);
  append(model.images, static_cast<uint64_t>(cameras.size()));
  for (size_t i = cameras.size(); i-- > 0;) {
    const auto w2c = inverse(cameras[i].c2w);
    append(model.images, static_cast<uint32_t>(100 + i));
    for (const double q : quaternion(w2c)) append(model.images, q);
    for (int r = 0; r < 3; ++r) append(model.images, w2c(r, 3));
    append(model.images, uint32_t{7});
    model.images += concat("a ", i, ".png") + '\0';
    append(model.images, static_cast<uint64_t>(points));
    for (int p = 0; p < points; ++p) {
      append(model.images, 1.5);
      append(model.images, 2.5);
      append(model.images, int64_t{-1});
    }
  }
  return model;
}

void put(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  io::write_text(file, text);
}

Preparation as_it_is() {
  Preparation how;
  how.width = kRigWidth;
  how.height = kRigHeight;
  return how;
}

Scene read(const fs::path& where, Skipped* skipped, Preparation how) {
  Skipped mine;
  return read_scene(where, how, skipped != nullptr ? *skipped : mine);
}

std::string refusal(const fs::path& where, Preparation how) {
  try {
    read(where, nullptr, std::move(how));
  } catch (const Error& error) {
    return concat(static_cast<int>(error.code()), " ", error.what());
  }
  return "";
}

fs::path Place::write() const {
  put(folder / "transforms.json", json.dump());
  return folder.path();
}

fs::path Place::write(std::string text, const std::string& from, const std::string& to) const {
  const auto at = text.find(from);
  REQUIRE(at != text.npos);
  put(folder / "transforms.json", text.replace(at, from.size(), to));
  return folder.path();
}

std::string line_of(const fs::path& where, int lost) {
  Skipped skipped;
  const auto scene = read(where, &skipped);
  auto cameras = rig_cameras();
  auto names = rig_names();
  cameras.erase(cameras.begin() + lost);
  CHECK(difference(scene.cameras, cameras) < kRounding);
  REQUIRE(scene.images.size() == 3);
  CHECK(scene.images[1] == rig_image(lost > 1 ? 1 : 2));
  REQUIRE(skipped.lines.size() == 1);
  auto strict = as_it_is();
  strict.strict = true;
  // The first fault is then an error, in the same words.
  CHECK(refusal(where, strict).substr(3) == skipped.lines[0]);
  return skipped.lines[0];
}

double difference(const std::vector<Camera>& a, const std::vector<Camera>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (const double off :
         {a[i].fx - b[i].fx, a[i].fy - b[i].fy, a[i].cx - b[i].cx, a[i].cy - b[i].cy})
      worst = std::max(worst, std::abs(off));
    for (size_t k = 0; k < 16; ++k)
      worst = std::max(worst, std::abs(a[i].c2w.m[k] - b[i].c2w.m[k]));
  }
  return worst;
}

}  // namespace lact::test
