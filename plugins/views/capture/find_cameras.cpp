#include "find_cameras.hpp"

#include "colmap.hpp"

#include <lact/error.hpp>
#include <lact/io/paths.hpp>

#include <algorithm>
#include <array>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using io::is_file;
using io::is_folder;

constexpr std::array kCameraFiles{"opencv_cameras.json", "transforms.json",
                                  "nerfstudio/transforms.json", "transforms_train.json"};

/// A name that COLMAP gives to one of several parts: "0", "1", ...
bool is_number(const fs::path& name) {
  const auto text = name.string();
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

/// The model in a folder, or those in its numbered folders, by their numbers.
std::vector<fs::path> models_in(const fs::path& folder) {
  if (is_colmap_model(folder)) return {folder.lexically_normal()};
  std::vector<fs::path> parts;
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error))
    if (is_number(item->path().filename()) && is_colmap_model(item->path()))
      parts.push_back(item->path().lexically_normal());
  std::sort(parts.begin(), parts.end(), [](const fs::path& a, const fs::path& b) {
    const auto x = a.filename().string(), y = b.filename().string();
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return parts;
}

std::vector<fs::path> find_models(const fs::path& where) {
  if (is_colmap_model(where)) return {where.lexically_normal()};
  std::vector<fs::path> places;
  // Of COLMAP's automatic_reconstructor and image_undistorter: the photographs are in there alone.
  if (!is_folder(where / "images"))
    for (const char* dense : {"dense/0", "dense"})
      if (is_folder(where / dense / "images")) places.push_back(where / dense / "sparse");
  places.push_back(where / "sparse");
  const auto name = where.filename().empty() ? where.parent_path().filename() : where.filename();
  if (name == "sparse") places.push_back(where);
  // nerfstudio's; elsewhere a folder of this name is a scene among others.
  if (is_folder(where / "images"))
    places.insert(places.end(), {where / "colmap/sparse", where / "colmap"});
  for (const auto& place : places)
    if (auto found = models_in(place); !found.empty()) return found;
  return {};
}

}  // namespace

std::vector<fs::path> find_cameras(const fs::path& where) {
  if (!is_folder(where)) {
    const auto name = where.filename().string();
    for (const char* part : {"cameras.bin", "cameras.txt", "images.bin", "images.txt"})
      if (name == part) return {where.parent_path().empty() ? "." : where.parent_path()};
    return {where};
  }
  for (const char* name : kCameraFiles)
    if (is_file(where / name)) return {where / name};
  return find_models(where);
}

void no_cameras(const fs::path& where) {
  throw Error(Exit::no_input, where.string(),
              ": holds no cameras: expected opencv_cameras.json, transforms.json or a COLMAP model "
              "(cameras.bin and images.bin, or .txt) in it, in sparse or sparse/N, in colmap or "
              "colmap/sparse/N beside images, or in dense/sparse or dense/0/sparse");
}

fs::path above(fs::path folder, const char* name) {
  return folder.filename() == name ? folder.parent_path() : folder;
}

fs::path colmap_root(const fs::path& model) {
  auto root = fs::absolute(model).lexically_normal();
  if (root.filename().empty()) root = root.parent_path();
  if (is_number(root.filename()) && root.parent_path().filename() == "sparse")
    root = root.parent_path();
  return above(root, "sparse");
}

std::string scene_name(const fs::path& cameras) {
  if (is_folder(cameras)) {
    auto root = above(colmap_root(cameras), "colmap");
    if (is_number(root.filename()) && root.parent_path().filename() == "dense")
      root = root.parent_path();
    return above(root, "dense").filename();
  }
  const auto file = fs::absolute(cameras).lexically_normal();
  const auto folder = above(file.parent_path(), "nerfstudio").filename().string();
  const auto stem = file.stem().string();
  return stem == "opencv_cameras" || stem == "transforms" ? folder : folder + "-" + stem;
}

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

}  // namespace lact::views
