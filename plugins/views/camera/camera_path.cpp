// nerfstudio's camera_path.json.

#include "trajectory.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lact::views {
namespace {

using nlohmann::json;

constexpr size_t kMostFrames = 1'000'000;
constexpr double kMostPixels = 65536;  // of a side

/// A number of an object; `otherwise` if the key is missing and there is one.
double number(const json& object, const char* key, const std::string& where,
              double otherwise = std::nan("")) {
  const auto found = object.find(key);
  if (found == object.end() && !std::isnan(otherwise)) return otherwise;
  if (found == object.end() || !found->is_number() || !std::isfinite(found->get<double>()))
    throw Error(Exit::data, where, ": ", key, ": expected a number, found ",
                found == object.end() ? "none" : io::printable(found->dump()));
  return found->get<double>();
}

int64_t side(const json& object, const char* key, const std::string& where) {
  const double value = number(object, key, where);
  if (!(value >= 1 && value <= kMostPixels))
    throw Error(Exit::data, where, ": ", key, ": expected 1 to ", kMostPixels, " pixels, found ",
                value);
  return static_cast<int64_t>(value);
}

Matrix pose_of(const json& frame, const std::string& where) {
  const auto found = frame.find("camera_to_world");
  if (found == frame.end() || !found->is_array() || found->size() != 16 ||
      !std::all_of(found->begin(), found->end(), [](const json& one) { return one.is_number(); }))
    throw Error(Exit::data, where, ": camera_to_world: expected 16 numbers, row by row");
  Matrix pose;
  for (size_t i = 0; i < 16; ++i) pose.m[i] = (*found)[i].get<double>();
  const auto fault = fault_of_pose(pose);
  if (!fault.empty()) throw Error(Exit::data, where, ": camera_to_world: ", fault);
  return opencv_axes(pose);
}

}  // namespace

Trajectory parse_camera_path(std::string_view text, const std::string& name, const Matrix& world) {
  const auto file = io::parse_json(text, name);
  if (!file.is_object()) throw Error(Exit::data, name, ": expected a JSON object");
  const auto type = file.find("camera_type");
  if (type != file.end() && *type != "perspective")
    throw Error(Exit::data, name, ": camera_type: expected \"perspective\", found ",
                io::printable(type->dump()));
  const auto frames = file.find("camera_path");
  if (frames == file.end() || !frames->is_array() || frames->empty() ||
      frames->size() > kMostFrames)
    throw Error(Exit::data, name, ": camera_path: expected a list of 1 to ", kMostFrames,
                " cameras");
  Trajectory out{{}, side(file, "render_width", name), side(file, "render_height", name)};
  const auto w = static_cast<double>(out.width), h = static_cast<double>(out.height);
  for (size_t i = 0; i < frames->size(); ++i) {
    const auto& frame = (*frames)[i];
    const auto where = concat(name, ": camera_path[", i, "]");
    if (!frame.is_object()) throw Error(Exit::data, where, ": expected an object");
    const double fov = number(frame, "fov", where);
    if (!(fov > 0 && fov < 180))
      throw Error(Exit::data, where, ": fov: expected degrees between 0 and 180, found ", fov);
    const double f = h / 2 / std::tan(fov * std::numbers::pi / 360);
    const auto pose = placed(world, pose_of(frame, where));
    if (const auto fault = fault_of_pose(pose); !fault.empty())
      throw Error(Exit::data, where, ": camera_to_world: in the world of the photographs: ", fault);
    out.cameras.push_back({f, f, w / 2, h / 2, pose});
  }
  const double seconds = number(file, "seconds", name, 0);
  const double rate = static_cast<double>(out.cameras.size()) / seconds;
  out.rate = number(file, "fps", name, seconds > 0 ? rate : 30);
  if (!(out.rate > 0 && out.rate <= 1000))
    throw Error(Exit::data, name, ": expected more than 0 and at most 1000 frames a second, found ",
                out.rate);
  return out;
}

Trajectory read_camera_path(const std::filesystem::path& file, const Matrix& world) {
  return parse_camera_path(io::read_text(file, uint64_t{1} << 30), file.string(), world);
}

}  // namespace lact::views
