#pragma once
// A scene as the model sees it: views of one size, their cameras and names; and packed sets of
// them.

#include <plugins/common/media/image.hpp>
#include <plugins/views/camera/camera.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::views {

struct Scene {
  std::string name;
  std::vector<std::string> files;  ///< names of the originals, as their camera file has them
  std::vector<media::Image> images;
  std::vector<Camera> cameras;  ///< of the prepared images; poses as in the file
  bool nerfstudio = false;      ///< but turned, as reading a transforms.json does (spec 2.2)
};

/// How originals become images of one size.
struct Preparation {
  int64_t width = 256, height = 256;
  media::Colour background{255, 255, 255};
  /// Folder of masks named as the images, whatever the suffix; their brightness is alpha. It is
  /// looked for in the scene's folder first, then from here. Empty: none.
  std::filesystem::path masks;
  /// Folder of the photographs, looked for likewise. Empty: where the cameras say; of COLMAP the
  /// folder "images" beside the model.
  std::filesystem::path images;
  /// A film whose frames are the views: a name that ends in N means its N-th frame, counted from 1,
  /// or from 0 if one of them ends in 0. Empty: none.
  std::filesystem::path video;
  int64_t every = 1;      ///< of the views listed, each so-manieth
  int64_t max_views = 0;  ///< of those that are sound, at most so many, evenly spread; 0: all
  bool strict = false;    ///< the first fault is an error, not a skipped view
};

/// What was passed over, one line each, named.
struct Skipped {
  std::vector<std::string> lines;
};

/// Reads opencv_cameras.json, transforms.json, a COLMAP model (text or binary), or a folder that
/// holds one of them; images beside it, or frames of a video that transforms.json-like cameras are
/// given for. Distortion is undone.
/// Errors   65 and 66, naming file and place
Scene read_scene(const std::filesystem::path& where, const Preparation& how, Skipped& skipped);

/// Scenes of a packed file (PREFIX.safetensors, or PREFIX.safetensors.index.json with shards),
/// memory-mapped.
class PackedScenes {
 public:
  /// A folder of lact-tokenize views pack (its `split`.safetensors), or a file.
  /// Errors   66 if missing, 65 if malformed, naming file and scene
  static PackedScenes open(const std::filesystem::path& where, const std::string& split = "train");

  int64_t size() const;
  int64_t width() const;
  int64_t height() const;
  const std::string& name(int64_t scene) const;
  const std::vector<std::string>& files(int64_t scene) const;
  const std::vector<Camera>& cameras(int64_t scene) const;
  /// Poses came from a transforms.json: Scene::nerfstudio.
  bool nerfstudio(int64_t scene) const;
  int64_t views(int64_t scene) const { return static_cast<int64_t>(files(scene).size()); }
  /// uint8 [V, H, W, 3], a view of the mapping; not to be written to.
  at::Tensor images(int64_t scene) const;
  /// Compares all with the checksums; reads all. (open() does so with all but the images.)
  /// Errors   65 naming the tensor that is damaged
  void verify() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lact::views
