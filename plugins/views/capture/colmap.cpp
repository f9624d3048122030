#include "colmap.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxName = 4096;
constexpr uint64_t kPointBytes = 24;  // x, y, number of a point in space

// --- lenses --------------------------------------------------------------------------------------

/// Where a model's parameters go. `f` 1: one focal length; 2: two. Then cx, cy, and distortion.
struct Model {
  const char* name;  // its place in the list is its number in binary files
  size_t f, distortion;
  enum { perspective, fisheye, neither } kind;
};
constexpr std::array kModels{
    Model{"SIMPLE_PINHOLE", 1, 0, Model::perspective},
    Model{"PINHOLE", 2, 0, Model::perspective},
    Model{"SIMPLE_RADIAL", 1, 1, Model::perspective},
    Model{"RADIAL", 1, 2, Model::perspective},
    Model{"OPENCV", 2, 4, Model::perspective},
    Model{"OPENCV_FISHEYE", 2, 4, Model::fisheye},
    Model{"FULL_OPENCV", 2, 8, Model::perspective},
    Model{"FOV", 2, 1, Model::neither},
    Model{"SIMPLE_RADIAL_FISHEYE", 1, 1, Model::fisheye},
    Model{"RADIAL_FISHEYE", 1, 2, Model::fisheye},
    Model{"THIN_PRISM_FISHEYE", 2, 8, Model::neither},
    Model{"RAD_TAN_THIN_PRISM_FISHEYE", 2, 12, Model::neither},
};

size_t parameters(const Model& model) {
  return model.f + 2 + model.distortion;
}

/// COLMAP's parameters have the order of OpenCV's: k1 k2 p1 p2 k3 k4 k5 k6, of fisheyes k1 to k4.
ColmapCamera camera_of(const Model& model, double width, double height,
                       const std::vector<double>& numbers) {
  ColmapCamera camera;
  auto& lens = camera.lens;
  lens.centre = 0.5;
  lens.width = width;
  lens.height = height;
  lens.fx = numbers[0];
  lens.fy = numbers[model.f - 1];
  lens.cx = numbers[model.f];
  lens.cy = numbers[model.f + 1];
  lens.fisheye = model.kind == Model::fisheye;
  if (model.distortion > 0) {
    lens.distortion.assign(numbers.begin() + static_cast<int64_t>(model.f) + 2, numbers.end());
    lens.distortion.resize(std::max<size_t>(4, lens.distortion.size()));
  }
  for (const double one : numbers)
    if (!std::isfinite(one)) camera.fault = "its lens is not described by numbers";
  if (!(width > 0 && height > 0)) camera.fault = "its lens is for images without pixels";
  if (model.kind == Model::neither)
    camera.fault = concat("the lens ", model.name,
                          " is none that can be made a pinhole here: run colmap image_undistorter");
  return camera;
}

// --- poses ---------------------------------------------------------------------------------------

