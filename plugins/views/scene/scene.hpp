#pragma once
// A scene as the model sees it: views of one size, their cameras and names.

#include <plugins/common/media/image.hpp>
#include <plugins/views/camera/camera.hpp>

#include <string>
#include <vector>

namespace lact::views {

struct Scene {
  std::string name;
  std::vector<std::string> files;  ///< names of the originals, as their camera file has them
  std::vector<media::Image> images;
  std::vector<Camera> cameras;  ///< of the prepared images; poses as in the file
  bool nerfstudio = false;      ///< but turned, as reading a transforms.json does (spec/views 2.2)
};

}  // namespace lact::views
