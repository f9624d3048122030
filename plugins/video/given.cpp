#include "given.hpp"

#include "training_clips.hpp"

#include <lact/error.hpp>

#include <ATen/ops/cat.h>

#include <algorithm>
#include <vector>

namespace lact::video {

using at::Tensor;

Given give_frames(Film& film, const Codec& codec, int64_t chunk_frames, at::Device device,
                  FrameSource& source, int64_t limit,
                  const std::function<void(const Tensor&)>& each,
                  const std::function<void()>& poll) {
  const bool single = codec.frames(1) == 1 && codec.frames(2) == 2;
  if (!single && film.chunks() > 0)
    throw Error(Exit::usage,
                "--frames with --state: this model's latents cover several frames, and their "
                "encoder can only begin with a film");
  Given given;
  const auto learn = [&](const Tensor& frames) {
    const auto latents = codec.encode(to_video(frames.unsqueeze(0), device));
    for (const auto& one : latents.split(chunk_frames, 1)) {
      poll();
      film.give(one);
      each(film.frames(one));
    }
    given.frames += frames.size(0);
  };
  std::vector<Tensor> all;  // of latents that cover several frames
  int64_t count = 0;
  for (;;) {
    poll();
    const auto frames = source.next(std::min(chunk_frames, limit - count));
    count += frames.size(0);
    if (frames.size(0) == 0) break;
    if (!single) {
      all.push_back(frames);
    } else if (frames.size(0) == chunk_frames) {
      learn(frames);
    }
  }
  int64_t chunks = 0;
  while (!single && codec.frames((chunks + 1) * chunk_frames) <= count) ++chunks;
  if (chunks > 0) learn(at::cat(all).slice(0, 0, codec.frames(chunks * chunk_frames)));
  given.left = count - given.frames;
  return given;
}

}  // namespace lact::video