/// Camera to world from a quaternion (w x y z) and a translation that lead from world to camera.
/// Returns what is wrong, or "".
std::string pose_of(const std::array<double, 7>& numbers, Matrix& c2w) {
  for (const double one : numbers)
    if (!std::isfinite(one)) return "its pose is not a number";
  auto [w, x, y, z, tx, ty, tz] = numbers;
  const double length = std::sqrt(w * w + x * x + y * y + z * z);
  if (!(length > 1e-6 && std::isfinite(length))) return "its quaternion has no length";
  w /= length, x /= length, y /= length, z /= length;
  const double rotation[3][3] = {
      {1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
      {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
      {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
  for (int r = 0; r < 3; ++r) {
    for (int c = 0; c < 3; ++c) c2w(r, c) = rotation[c][r];
    c2w(r, 3) = -(rotation[0][r] * tx + rotation[1][r] * ty + rotation[2][r] * tz);
  }
  return fault_of_pose(c2w);
}

Shot shot_of(uint32_t number, const std::array<double, 7>& pose, uint32_t camera, std::string name,
             const ColmapCameras& cameras) {
  Shot shot;
  shot.file = std::move(name);
  shot.place = concat("image ", number);
  shot.fault = pose_of(pose, shot.c2w);
  const auto found = cameras.find(camera);
  if (found == cameras.end()) {
    shot.fault = concat("its camera ", camera, " is not among the cameras");
  } else {
    shot.lens = found->second.lens;
    if (shot.fault.empty()) shot.fault = found->second.fault;
  }
  if (shot.file.empty()) shot.fault = "a camera without an image: it has no name";
  return shot;
}

std::vector<Shot> by_name(std::vector<Shot> shots) {
  std::sort(shots.begin(), shots.end(),
            [](const Shot& a, const Shot& b) { return a.file < b.file; });
  return shots;
}

void add(ColmapCameras& cameras, uint32_t number, ColmapCamera camera, const std::string& what) {
  if (!cameras.emplace(number, std::move(camera)).second)
    throw Error(Exit::data, what, ": camera ", number, " comes twice");
}

// --- binary --------------------------------------------------------------------------------------

/// Little-endian numbers of a file whose length is known.
class Bytes {
 public:
  Bytes(std::istream& in, uint64_t left, const std::string& what)
      : in_(in), left_(left), what_(what) {}

  template <class Number>
  Number take() {
    Number value{};
    read(&value, sizeof value);
    return value;
  }
  std::string name() {
    std::string text;
    for (char c = take<char>(); c != '\0'; c = take<char>()) {
      text += c;
      if (text.size() > kMaxName)
        throw Error(Exit::data, what_, ": a name of more than ", kMaxName, " bytes");
    }
    return text;
  }
  void skip(uint64_t count, uint64_t size) {
    if (count > left_ / size) truncated();
    in_.seekg(static_cast<std::streamoff>(count * size), std::ios::cur);
    left_ -= count * size;
  }
  /// The number of things that follow, each of at least so many bytes.
  uint64_t count(uint64_t size) {
    const auto number = take<uint64_t>();
    if (number > left_ / size) truncated();
    return number;
  }
  void end() const {
    if (left_ > 0) throw Error(Exit::data, what_, ": ", left_, " bytes too many at its end");
  }

 private:
  void read(void* to, size_t bytes) {
    if (bytes > left_ || !in_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes)))
      truncated();
    left_ -= bytes;
  }
  [[noreturn]] void truncated() const {
    throw Error(Exit::data, what_, ": no file of COLMAP, or cut short");
  }

  std::istream& in_;
  uint64_t left_;
  const std::string& what_;
};

}  // namespace

ColmapCameras colmap_cameras_binary(std::istream& in, uint64_t bytes, const std::string& what) {
  Bytes file(in, bytes, what);
  ColmapCameras cameras;
  for (auto left = file.count(24 + 3 * 8); left > 0; --left) {
    const auto number = file.take<uint32_t>();
    const auto model = file.take<int32_t>();
    const auto width = static_cast<double>(file.take<uint64_t>());
    const auto height = static_cast<double>(file.take<uint64_t>());
    if (model < 0 || static_cast<size_t>(model) >= kModels.size())
      throw Error(Exit::data, what, ": camera ", number, ": unknown model ", model);
    const auto& known = kModels[static_cast<size_t>(model)];
    std::vector<double> numbers;
    for (size_t i = 0; i < parameters(known); ++i) numbers.push_back(file.take<double>());
    add(cameras, number, camera_of(known, width, height, numbers), what);
  }
  file.end();
  return cameras;
}

std::vector<Shot> colmap_images_binary(std::istream& in, uint64_t bytes,
                                       const ColmapCameras& cameras, const std::string& what) {
  Bytes file(in, bytes, what);
  std::vector<Shot> shots;
  for (auto left = file.count(4 + 7 * 8 + 4 + 1 + 8); left > 0; --left) {
    const auto number = file.take<uint32_t>();
    std::array<double, 7> pose{};
    for (auto& one : pose) one = file.take<double>();
    const auto camera = file.take<uint32_t>();
    auto name = file.name();
    file.skip(file.count(kPointBytes), kPointBytes);
    shots.push_back(shot_of(number, pose, camera, std::move(name), cameras));
  }
  file.end();
  return by_name(std::move(shots));
}

// --- text ----------------------------------------------------------------------------------------

namespace {

/// Lines that are neither empty nor a comment, and where they stand.
class Lines {
 public:
  Lines(std::istream& in, const std::string& what) : in_(in), what_(what) {}

  bool next() {
    for (std::string line; std::getline(in_, line);) {
      ++number_;
      while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())))
        line.pop_back();
      const auto first = line.find_first_not_of(" \t");
      if (first == line.npos || line[first] == '#') continue;
      words_ = std::istringstream(line);
      return true;
    }
    return false;
  }
  /// The line below, whatever it holds.
  void pass_over() {
    in_.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    ++number_;
  }
  std::string word(const char* meaning) {
    std::string text;
    if (!(words_ >> text)) fail(concat("has no ", meaning));
    return text;
  }
  double number(const char* meaning) {
    const auto text = word(meaning);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail(concat(meaning, " is not a number: ", io::printable(text)));
    return value;
  }
  uint32_t id(const char* meaning) {
    const double value = number(meaning);
    if (!(value >= 0 && value <= std::numeric_limits<uint32_t>::max()) ||
        value != std::floor(value))
      fail(concat(meaning, " is no number of a thing"));
    return static_cast<uint32_t>(value);
  }
  /// What is left of the line: names may have blanks.
  std::string rest() {
    std::string text;
    std::getline(words_ >> std::ws, text);
    return text;
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(Exit::data, what_, ": line ", number_, ": ", why);
  }

 private:
  std::istream& in_;
  const std::string& what_;
  std::istringstream words_;
  int64_t number_ = 0;
};

}  // namespace

