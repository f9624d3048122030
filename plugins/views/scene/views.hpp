#pragma once
// The views of a scene in two parts: those that are read, and those that are held out.

#include "packed_scenes.hpp"
#include "scene.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lact::views {

/// Views of a scene in two parts: read, and held out.
struct Views {
  Scene scene;
  std::vector<int64_t> context, targets;

  std::vector<Camera> context_cameras() const;
  std::vector<Camera> target_cameras() const;
};

/// Which of a scene's views are read: `context` of them, or all, by K-means over those that are not
/// held out; every `target_every`-th is (0: what is not read is), or with `split` Scene::held.
struct Choice {
  std::optional<int64_t> context;
  int64_t target_every = 0;
  std::string how = "kmeans";  ///< "first", "random", "even"
  bool split = false;
};
/// Errors   64 if there are fewer views, or no views are held out where they should be
void choose(Views& views, const Choice& choice, uint64_t seed);

/// A scene of packed data. Images are copies. Errors: 66 if there is no such scene
Views packed_views(const PackedScenes& data, int64_t scene);

}  // namespace lact::views
