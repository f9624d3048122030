#include "colmap_parts.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <sstream>

namespace lact::views {
namespace {

using namespace colmap;

std::optional<double> number_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Lines that are neither empty nor a comment, and where they stand.
class Lines {
 public:
  Lines(std::istream& in, const std::string& what) : in_(in), what_(what) {}

  bool next() {
    for (std::string line; take(line);) {
      while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())))
        line.pop_back();
      const auto first = line.find_first_not_of(" \t");
      if (first == line.npos || line[first] == '#') continue;
      words_ = std::istringstream(line);
      return true;
    }
    return false;
  }
  /// The line below, unless `keep` says that it is needed.
  template <class Keep>
  void pass_over(const Keep& keep) {
    std::string line;
    if (!take(line) || !keep(line)) return;
    kept_ = std::move(line);
    --number_;
  }
  std::string word(const char* meaning) {
    std::string text;
    if (!(words_ >> text)) fail(concat("has no ", meaning));
    return text;
  }
  double number(const char* meaning) {
    const auto text = word(meaning);
    const auto value = number_of(text);
    if (!value) fail(concat(meaning, " is not a number: ", io::printable(text)));
    return *value;
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
  bool take(std::string& line) {
    if (kept_) {
      line = std::move(*kept_);
      kept_.reset();
    } else if (!std::getline(in_, line)) {
      return false;
    }
    ++number_;
    return true;
  }

  std::istream& in_;
  const std::string& what_;
  std::istringstream words_;
  std::optional<std::string> kept_;
  int64_t number_ = 0;
};

/// Is this the line of an image, and not one of points (x, y and a number, as often as one likes)?
/// Programs that have no points leave their lines out, which COLMAP's own readers do not expect.
bool is_image_line(const std::string& line) {
  constexpr int kNumbers = 9;  // IMAGE_ID, QW to TZ, CAMERA_ID; the name follows
  std::istringstream words(line);
  std::string word;
  for (int i = 0; i < kNumbers; ++i)
    if (!(words >> word) || !number_of(word)) return false;
  if (!(words >> word)) return false;
  if (!number_of(word)) return true;
  int count = kNumbers + 1;
  while (words >> word) ++count;
  return count % 3 != 0;  // a name that is a number
}

}  // namespace

ColmapCameras colmap_cameras_text(std::istream& in, const std::string& what) {
  Lines lines(in, what);
  ColmapCameras cameras;
  while (lines.next()) {
    const auto number = lines.id("CAMERA_ID");
    const auto name = lines.word("MODEL");
    const auto model = std::find_if(kModels.begin(), kModels.end(),
                                    [&](const Model& one) { return name == one.name; });
    if (model == kModels.end() || model->kind == Model::neither) {
      add(cameras, number, foreign_camera(name), what);
      continue;
    }
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
    lines.pass_over(is_image_line);  // its points, perhaps none
    shots.push_back(shot_of(number, pose, camera, std::move(name), cameras));
  }
  return by_name(std::move(shots));
}

}  // namespace lact::views
