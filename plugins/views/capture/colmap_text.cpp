#include "colmap_parts.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

namespace lact::views {
namespace {

using namespace colmap;

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

}  // namespace lact::views
