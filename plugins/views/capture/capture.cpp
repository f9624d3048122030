#include "capture.hpp"

#include "camera_files.hpp"
#include "colmap.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostJson = uint64_t{256} << 20;
constexpr std::array kCameraFiles{"opencv_cameras.json", "transforms.json",
                                  "nerfstudio/transforms.json", "transforms_train.json"};
constexpr std::array kModelFolders{".", "sparse", "sparse/0"};
constexpr std::array kSuffixes{"", ".png", ".jpg", ".jpeg", ".webp"};  // NeRF's names have none

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

/// The camera file, or the folder of the COLMAP model, that a path means; empty if none.
fs::path find_cameras(const fs::path& where) {
  if (!is_folder(where)) {
    const auto name = where.filename().string();
    for (const char* part : {"cameras.bin", "cameras.txt", "images.bin", "images.txt"})
      if (name == part) return where.parent_path().empty() ? "." : where.parent_path();
    return where;
  }
  for (const char* name : kCameraFiles)
    if (is_file(where / name)) return where / name;
  for (const char* name : kModelFolders)
    if (is_colmap_model(where / name)) return (where / name).lexically_normal();
  return {};
}

[[noreturn]] void no_cameras(const fs::path& where) {
  throw Error(Exit::no_input, where.string(),
              ": holds no cameras: expected opencv_cameras.json, transforms.json or a COLMAP model "
              "(cameras.bin and images.bin, or .txt) in it, in sparse or in sparse/0");
}

/// A path without what all scenes have at their ends.
fs::path above(fs::path folder, const char* name) {
  return folder.filename() == name ? folder.parent_path() : folder;
}

/// The folder that COLMAP was run in: above sparse/0.
fs::path colmap_root(const fs::path& model) {
  auto root = fs::absolute(model).lexically_normal();
  if (root.filename().empty()) root = root.parent_path();
  const auto name = root.filename().string();
  if (!name.empty() &&
      std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
      root.parent_path().filename() == "sparse")
    root = root.parent_path();
  return above(root, "sparse");
}

std::string scene_name(const fs::path& cameras) {
  if (is_folder(cameras)) return colmap_root(cameras).filename();
  const auto file = fs::absolute(cameras).lexically_normal();
  const auto folder = above(file.parent_path(), "nerfstudio").filename().string();
  const auto stem = file.stem().string();
  return stem == "opencv_cameras" || stem == "transforms" ? folder : folder + "-" + stem;
}

/// Where an image lies; empty if nowhere.
fs::path find_image(const Capture& capture, const Preparation& how, const std::string& name) {
  const auto file = fs::path(name);
  std::vector<fs::path> places;
  if (!how.images.empty()) {
    const auto folder = named_folder(capture, how.images);
    places = {folder / file, folder / file.filename()};
  } else {
    // images_4 is where DL3DV's lie, and the names of its frames are those of larger ones.
    places = {capture.folder / file, capture.folder / "images_4" / file.filename()};
  }
  for (const auto& place : places)
    for (const char* suffix : kSuffixes)
      if (const fs::path found = place.string() + suffix; is_file(found)) return found;
  return {};
}

/// The number that a name ends in, before its suffix.
std::optional<int64_t> final_number(const std::string& name) {
  const auto stem = fs::path(name).stem().string();
  const auto first = stem.find_last_not_of("0123456789");
  const auto digits = stem.substr(first == stem.npos ? 0 : first + 1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size())
    return std::nullopt;
  return number;
}

/// Programs that cut films into images count from 1, unless one of the names ends in 0.
void name_frames(std::vector<Shot>& shots) {
  bool zero = false;
  for (const auto& shot : shots) zero |= final_number(shot.file) == 0;
  for (auto& shot : shots) {
    const auto number = final_number(shot.file);
    if (number)
      shot.frame = *number - (zero ? 0 : 1);
    else if (shot.fault.empty())
      shot.fault = "its name ends in no number: which frame of the film is it?";
  }
}

Capture read_cameras(const fs::path& where) {
  const auto cameras = find_cameras(where);
  if (cameras.empty()) no_cameras(where);
  Capture capture;
  capture.name = scene_name(cameras);
  if (is_folder(cameras)) {
    if (!is_colmap_model(cameras)) no_cameras(cameras);
    capture.shots = read_colmap(cameras, capture.file);
    const auto root = capture.root = colmap_root(cameras);
    capture.folder = is_folder(root / "images") ? root / "images" : root;
    return capture;
  }
  capture.file = cameras;
  capture.folder = cameras.parent_path().empty() ? "." : cameras.parent_path();
  capture.root = capture.folder;
  capture.shots = parse_camera_file(io::read_text(cameras, kMostJson), cameras.string());
  return capture;
}

