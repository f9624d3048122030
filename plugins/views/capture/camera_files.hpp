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

/// The shots of either, in the order of the file, each with its fault if it has one.
/// Errors   65 naming `what` if it is neither
std::vector<Shot> parse_camera_file(std::string_view text, const std::string& what);

}  // namespace lact::views
