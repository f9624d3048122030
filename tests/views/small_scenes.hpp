#pragma once
// Small synthetic scenes for tests: coloured balls in front of cameras on a sphere.

#include <plugins/views/scene/scene.hpp>

#include <filesystem>
#include <string>

namespace lact::test {

/// `views` pictures of size x size of a ball whose colour and place follow from `seed`.
views::Scene small_scene(int seed, int64_t views, int64_t size);
/// FOLDER/images/*.png and FOLDER/opencv_cameras.json.
void write_scene(const views::Scene& scene, const std::filesystem::path& folder);
/// FOLDER/train.safetensors (`train` scenes) and FOLDER/validation.safetensors (`validation`).
void write_packed(const std::filesystem::path& folder, int train, int validation, int64_t views,
                  int64_t size);

}  // namespace lact::test
