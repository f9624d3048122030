#include "find_images.hpp"

#include "find_cameras.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/paths.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using io::is_file;
using io::is_folder;

constexpr std::array kSuffixes{"", ".png", ".jpg", ".jpeg", ".webp"};  // NeRF's names have none
/// Where smaller copies lie; DL3DV's are in the first, and the names of its frames are those of
/// larger ones.
constexpr std::array kReduced{"images_4", "images_2", "images_8"};

struct Found {
  fs::path file;
  bool exact = false;  ///< by its whole name
};

std::string slashed(std::string name) {
  std::replace(name.begin(), name.end(), '\\', '/');
  return name;
}

/// "a/b/c.png", "b/c.png", "c.png": ends of a name, the longest first.
std::vector<fs::path> ends_of(const std::string& name) {
  std::vector<fs::path> ends;
  const auto path = fs::path(slashed(name)).lexically_normal().relative_path();
  for (auto first = path.begin(); first != path.end(); ++first) {
    fs::path end;
    for (auto part = first; part != path.end(); ++part) end /= *part;
    ends.push_back(end);
  }
  return ends;
}

/// An absolute name, of this system or of Windows.
bool is_absolute(const std::string& name) {
  return fs::path(name).is_absolute() || (name.size() > 2 && name[1] == ':');
}

fs::path with_suffix(const fs::path& place) {
  for (const char* suffix : kSuffixes)
    if (const fs::path found = place.string() + suffix; is_file(found)) return found;
  return {};
}

/// As it stands, or with the other slashes.
Found whole(const fs::path& folder, const std::string& name) {
  for (const auto& spelled : {name, slashed(name)})
    if (const auto file = with_suffix(folder / spelled); !file.empty())
      return {file, file == folder / spelled};
  return {};
}

Found by_end(const fs::path& folder, const std::string& name) {
  for (const auto& end : ends_of(name))
    if (const auto file = with_suffix(folder / end); !file.empty())
      return {file, file == folder / fs::path(name).lexically_normal()};
  return {};
}

/// A folder that the user named: in the scene's folder, or else from here.
fs::path named_folder(const Capture& capture, const fs::path& name) {
  for (const auto& root : {capture.root, above(capture.root, "colmap")})
    if (is_folder(root / name)) return root / name;
  return name;
}

Found find_image(const Capture& capture, const Preparation& how, const Shot& shot) {
  if (!how.images.empty()) return by_end(named_folder(capture, how.images), shot.file);
  if (auto found = whole(capture.folder, shot.file); !found.file.empty()) return found;
  if (is_absolute(shot.file))
    if (auto found = by_end(capture.folder, shot.file); !found.file.empty()) return found;
  if (!shot.lens.scales) return {};  // its numbers are those of the image that it names
  for (const char* folder : kReduced)
    if (auto found = by_end(capture.root / folder, shot.file); !found.file.empty()) return found;
  return {};
}

/// Files that several names mean. A name that is the file's own has it.
class Taken {
 public:
  void add(const Found& found, const Shot& shot) {
    if (found.file.empty()) return;
    names_[found.file.lexically_normal()].emplace(shot.file, shot.place);
  }
  /// Another shot that has the same file: "frame 3 (b/1.png)"; "" if there is none.
  std::string other(const Found& found, const Shot& shot) const {
    const auto all = names_.find(found.file.lexically_normal());
    if (found.exact || all == names_.end()) return "";
    for (const auto& [name, place] : all->second)
      if (name != shot.file) return concat(place, " (", io::printable(name), ")");
    return "";
  }

 private:
  std::map<fs::path, std::map<std::string, std::string>> names_;  // and where they stand
};

void refuse(Shot& shot, Exit code, const std::string& why) {
  if (!shot.fault.empty()) return;
  shot.fault = why;
  shot.code = code;
}

/// Masks of a folder by their names without the last suffix.
class Masks {
 public:
  explicit Masks(const fs::path& folder) : folder_(folder) {
    std::error_code error;
    fs::recursive_directory_iterator item(folder, error), end;
    if (error) throw Error(Exit::no_input, folder.string(), ": cannot read: ", error.message());
    for (; item != end; item.increment(error)) {
      if (error) throw Error(Exit::no_input, folder.string(), ": cannot read: ", error.message());
      const auto name = item->path().lexically_relative(folder);
      if (!item->is_regular_file(error)) continue;
      const auto [same, fresh] = files_.emplace(fs::path(name).replace_extension(), name);
      if (!fresh && name < same->second) same->second = name;  // not as the folder happens to list
    }
  }

  /// The image "a/b.jpg" has the mask a/b.png or, as COLMAP has them, a/b.jpg.png; or b.png.
  Found find(const std::string& image) const {
    const auto ends = ends_of(image);
    for (const auto& end : ends)
      for (const fs::path& name : {end, fs::path(end).replace_extension()})
        if (const auto found = files_.find(name); found != files_.end())
          return {folder_ / found->second, name == ends.front()};
    return {};
  }

 private:
  fs::path folder_;
  std::map<fs::path, fs::path> files_;
};

/// nerfstudio's, by the names of its file.
Found named_mask(const Capture& capture, const Shot& shot) {
  if (auto found = whole(capture.folder, shot.mask_name); !found.file.empty()) return found;
  return is_absolute(shot.mask_name) ? by_end(capture.folder, shot.mask_name) : Found{};
}

}  // namespace

void find_images(Capture& capture, const Preparation& how) {
  std::vector<Found> found;
  Taken taken;
  for (const auto& shot : capture.shots) {
    found.push_back(shot.file.empty() ? Found{} : find_image(capture, how, shot));
    taken.add(found.back(), shot);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    auto& shot = capture.shots[i];
    shot.image = found[i].file;
    if (shot.image.empty()) {
      refuse(shot, Exit::no_input,
             concat("no such image: add it, name its folder by ", how.images_option,
                    ", or take it from the list"));
    } else if (const auto other = taken.other(found[i], shot); !other.empty()) {
      refuse(shot, Exit::data,
             concat(shot.image.string(), " would be the image of ", other,
                    ", too: name the folder ", "that has both by ", how.images_option));
    }
  }
}

void find_masks(Capture& capture, const Preparation& how) {
  std::optional<Masks> masks;
  if (!how.masks.empty()) masks.emplace(named_folder(capture, how.masks));
  std::vector<Found> found;
  Taken taken;
  for (const auto& shot : capture.shots) {
    if (masks)
      found.push_back(masks->find(shot.file));
    else
      found.push_back(shot.mask_name.empty() ? Found{} : named_mask(capture, shot));
    if (masks) taken.add(found.back(), shot);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    auto& shot = capture.shots[i];
    shot.mask = found[i].file;
    if (masks && shot.mask.empty())
      refuse(shot, Exit::no_input, "has no mask: add one of its name");
    else if (!shot.mask_name.empty() && shot.mask.empty())
      refuse(shot, Exit::no_input,
             concat("no such mask: ", io::printable(shot.mask_name),
                    ": add it, or name the folder ", "of masks by --masks"));
    else if (const auto other = masks ? taken.other(found[i], shot) : ""; !other.empty())
      refuse(shot, Exit::data,
             concat(shot.mask.string(), " would be the mask of ", other, ", too"));
  }
}

}  // namespace lact::views
