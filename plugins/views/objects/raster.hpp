#pragma once
// Pictures of a mesh: a z-buffer on the CPU.

#include "mesh.hpp"

#include <plugins/common/media/image.hpp>
#include <plugins/views/camera/camera.hpp>

#include <memory>

namespace lact::views::objects {

/// Draws one mesh (after stand()) from many cameras. Each pixel is the mean of samples x samples
/// points. Surfaces are seen from both sides; nearer than 0.01 nothing is seen. Light is fixed to
/// the world: the more a surface faces it the lighter, from 0.5 to 1 of its colour. The result
/// depends on the arguments alone.
class Renderer {
 public:
  Renderer(const Mesh& mesh, int64_t width, int64_t height, int samples);
  ~Renderer();

  /// RGBA, on nothing.
  /// Errors   65 if more than 2^25 points are seen through others
  media::Image draw(const Camera& camera);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lact::views::objects
