#pragma once
// Frames that exist become the beginning of a film, or its next chunks.

#include "film.hpp"
#include "frame_source.hpp"

#include <cstdint>
#include <functional>

namespace lact::video {

struct Given {
  int64_t frames = 0;  ///< learned
  int64_t left = 0;    ///< at the end, which fill no chunk
};

/// Reads at most `limit` frames in whole chunks: in constant memory where each latent stands for
/// one frame, else all of them. `each` gets the chunk's frames as the model has them, `poll` is
/// called before every piece of work.
/// Errors   64 where the film has begun and latents cover several frames
Given give_frames(Film& film, const Codec& codec, int64_t chunk_frames, at::Device device,
                  FrameSource& source, int64_t limit,
                  const std::function<void(const at::Tensor&)>& each,
                  const std::function<void()>& poll);

}  // namespace lact::video
