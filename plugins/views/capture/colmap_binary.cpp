#include "colmap_parts.hpp"

#include <lact/error.hpp>

namespace lact::views {
namespace {

using namespace colmap;

constexpr size_t kMaxName = 4096;
constexpr uint64_t kPointBytes = 24;  // x, y, number of a point in space

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
      throw Error(
          Exit::data, what, ": camera ", number, ": unknown model ", model,
          ": run colmap image_undistorter, or colmap model_converter for the model as text");
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

}  // namespace lact::views
