#pragma once
// A film being made: chunk after chunk from noise, at constant cost and memory; saved and resumed
// with the same bytes. Source: spec/video 5.5, 7.3.

#include "sampler.hpp"

#include <plugins/video/codec/codec.hpp>
#include <plugins/video/condition/condition.hpp>
#include <plugins/video/model/model.hpp>

#include <lact/cli/processes.hpp>
#include <lact/io/state.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lact::video {

struct FilmOptions {
  std::string sampler = "unipc";
  int64_t steps = 12;
  double shift = 3, guidance = 1;
  uint64_t seed = 42;
  bool operator==(const FilmOptions&) const = default;
};

/// Normal noise of a chunk, float32 on the CPU: a function of seed, chunk and shape alone.
at::Tensor chunk_noise(uint64_t seed, int64_t chunk, at::IntArrayRef shape);

/// A chunk of a film of that size: [1, chunk_frames, c, h, w].
/// Errors   64 for a size that has no whole patches
std::vector<int64_t> chunk_shape(const Config& config, const Codec& codec, int64_t width,
                                 int64_t height);

/// Films side by side, in latents: what they remember under both branches of guidance. Chunks are
/// [B, chunk_frames, c, h, w].
class Rollout {
 public:
  /// Prompts embedded: [B, <= text_len, text_dim]; `negative` is looked at if guidance is not 1.
  Rollout(const VideoModel& model, const FilmOptions& options, const at::Tensor& prompt,
          const at::Tensor& negative);

  /// Two processes make the same film from here on, and each has one branch of guidance.
  /// Errors   69 unless there are as many branches as processes
  void share(const cli::Processes& processes);
  /// Chunks in the memory.
  int64_t chunks() const { return branches_.at(mine_).memory.chunks; }
  /// Appends a finished chunk to the memory.
  void append(const at::Tensor& chunk);
  /// From noise to the next chunk, which is not appended yet. `step` hears of each step done.
  at::Tensor make(const at::Tensor& noise, const std::function<void()>& step = {}) const;
  /// Velocity of the next chunk, without guidance: x at time t in [0, 1000].
  at::Tensor velocity(const at::Tensor& x, double t) const;

 private:
  friend class Film;
  struct Branch {
    at::Tensor context;
    Memory memory;
  };
  at::Tensor predict(const Branch& branch, const at::Tensor& x, double t) const;
  /// Of the prompt and, if there is one, of the negative prompt.
  std::vector<at::Tensor> velocities(const at::Tensor& x, double t) const;
  std::map<std::string, at::Tensor> memories() const;

  const VideoModel* model_;
  FilmOptions options_;
  std::vector<Branch> branches_;  // the prompt's and, under guidance, the negative one's
  const cli::Processes* processes_ = nullptr;  // none: all branches are here
  size_t mine_ = 0;                            // the branch that is kept up to date here
};

/// All the next chunk depends on. Model and codec must live as long.
class Film {
 public:
  /// Prompts embedded: [1, l, text_dim]; `negative` is not looked at with a guidance of 1.
  /// Errors   64 for a size that has no whole patches
  Film(const VideoModel& model, const Codec& codec, const FilmOptions& options,
       const at::Tensor& prompt, const at::Tensor& negative, int64_t width, int64_t height);
  /// Goes on from a state as if nobody had stopped.
  /// Errors   65 if it is of another model (`model_hash`), configuration or VAE, or malformed
  Film(const VideoModel& model, const Codec& codec, const io::State& state,
       const std::string& model_hash);

  /// A branch: what follows is made otherwise. Undefined prompts stay.
  /// Errors   64 if guidance begins where there was none: the other branch has seen nothing
  void change(const FilmOptions& options, const at::Tensor& prompt, const at::Tensor& negative);

  /// As Rollout::share; save() is then called by both.
  void share(const cli::Processes& processes);

  const FilmOptions& options() const;
  int64_t width() const;
  int64_t height() const;
  int64_t chunks() const;  ///< finished, given ones included
  int64_t shown() const;   ///< frames of finished chunks
  /// Frames of the film once `more` chunks more are finished, less those of now.
  int64_t frames_of(int64_t more) const;

  /// Reads chunks that exist: latents [1, k * chunk_frames, c, h, w].
  void give(const at::Tensor& latents);
  /// Makes the next chunk: latents [1, chunk_frames, c, h, w]. `step` hears of each step done; what
  /// it throws leaves the film as it was. Errors: 65 if the model's numbers are not finite
  at::Tensor next(const std::function<void()>& step = {});
  /// Frames of latents that came from give() or next(), in order, each once: [F, H, W, 3] uint8.
  at::Tensor frames(const at::Tensor& latents);
  io::State save(const std::string& model_hash) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Chunk after chunk for a whole film: [1, chunks * chunk_frames, c, h, w] of given noise (golden
/// files, tests).
at::Tensor rollout(const VideoModel& model, const at::Tensor& noise, const at::Tensor& prompt,
                   const at::Tensor& negative, const FilmOptions& options);

}  // namespace lact::video
