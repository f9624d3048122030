#pragma once
// A scene as the model sees it: views of one size, their cameras and names.

#include <plugins/common/media/image.hpp>
#include <plugins/views/camera/camera.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::views {

struct Scene {
  std::string name;
  std::vector<std::string> files;  ///< names of the originals, as their camera file has them
  std::vector<media::Image> images;
  std::vector<Camera> cameras;  ///< of the prepared images
  Matrix world;                 ///< what has led from the file's poses to these (camera/world.hpp)
  std::vector<int64_t> held;    ///< the views that the camera file itself holds out, if asked for
};

}  // namespace lact::views
