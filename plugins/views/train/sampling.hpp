#pragma once
// Which views a training step sees: a pure function of seed and position. Source:
// spec/views 2.6, 7.

#include <plugins/views/model/rays.hpp>
#include <plugins/views/scene/packed_scenes.hpp>

#include <lact/train/task.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::views {

struct Sampling {
  int64_t views = 15;       ///< drawn from a scene without repeats, or all of it
  int64_t context = 8;      ///< the first of them
  int64_t min_context = 0;  ///< a step draws its number from [min_context, context]; 0: `context`
  int64_t targets = 8;      ///< the last of them; they may overlap with the context
  std::string normalize = "none";  ///< Config::normalize_poses
};

/// Views of one scene.
struct Draw {
  int64_t scene = 0;
  std::vector<int64_t> context, targets;
  std::vector<int64_t> sample;  ///< all that were drawn, each once: poses are normalised over them
};

/// How many context views the rows of a step have: equal, so that they fit one batch.
int64_t context_count(const Sampling& how, uint64_t seed, int64_t step);

/// The views of `scene` (`count` of them) that the row at `position` sees.
Draw draw(const Sampling& how, int64_t context, int64_t scene, int64_t count, uint64_t seed,
          int64_t position);

/// Errors   65 naming the scene that has fewer views than a step has context or target views
void check(const PackedScenes& data, const Sampling& how, const std::string& where);

/// "images" [B, I, H, W, 3] uint8, "intrinsics" [B, I, 4], "poses" [B, I, 4, 4]; "target_images",
/// ... [B, T, ...].
train::Batch make_batch(const PackedScenes& data, const std::vector<Draw>& rows,
                        const std::string& normalize);

/// Context and targets of a batch on a device; images [..., 3, H, W], uint8.
Posed context_of(const train::Batch& batch, at::Device device);
Posed targets_of(const train::Batch& batch, at::Device device);

}  // namespace lact::views
