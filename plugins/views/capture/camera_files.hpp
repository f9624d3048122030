#pragma once
// Camera files in JSON: opencv_cameras.json (spec/views 2.1) and transforms.json of nerfstudio,
// NeRF and instant-ngp (spec/views 2.2).

#include "capture.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string_view>

namespace lact::views {

/// JSON as Python writes it: NaN and Infinity, which JSON does not have, become null.
/// Errors   65 naming `what`
nlohmann::json parse_python_json(std::string_view text, const std::string& what);

struct CameraFile {
  std::vector<Shot> shots;  ///< in the order of the file, each with its fault if it has one
  Matrix world;             ///< as Capture::world
};
/// Either of them. A frame with w2c is one of opencv_cameras.json, whatever stands around the list.
/// Errors   65 naming `what` if it is neither
CameraFile parse_camera_file(std::string_view text, const std::string& what);

}  // namespace lact::views
