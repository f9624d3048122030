#pragma once
// How packed scenes are written; packed_scenes.hpp says what is in the files.

#include <plugins/common/media/image.hpp>
#include <plugins/common/packed/shards.hpp>
#include <plugins/views/camera/camera.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::views {

using packed::kShardBytes;

/// Writes the scenes of one split, in the memory that cameras and names take. Nothing appears
/// before commit(); without it nothing stays.
class SceneWriter {
 public:
  /// `views` of each scene at most, in the order in which they will come: from them follows what
  /// lies in which file.
  /// Errors   73 if the folder cannot be written to; here and below 74 if a write fails
  SceneWriter(const std::filesystem::path& folder, std::string split, int64_t width, int64_t height,
              const std::vector<int64_t>& views, uint64_t shard_bytes = kShardBytes);
  ~SceneWriter();
  SceneWriter(const SceneWriter&) = delete;
  SceneWriter& operator=(const SceneWriter&) = delete;

  /// What is added from here on belongs to the next scene. A scene to which nothing is added is
  /// left out.
  /// `world`: as Scene::world.
  void begin_scene(const std::string& name, const Matrix& world = {});
  /// `held`: it is one of Scene::held.
  /// Errors   70 if the image has another size, or alpha
  void add(const std::string& file, const Camera& camera, const media::Image& image,
           bool held = false);

  int64_t scenes() const;  ///< that have views
  int64_t views() const;
  /// All is on the disk, under other names. Errors: 70 if there is no scene
  void seal();
  /// Makes the files appear, and removes those of an earlier run that do not belong to these.
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lact::views
