#pragma once
// Packed scenes: what lact-tokenize views pack writes and training reads, memory-mapped.
//
// SPLIT.safetensors, or SPLIT-0000i-of-0000n.safetensors with SPLIT.safetensors.index.json; each
// scene lies in one file. Of scene S, a number of six digits:
//   S.images      U8 [V, H, W, 3]
//   S.intrinsics  F64 [V, 4]: fx, fy, cx, cy in pixels of these images
//   S.c2w         F64 [V, 4, 4]: camera to world, OpenCV's axes, in the world of the scene
//   S.names       U8: JSON {"name": of the scene, "files": [of the originals], "world": what led
//                 from the originals' poses to these, if anything (camera/world.hpp), "held":
//                 [views that the original holds out, from 0, if it was asked]}
//   S.padding     U8, at most 7 zeros, so that numbers are aligned; to be ignored
// Checksums (see io/safetensors.hpp). Metadata: lact.kind = "views", lact.version = "1", width,
// height, split ("train", "validation").

#include <plugins/views/camera/camera.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::views {

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
  /// As Scene::world and Scene::held.
  const Matrix& world(int64_t scene) const;
  const std::vector<int64_t>& held(int64_t scene) const;
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
