#pragma once
// A scene that was read: all that rendering it, or adding views to it, needs.

#include <plugins/views/model/model.hpp>

#include <lact/io/state.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::views {

struct SceneState {
  SceneWeights weights;
  Normalization normal;         ///< of the first views read; later ones get the same
  std::vector<Camera> cameras;  ///< of the views read, as their files have them
  std::vector<std::string> files;
  int64_t width = 0, height = 0;  ///< of the images read
  Matrix world;                   ///< of the first views read: Scene::world
};

/// "layer.I.w0", "w1", "w2" in the published orientation, float32; cameras, frame and scale in
/// float64.
io::State to_state(const SceneState& scene, const std::string& model_hash);
/// Errors   65 if it is no scene, of another model (`model_hash`), or does not fit `model`
SceneState from_state(const io::State& state, const ViewModel& model,
                      const std::string& model_hash);

}  // namespace lact::views