void keep_every(std::vector<Shot>& shots, int64_t every) {
  size_t kept = 0;
  for (size_t i = 0; i < shots.size(); i += static_cast<size_t>(every))
    std::swap(shots[kept++], shots[i]);
  shots.resize(kept);
}

void keep_most(std::vector<Shot>& shots, int64_t most) {
  const auto count = static_cast<int64_t>(shots.size());
  if (most == 0 || most >= count) return;
  for (int64_t i = 0; i < most; ++i)
    std::swap(shots[static_cast<size_t>(i)], shots[static_cast<size_t>(i * count / most)]);
  shots.resize(static_cast<size_t>(most));
}

}  // namespace

fs::path named_folder(const Capture& capture, const fs::path& name) {
  return is_folder(capture.root / name) ? capture.root / name : name;
}

std::string where_of(const Capture& capture, const Shot& shot) {
  return concat(capture.file.string(), ": ", shot.place,
                shot.file.empty() ? "" : " (" + io::printable(shot.file) + ")", ": ");
}

Capture list_capture(const fs::path& where, const Preparation& how, Faults& faults) {
  auto capture = read_cameras(where);
  const auto listed = capture.shots.size();
  for (size_t i = 0; i < listed; ++i) capture.shots[i].number = static_cast<int64_t>(i);
  if (!how.video.empty()) name_frames(capture.shots);
  keep_every(capture.shots, std::max<int64_t>(1, how.every));
  std::vector<Shot> sound;
  std::string first;
  for (auto& shot : capture.shots) {
    auto code = Exit::data;
    if (shot.fault.empty() && how.video.empty()) {
      shot.image = find_image(capture, how, shot.file);
      if (shot.image.empty()) {
        shot.fault = "no such image: add it, name its folder by --images, or take it from the list";
        code = Exit::no_input;
      }
    }
    if (shot.fault.empty()) {
      sound.push_back(std::move(shot));
      continue;
    }
    const auto line = where_of(capture, shot) + shot.fault;
    if (first.empty()) first = line;
    faults.add(code, line);
  }
  if (sound.empty())
    throw Error(Exit::data, capture.file.string(), ": none of ", listed, " views can be used",
                first.empty() ? "" : "; the first: " + first);
  capture.shots = std::move(sound);
  keep_most(capture.shots, how.max_views);
  if (!how.video.empty())
    std::stable_sort(capture.shots.begin(), capture.shots.end(),
                     [](const Shot& a, const Shot& b) { return a.frame < b.frame; });
  return capture;
}

namespace {

/// "chairs/oak" of "chairs/oak/opencv_cameras.json"; "" for what leads out of the list's folder.
std::string listed_name(const fs::path& item) {
  const auto inside = item.lexically_normal();
  if (inside.is_absolute() || inside.empty() || *inside.begin() == "..") return "";
  for (const char* name : kCameraFiles) {
    const auto whole = inside.generic_string(), end = concat("/", name);
    if (whole.size() > end.size() && whole.compare(whole.size() - end.size(), end.npos, end) == 0)
      return above(inside.parent_path(), "nerfstudio").generic_string();
  }
  return "";
}

std::vector<CaptureFound> captures_in(const fs::path& folder) {
  std::vector<CaptureFound> found;
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error))
    if (is_folder(item->path()) && !find_cameras(item->path()).empty())
      found.push_back({item->path(), ""});
  if (error) throw Error(Exit::no_input, folder.string(), ": cannot read: ", error.message());
  if (found.empty()) no_cameras(folder);
  std::sort(found.begin(), found.end(),
            [](const CaptureFound& a, const CaptureFound& b) { return a.where < b.where; });
  return found;
}

}  // namespace

std::vector<CaptureFound> find_captures(const fs::path& where) {
  std::error_code error;
  if (!fs::exists(where, error))
    throw Error(Exit::no_input, where.string(), ": no such file or folder");
  if (is_folder(where)) {
    if (!find_cameras(where).empty()) return {{where, ""}};
    return captures_in(where);
  }
  if (where.extension() != ".json") return {{where, ""}};
  const auto json = parse_python_json(io::read_text(where, kMostJson), where.string());
  if (!json.is_array() || json.empty() || !json[0].is_string()) return {{where, ""}};
  std::vector<CaptureFound> found;
  for (const auto& item : json) {
    if (!item.is_string())
      throw Error(Exit::data, where.string(), ": expected a list of camera files, found ",
                  io::printable(item.dump(-1, ' ', true)));
    const fs::path path = item.get<std::string>();
    found.push_back({(where.parent_path() / path).lexically_normal(), listed_name(path)});
  }
  return found;
}

}  // namespace lact::views
