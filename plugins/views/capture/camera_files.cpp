#include "camera_files.hpp"

#include <plugins/views/camera/world.hpp>

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

namespace lact::views {
namespace {

using Json = nlohmann::json;

/// What is wrong with one frame; the rest of the file may be sound.
template <class... Parts>
[[noreturn]] void fault(const Parts&... parts) {
  throw Error(Exit::data, parts...);
}

/// Keys of a frame, or else of the whole file.
class Keys {
 public:
  explicit Keys(const Json& frame, const Json* all = nullptr) : frame_(frame), all_(all) {}

  const Json* find(const char* key) const {
    for (const Json* place : {&frame_, all_})
      if (place != nullptr)
        if (const auto found = place->find(key); found != place->end()) return &*found;
    return nullptr;
  }
  std::optional<double> maybe(const char* key) const {
    const auto* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (!found->is_number()) fault(key, " is not a number");
    return found->get<double>();
  }
  double number(const char* key) const {
    const auto value = maybe(key);
    if (!value) fault("has no ", key);
    return *value;
  }
  double number(const char* key, double otherwise) const { return maybe(key).value_or(otherwise); }

 private:
  const Json& frame_;
  const Json* all_;
};

Matrix matrix(const Json& frame, const char* key) {
  const auto found = frame.find(key);
  if (found == frame.end()) fault("has no ", key);
  const auto is_row = [](const Json& row) { return row.is_array() && row.size() == 4; };
  if (!found->is_array() || found->size() != 4 || !is_row((*found)[0]) || !is_row((*found)[1]) ||
      !is_row((*found)[2]) || !is_row((*found)[3]))
    fault(key, " is no matrix of 4 x 4 numbers");
  Matrix result;
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) {
      const auto& one = (*found)[static_cast<size_t>(r)][static_cast<size_t>(c)];
      if (!one.is_number()) fault(key, ": row ", r, ", column ", c, " is not a number");
      result(r, c) = one.get<double>();
    }
  if (const auto why = fault_of_pose(result); !why.empty()) fault(key, " is no pose: ", why);
  return result;
}

std::string file_path(const Json& frame) {
  const auto found = frame.find("file_path");
  if (found == frame.end() || !found->is_string() || found->get_ref<const std::string&>().empty())
    fault("a camera without an image: it has no file_path");
  return found->get<std::string>();
}

/// Intrinsics are those of the stored image: w and h inform, and are not scaled by
/// (spec/views 2.1).
void read_opencv(const Json& frame, const Json* all, Shot& shot) {
  const Keys keys(frame, all);
  shot.lens.scales = false;
  shot.lens.width = keys.number("w", 0);
  shot.lens.height = keys.number("h", 0);
  shot.lens.fx = keys.number("fx");
  shot.lens.fy = keys.number("fy");
  shot.lens.cx = keys.number("cx");
  shot.lens.cy = keys.number("cy");
  shot.c2w = inverse(matrix(frame, "w2c"));
}

/// nerfstudio's mask of one photograph.
std::string mask_path(const Json& frame) {
  const auto found = frame.find("mask_path");
  if (found == frame.end() || found->is_null()) return "";
  if (!found->is_string()) fault("mask_path is no name of a file");
  return found->get<std::string>();
}

bool is_fisheye(const Keys& keys) {
  if (const auto* flag = keys.find("is_fisheye"); flag != nullptr && flag->is_boolean())
    return flag->get<bool>();
  const auto* found = keys.find("camera_model");
  if (found == nullptr) return false;
  const auto model = found->is_string() ? found->get<std::string>() : found->dump();
  for (const char* known :
       {"OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE"})
    if (model == known) return true;
  for (const char* known :
       {"OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE"})
    if (model == known) return false;
  fault("camera_model ", io::printable(model),
        " is none that can be made a pinhole: ", "undistort the images first");
}

void read_lens(const Keys& keys, Lens& lens) {
  lens.centre = 0;  // as the official converter has it; see Lens
  lens.width = keys.number("w", 0);
  lens.height = keys.number("h", 0);
  lens.fx = keys.number("fl_x", 0);
  lens.fy = keys.number("fl_y", 0);
  lens.angle_x = keys.number("camera_angle_x", 0);
  lens.angle_y = keys.number("camera_angle_y", 0);
  if (lens.fx <= 0 && lens.angle_x <= 0) fault("has neither fl_x nor camera_angle_x");
  lens.cx = keys.number("cx", lens.cx);
  lens.cy = keys.number("cy", lens.cy);
  lens.fisheye = is_fisheye(keys);
  const auto k = [&](const char* key) { return keys.number(key, 0); };
  if (lens.fisheye) {
    lens.distortion = {k("k1"), k("k2"), k("k3"), k("k4")};
    return;
  }
  lens.distortion = {k("k1"), k("k2"), k("p1"), k("p2"), k("k3")};
  if (k("k4") != 0)
    fault("k4 is for fisheye lenses: set camera_model to OPENCV_FISHEYE, or k4 to 0");
}

void read_nerfstudio(const Json& frame, const Json& all, const Matrix& world, Shot& shot) {
  read_lens(Keys(frame, &all), shot.lens);
  shot.c2w = placed(world, opencv_axes(matrix(frame, "transform_matrix")));
  if (const auto why = fault_of_pose(shot.c2w); !why.empty())
    fault("transform_matrix is no pose without the applied_transform: ", why);
}

/// Which list of nerfstudio's a photograph is in; what is for tests is, whatever else it is.
class Split {
 public:
  explicit Split(const Json& file) {
    read(file, "train_filenames", Shot::Part::train);
    names_train_ = !parts_.empty();
    read(file, "val_filenames", Shot::Part::validation);
    read(file, "test_filenames", Shot::Part::test);
  }
  Shot::Part of(const std::string& file) const {
    const auto found = parts_.find(plain(file));
    if (found != parts_.end()) return found->second;
    if (parts_.empty()) return Shot::Part::none;
    return names_train_ ? Shot::Part::unlisted : Shot::Part::train;
  }

