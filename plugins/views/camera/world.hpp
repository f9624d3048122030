#pragma once
// Worlds of other programs: a similarity leads from the world that a file's poses are in to that
// of ours.

#include "camera.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace lact::views {

/// A pose in OpenGL's axes (x right, y up, z backward) in OpenCV's.
Matrix opencv_axes(Matrix pose);

/// A pose in another world. `world` may scale: positions follow, rotations stay rotations.
Matrix placed(const Matrix& world, const Matrix& pose);

/// What undoes the older import of COLMAP's models by nerfstudio, as its official converter does
/// (spec/views 2.2): rows 0 and 1 swapped, row 2 negated.
Matrix nerfstudio_world();

/// What undoes the applied_transform and applied_scale of a transforms.json: the program that made
/// the file says so how it has turned the world that its cameras came from. Identity without them.
/// Errors   65 naming `what` if they are no rotation, shift and scale
Matrix undone_import(const nlohmann::json& file, const std::string& what);

/// What undoes the orientation, shift and scale of a data parser of nerfstudio, which
/// dataparser_transforms.json names: from the world of its viewer's paths to that before the
/// import. Errors   66, 65 naming the file
Matrix read_dataparser_world(const std::filesystem::path& file);
/// The same from text; `name` stands in errors.
Matrix parse_dataparser_world(std::string_view text, const std::string& name);

/// A world in a file of ours: 16 numbers, row by row, and the words of earlier versions.
nlohmann::json world_json(const Matrix& world);
/// Errors   65 naming `what`
Matrix world_of(const nlohmann::json& value, const std::string& what);

}  // namespace lact::views
