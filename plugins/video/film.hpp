#pragma once
// A film being made: chunk after chunk from noise, at constant cost and memory; saved and resumed
// with the same bytes. Source: spec video 5.5, 7.3.

#include "codec.hpp"
#include "condition.hpp"
#include "model.hpp"
#include "sampler.hpp"

#include <lact/io/state.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace lact::video {

struct FilmOptions {
  std::string sampler = "unipc";
  int64_t steps = 12;
  double shift = 3, guidance = 1;
  uint64_t seed = 42;
};

/// All the next chunk depends on. Noise of chunk c is a function of seed and c alone.
class Film {
 public:
  /// Prompts embedded: [1, l, text_dim]; `negative` is not looked at with a guidance of 1.
  Film(const VideoModel& model, const Codec& codec, const FilmOptions& options,
       const at::Tensor& prompt, const at::Tensor& negative, int64_t width, int64_t height);
  /// Goes on from a state; prompts as given or, undefined, as they were.
  /// Errors   65 naming `name`: of another model (`model_hash`), malformed
  Film(const VideoModel& model, const Codec& codec, const io::State& state, const std::string& name,
       const std::string& model_hash);

  int64_t chunks() const;  ///< finished, given ones included
  /// Reads frames that exist: latents [1, k * chunk_frames, c, h, w]; whole chunks.
  void give(const at::Tensor& latents);
  /// Makes the next chunk: latents [1, chunk_frames, c, h, w]. `step` hears of each step done.
  at::Tensor next(const std::function<void()>& step = {});
  /// Frames of latents that came from give() or next(), in order: [F, H, W, 3] uint8.
  at::Tensor frames(const at::Tensor& latents);
  io::State save(const std::string& model_hash) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Chunk after chunk for a whole film: [1, chunks * chunk_frames, c, h, w] of given noise (golden
/// files, tests, quality).
at::Tensor rollout(const VideoModel& model, const at::Tensor& noise, const at::Tensor& prompt,
                   const at::Tensor& negative, const FilmOptions& options);

}  // namespace lact::video
