#pragma once
// One small rig of cameras, written as each of the programs that we read from writes it.

#include <plugins/views/capture/capture.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace lact::test {

constexpr int64_t kRigWidth = 12, kRigHeight = 10;

/// Cameras of images of 12 x 10 pixels that look at about the origin.
std::vector<views::Camera> rig_cameras(int count = 4);
/// "a 0.png", "a 1.png", ...: names with a blank.
std::vector<std::string> rig_names(int count = 4);
/// What view i shows: no two views alike.
media::Image rig_image(int i);
void write_rig_images(const std::filesystem::path& folder, int count = 4);

nlohmann::json transforms_json(const std::vector<views::Camera>& cameras);
struct Model {
  std::string cameras, images;
};
/// cameras.txt and images.txt; each image has two points.
Model colmap_text(const std::vector<views::Camera>& cameras);
/// cameras.bin and images.bin. `points` of each image.
Model colmap_binary(const std::vector<views::Camera>& cameras, int points = 2);

void put(const std::filesystem::path& file, const std::string& text);

/// Reads with the size of the images, unless told otherwise.
views::Preparation as_it_is();
views::Scene read(const std::filesystem::path& where, views::Skipped* skipped = nullptr,
                  views::Preparation how = as_it_is());
/// The words of the error that reading gives, with its code in front: "65 ...".
std::string refusal(const std::filesystem::path& where, views::Preparation how = as_it_is());

/// The largest difference of two lists of cameras.
double difference(const std::vector<views::Camera>& a, const std::vector<views::Camera>& b);

}  // namespace lact::test
