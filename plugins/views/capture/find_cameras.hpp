#pragma once
// Where other programs put the cameras of a scene, and what its folder is.

#include <filesystem>
#include <string>
#include <vector>

namespace lact::views {

/// The camera file that a path means, or the folder of the COLMAP model; several folders are the
/// parts of a reconstruction that fell apart. A folder means opencv_cameras.json, transforms.json,
/// nerfstudio/transforms.json or transforms_train.json in it; a model in it, in sparse or sparse/N,
/// beside images in colmap or colmap/sparse/N, or with images in dense/0 or dense. Empty: none.
std::vector<std::filesystem::path> find_cameras(const std::filesystem::path& where);

/// Errors   66 always: `where` holds none
[[noreturn]] void no_cameras(const std::filesystem::path& where);

/// The folder that COLMAP was run in: above sparse/0.
std::filesystem::path colmap_root(const std::filesystem::path& model);

/// A path without `name` at its end.
std::filesystem::path above(std::filesystem::path folder, const char* name);

/// What a scene is called by where its cameras lie, but for the folders that all scenes have.
std::string scene_name(const std::filesystem::path& cameras);

/// "chairs/oak" of "chairs/oak/opencv_cameras.json"; "" for what leads out of the list's folder.
std::string listed_name(const std::filesystem::path& item);

}  // namespace lact::views