 private:
  static std::string plain(const std::string& file) {
    return std::filesystem::path(file).lexically_normal().string();
  }
  void read(const Json& file, const char* key, Shot::Part part) {
    const auto list = file.find(key);
    if (list == file.end() || !list->is_array()) return;
    for (const auto& name : *list)
      if (name.is_string()) parts_[plain(name.get<std::string>())] = part;
  }

  std::map<std::string, Shot::Part> parts_;
  bool names_train_ = false;
};

template <class Read>
std::vector<Shot> read_frames(const Json& frames, const Read& read) {
  std::vector<Shot> shots;
  for (size_t i = 0; i < frames.size(); ++i) {
    Shot shot;
    shot.place = concat("frame ", i);
    try {
      if (!frames[i].is_object()) fault("is no object");
      shot.file = file_path(frames[i]);
      shot.mask_name = mask_path(frames[i]);
      read(frames[i], shot);
    } catch (const Error& error) {
      shot.fault = error.what();
    }
    shots.push_back(std::move(shot));
  }
  return shots;
}

/// A frame of opencv_cameras.json, in whatever list.
bool is_opencv(const Json& frame) {
  return frame.is_object() && frame.contains("w2c") && !frame.contains("transform_matrix");
}

}  // namespace

Json parse_python_json(std::string_view text, const std::string& what) {
  std::string clean;
  clean.reserve(text.size());
  bool quoted = false;
  for (size_t i = 0; i < text.size();) {
    const auto rest = text.substr(i);
    size_t length = 0;
    if (!quoted)
      for (const std::string_view word : {"NaN", "-Infinity", "Infinity"})
        if (rest.substr(0, word.size()) == word) length = word.size();
    if (length > 0) {
      clean += "null";
      i += length;
      continue;
    }
    if (text[i] == '"') quoted = !quoted;
    clean += text[i++];
    if (quoted && clean.back() == '\\' && i < text.size()) clean += text[i++];
  }
  return io::parse_json(clean, what);
}

CameraFile parse_camera_file(std::string_view text, const std::string& what) {
  const auto json = parse_python_json(text, what);
  if (json.is_array() && (json.empty() || json[0].is_object()))
    return {
        read_frames(json, [](const Json& frame, Shot& shot) { read_opencv(frame, nullptr, shot); }),
        {}};
  const auto frames = json.is_object() ? json.find("frames") : json.end();
  if (!json.is_object() || frames == json.end() || !frames->is_array())
    throw Error(Exit::data, what,
                ": no camera file: expected an array of cameras (opencv_cameras.json) or an object "
                "with \"frames\" (transforms.json)");
  // No program turns frames with w2c: where all are such, there is nothing to undo.
  const bool turned = frames->empty() || !std::all_of(frames->begin(), frames->end(), is_opencv);
  CameraFile file{{}, turned ? undone_import(json, what) : Matrix{}};
  const Split split(json);
  file.shots = read_frames(*frames, [&](const Json& frame, Shot& shot) {
    shot.part = split.of(shot.file);
    if (is_opencv(frame))
      read_opencv(frame, &json, shot);
    else
      read_nerfstudio(frame, json, file.world, shot);
  });
  return file;
}

}  // namespace lact::views
