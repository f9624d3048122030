#pragma once
// COLMAP's models: cameras and images, in text and binary. Points are passed over.
// Source: https://colmap.github.io/format.html, and src/colmap/sensor/models.h for the lenses.

#include "capture.hpp"

#include <cstdint>
#include <istream>
#include <map>
#include <string>
#include <vector>

namespace lact::views {

/// A camera of a model. A lens that cannot be made a pinhole has a fault.
struct ColmapCamera {
  Lens lens;
  std::string fault;
};
using ColmapCameras = std::map<uint32_t, ColmapCamera>;

// Errors   65 naming `what` and the place if the file is malformed
ColmapCameras colmap_cameras_text(std::istream& in, const std::string& what);
ColmapCameras colmap_cameras_binary(std::istream& in, uint64_t bytes, const std::string& what);
/// Shots sorted by name.
std::vector<Shot> colmap_images_text(std::istream& in, const ColmapCameras& cameras,
                                     const std::string& what);
std::vector<Shot> colmap_images_binary(std::istream& in, uint64_t bytes,
                                       const ColmapCameras& cameras, const std::string& what);

/// A folder with cameras.bin and images.bin, or both in .txt.
bool is_colmap_model(const std::filesystem::path& folder);
/// The file of its images, and its shots. Errors: 65 and 66 naming the file
std::vector<Shot> read_colmap(const std::filesystem::path& folder, std::filesystem::path& file);

}  // namespace lact::views
