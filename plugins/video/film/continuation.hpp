#pragma once
// How far a continuation stays like the real one: clips of which the first chunks are context.

#include "film.hpp"
#include "sampling_options.hpp"

#include <plugins/video/packed/packed_clips.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace lact::video {

/// Clips of the same length side by side.
struct ClipBatch {
  at::Tensor latents;  ///< [B, chunks * chunk_frames, c, h, w]
  at::Tensor video;    ///< [B, 3, F, H, W] in [0, 1]
};

/// Whole chunks that a clip has.
int64_t chunks_of(const PackedClips& data, int64_t clip, const LoadedVideo& loaded);
/// The first `chunks` of each; of packed latents the pictures are what the codec makes of them.
/// Errors   65 if the latents are of another codec, 64 if the size does not fit the model
ClipBatch read_clips(const PackedClips& data, const std::vector<int64_t>& which,
                     const LoadedVideo& loaded, int64_t chunks);

/// Likeness of pictures, summed up.
class Likeness {
 public:
  /// a, b [B, 3, F, H, W] in [0, 1]
  void add(const at::Tensor& a, const at::Tensor& b);
  void add(const Likeness& other);
  double psnr() const;  ///< of the mean squared error over all that was added; 100 of equal ones
  std::optional<double> ssim() const;  ///< mean over pictures; none of pictures below 11 x 11
  bool empty() const { return numbers_ == 0; }

 private:
  double squared_ = 0, numbers_ = 0, ssim_ = 0, pictures_ = 0;
};

struct ChunkScore {
  Likeness ours, repeated;  ///< repeated: the last context frame, again and again
  double velocity = 0;      ///< squared error of velocities, summed
  double velocities = 0;
  void add(const ChunkScore& other);
};

struct ContinuationOptions {
  FilmOptions film;
  int64_t context = 1;                 ///< chunks
  std::vector<uint64_t> seeds = {42};  ///< each continues anew
};

/// Continues the clips and compares, chunk by chunk; `clips` are their numbers, which noise follows
/// from. Texts [B, l, text_dim] as Rollout. `made`, if given, receives what the first seed made:
/// [B, 3, F, H, W], the context before it. `step` hears of each step of the sampler.
std::vector<ChunkScore> continue_clips(const LoadedVideo& loaded, const ClipBatch& batch,
                                       const std::vector<int64_t>& clips, const at::Tensor& prompt,
                                       const at::Tensor& negative,
                                       const ContinuationOptions& options,
                                       const std::function<void()>& step = {},
                                       at::Tensor* made = nullptr);

}  // namespace lact::video