ColmapCameras colmap_cameras_text(std::istream& in, const std::string& what) {
  Lines lines(in, what);
  ColmapCameras cameras;
  while (lines.next()) {
    const auto number = lines.id("CAMERA_ID");
    const auto name = lines.word("MODEL");
    const auto model = std::find_if(kModels.begin(), kModels.end(),
                                    [&](const Model& one) { return name == one.name; });
    if (model == kModels.end()) lines.fail(concat("unknown camera model ", io::printable(name)));
    const double width = lines.number("WIDTH"), height = lines.number("HEIGHT");
    std::vector<double> numbers;
    for (size_t i = 0; i < parameters(*model); ++i) numbers.push_back(lines.number("parameter"));
    if (!lines.rest().empty())
      lines.fail(concat("more than the ", parameters(*model), " parameters of ", name));
    add(cameras, number, camera_of(*model, width, height, numbers), what);
  }
  return cameras;
}

std::vector<Shot> colmap_images_text(std::istream& in, const ColmapCameras& cameras,
                                     const std::string& what) {
  Lines lines(in, what);
  std::vector<Shot> shots;
  while (lines.next()) {
    const auto number = lines.id("IMAGE_ID");
    std::array<double, 7> pose{};
    constexpr std::array kNames{"QW", "QX", "QY", "QZ", "TX", "TY", "TZ"};
    for (size_t i = 0; i < pose.size(); ++i) pose[i] = lines.number(kNames[i]);
    const auto camera = lines.id("CAMERA_ID");
    auto name = lines.rest();
    lines.pass_over();  // its points, perhaps none
    shots.push_back(shot_of(number, pose, camera, std::move(name), cameras));
  }
  return by_name(std::move(shots));
}

// --- folders -------------------------------------------------------------------------------------

namespace {

bool has_both(const fs::path& folder, const char* suffix) {
  std::error_code error;
  return fs::is_regular_file(folder / concat("cameras", suffix), error) &&
         fs::is_regular_file(folder / concat("images", suffix), error);
}

std::ifstream open(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(Exit::no_input, file.string(), ": cannot open");
  return in;
}

uint64_t size_of(const fs::path& file) {
  std::error_code error;
  const auto bytes = fs::file_size(file, error);
  if (error) throw Error(Exit::no_input, file.string(), ": cannot read: ", error.message());
  return bytes;
}

}  // namespace

bool is_colmap_model(const fs::path& folder) {
  return has_both(folder, ".bin") || has_both(folder, ".txt");
}

std::vector<Shot> read_colmap(const fs::path& folder, fs::path& file) {
  const bool binary = has_both(folder, ".bin");
  const char* suffix = binary ? ".bin" : ".txt";
  const auto cameras_file = folder / concat("cameras", suffix);
  file = folder / concat("images", suffix);
  auto cameras_in = open(cameras_file), images_in = open(file);
  const auto cameras_name = cameras_file.string(), images_name = file.string();
  if (!binary)
    return colmap_images_text(images_in, colmap_cameras_text(cameras_in, cameras_name),
                              images_name);
  const auto cameras = colmap_cameras_binary(cameras_in, size_of(cameras_file), cameras_name);
  return colmap_images_binary(images_in, size_of(file), cameras, images_name);
}

}  // namespace lact::views
