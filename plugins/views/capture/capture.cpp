#include "capture.hpp"

#include "camera_files.hpp"
#include "colmap.hpp"
#include "find_cameras.hpp"
#include "find_images.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/paths.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <optional>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using io::is_folder;

constexpr uint64_t kMostJson = uint64_t{256} << 20;
constexpr char kSplitOptions[] = "but by pack --validation-split, or lact-render --target-split";

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

/// The model; of a reconstruction that fell apart, the part with the most views of those that can
/// be read.
void read_models(const std::vector<fs::path>& parts, Capture& capture) {
  std::string others;
  std::exception_ptr first;
  fs::path best;
  for (const auto& part : parts) {
    fs::path file;
    std::vector<Shot> shots;
    try {
      shots = read_colmap(part, file);
    } catch (const Error& error) {
      if (!first) first = std::current_exception();
      capture.notes.push_back(
          concat(error.what(), "; this part of the reconstruction is not read"));
      continue;
    }
    const bool better = best.empty() || shots.size() > capture.shots.size();
    const auto& [left, views] =
        better ? std::pair{best, capture.shots.size()} : std::pair{part, shots.size()};
    if (!left.empty()) others += concat(others.empty() ? "" : ", ", left.string(), ": ", views);
    if (!better) continue;
    best = part;
    capture.file = file;
    capture.shots = std::move(shots);
  }
  if (best.empty()) std::rethrow_exception(first);
  if (!others.empty())
    capture.notes.push_back(
        concat(best.string(), ": the largest part of a reconstruction that ",
               "fell apart; views in the other parts, which are not read: ", others));
  const auto root = capture.root = colmap_root(best);
  capture.folder = root;
  for (const auto& images : {above(root, "colmap") / "images", root / "images"})
    if (is_folder(images)) capture.folder = images;
}

/// NeRF's other files are further parts of the scene.
void read_parts(const Preparation& how, Capture& capture) {
  if (capture.file.filename() != "transforms_train.json") return;
  for (auto& shot : capture.shots) shot.part = Shot::Part::train;
  std::string others;
  for (const auto& [name, part] : {std::pair{"transforms_val.json", Shot::Part::validation},
                                   std::pair{"transforms_test.json", Shot::Part::test}}) {
    const auto file = capture.folder / name;
    std::error_code error;
    if (!fs::is_regular_file(file, error)) continue;
    others += concat(others.empty() ? "" : ", ", name);
    if (!how.split) continue;
    for (auto& shot : parse_camera_file(io::read_text(file, kMostJson), file.string()).shots) {
      shot.place += concat(" of ", name);
      shot.part = part;
      capture.shots.push_back(std::move(shot));
    }
  }
  if (!how.split && !others.empty())
    capture.notes.push_back(concat(capture.file.string(), ": views held out in ", others,
                                   " are not read (", kSplitOptions, ")"));
}

Capture read_cameras(const fs::path& where, const Preparation& how) {
  const auto cameras = find_cameras(where);
  if (cameras.empty()) no_cameras(where);
  Capture capture;
  capture.name = scene_name(cameras[0]);
  if (is_folder(cameras[0])) {
    if (!is_colmap_model(cameras[0])) no_cameras(cameras[0]);
    read_models(cameras, capture);
    return capture;
  }
  capture.file = cameras[0];
  capture.folder = cameras[0].parent_path().empty() ? "." : cameras[0].parent_path();
  capture.root = capture.folder;
  auto file = parse_camera_file(io::read_text(cameras[0], kMostJson), cameras[0].string());
  capture.shots = std::move(file.shots);
  capture.world = file.world;
  read_parts(how, capture);
  return capture;
}

/// Marks what the camera file's own split holds out, and leaves out what is in neither part: the
/// tests, or the validation where there are none, are held out.
void keep_to_split(const Preparation& how, Capture& capture) {
  using Part = Shot::Part;
  const auto count = [&](Part part) {
    return std::count_if(capture.shots.begin(), capture.shots.end(),
                         [&](const Shot& shot) { return shot.part == part; });
  };
  const auto held = count(Part::test) > 0 ? Part::test : Part::validation;
  if (!how.split) {
    if (count(held) > 0)
      capture.notes.push_back(concat(capture.file.string(), ": its split holds out ", count(held),
                                     " views, which is not heeded (", kSplitOptions, ")"));
    return;
  }
  if (count(held) == 0)
    throw Error(Exit::data, capture.file.string(), ": has no split: expected test_filenames or ",
                "val_filenames, or transforms_test.json beside transforms_train.json");
  std::erase_if(capture.shots,
                [&](const Shot& shot) { return shot.part != Part::train && shot.part != held; });
  for (auto& shot : capture.shots) shot.held = shot.part == held;
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

std::string where_of(const Capture& capture, const Shot& shot) {
  return concat(capture.file.string(), ": ", shot.place,
                shot.file.empty() ? "" : " (" + io::printable(shot.file) + ")", ": ");
}

Capture list_capture(const fs::path& where, const Preparation& how, Faults& faults) {
  auto capture = read_cameras(where, how);
  keep_to_split(how, capture);
  const auto listed = capture.shots.size();
  for (size_t i = 0; i < listed; ++i) capture.shots[i].number = static_cast<int64_t>(i);
  if (how.video.empty())
    find_images(capture, how);
  else
    name_frames(capture.shots);
  find_masks(capture, how);
  keep_every(capture.shots, std::max<int64_t>(1, how.every));
  std::vector<Shot> sound;
  std::string first;
  for (auto& shot : capture.shots) {
    if (shot.fault.empty()) {
      sound.push_back(std::move(shot));
      continue;
    }
    const auto line = where_of(capture, shot) + shot.fault;
    if (first.empty()) first = line;
    faults.add(shot.code, line);
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
