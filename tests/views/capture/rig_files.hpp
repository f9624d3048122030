#pragma once
// One small rig of cameras, written as each of the programs that we read from writes it.

#include "support/test.hpp"

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

/// Matrices are inverted, quaternions come and go: some roundings of numbers near 1.
constexpr double kRounding = 1e-13;

/// A folder with transforms.json and its four images, for faults to be put in.
struct Place {
  TemporaryFolder folder;
  nlohmann::json json = transforms_json(rig_cameras());

  Place() { write_rig_images(folder / "images"); }
  /// The folder, with `json` in it.
  std::filesystem::path write() const;
  /// With `text` in it, of which `from` becomes `to`.
  std::filesystem::path write(std::string text, const std::string& from,
                              const std::string& to) const;
};
/// The line that reading three of four views gives; all else must be as it was.
std::string line_of(const std::filesystem::path& where, int lost = 1);

/// Reads with the size of the images, unless told otherwise.
views::Preparation as_it_is();
views::Scene read(const std::filesystem::path& where, views::Skipped* skipped = nullptr,
                  views::Preparation how = as_it_is());
/// The words of the error that reading gives, with its code in front: "65 ...".
std::string refusal(const std::filesystem::path& where, views::Preparation how = as_it_is());

/// The largest difference of two lists of cameras.
double difference(const std::vector<views::Camera>& a, const std::vector<views::Camera>& b);

}  // namespace lact::test
