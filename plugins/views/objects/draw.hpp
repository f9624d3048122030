#pragma once
// A model to a folder of pictures and cameras.

#include "models.hpp"
#include "rig.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

namespace lact::views::objects {

struct DrawSettings {
  Rig rig;
  int samples = 2;             ///< points of a pixel, on a side
  bool z_up = false;           ///< of the models; else y is up
  double min_coverage = 0.01;  ///< of its pictures, or the model is left out
  uint64_t seed = 0;
  std::filesystem::path output;
};

/// What became of a model.
struct Drawn {
  Faults faults;
  std::string skipped;     ///< why there are no pictures of it; empty: there are
  bool invisible = false;  ///< that is why
};

void make_folder(const std::filesystem::path& folder);

/// Makes `output`/NAME/images/000.png... and opencv_cameras.json of a model. The folder appears
/// whole or not at all; it is not made durable (sync() does that for all).
/// Errors   73 and 74; what is wrong with the model itself is told in the result
Drawn draw(const Model& model, const DrawSettings& settings, const std::atomic<bool>& stop);

/// Makes all that was written to the file system of `folder` durable.
void sync(const std::filesystem::path& folder);

}  // namespace lact::views::objects
