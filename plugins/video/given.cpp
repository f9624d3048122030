#include "given.hpp"

#include "training_clips.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>

#include <ATen/ops/cat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <vector>

namespace lact::video {
namespace {

using at::Tensor;

void add(io::Xxh3& hash, const Tensor& frames) {
  const auto bytes = frames.contiguous();
  hash.update(bytes.const_data_ptr(), bytes.nbytes());
}

void check_limit(const Reading& before, int64_t limit) {
  if (limit < before.frames)
    throw Error(Exit::usage, "--frames-limit ", limit, ": ", before.frames,
                " frames were read already");
}

/// `count` frames of the source were read, of those before with this hash.
void check_same(const Reading& before, int64_t count, const io::Xxh3& hash) {
  if (count < before.frames || hash.digest() != before.hash)
    throw Error(Exit::data, "--frames: the state has read the first ", before.frames,
                " of other frames; give those");
}

/// Frames on their way into a film.
struct Giver {
  Film& film;
  const Codec& codec;
  int64_t chunk_frames;
  at::Device device;
  FrameSource& source;
  int64_t limit;
  Reading& reading;
  const std::function<void(const Tensor&)>& each;
  const std::function<void()>& poll;
  io::Xxh3 hash = {};  // of the frames that were learned

  void learn(const Tensor& latents, const Tensor& frames) {
    poll();
    film.give(latents);
    add(hash, frames);
    reading = {reading.frames + frames.size(0), hash.digest()};
    each(film.frames(latents));
  }

  Tensor latents(const Tensor& frames) const {
    return codec.encode(to_video(frames.unsqueeze(0), device));
  }

  /// Chunk by chunk.
  int64_t one_by_one() {
    const auto before = reading;
    int64_t count = 0;
    for (;;) {
      poll();
      const auto frames = source.next(std::min(chunk_frames, limit - count));
      count += frames.size(0);
      if (frames.size(0) < chunk_frames) break;
      if (count > before.frames) {
        learn(latents(frames), frames);
        continue;
      }
      add(hash, frames);
      if (count == before.frames) check_same(before, count, hash);
    }
    if (count < before.frames) check_same(before, count, hash);
    return count - reading.frames;
  }

  /// An encoder begins with the film, and sees nothing of what comes later.
  int64_t all_at_once() {
    std::vector<Tensor> all;
    int64_t count = 0;
    for (;;) {
      poll();
      const auto frames = source.next(std::min(chunk_frames, limit - count));
      if (frames.size(0) == 0) break;
      count += frames.size(0);
      all.push_back(frames);
    }
    int64_t chunks = 0;
    while (codec.frames((chunks + 1) * chunk_frames) <= count) ++chunks;
    const int64_t used = chunks > 0 ? codec.frames(chunks * chunk_frames) : 0;
    if (used < std::max<int64_t>(reading.frames, 1)) {
      check_same(reading, used, hash);
      return count;
    }
    const auto frames = at::cat(all).slice(0, 0, used);
    add(hash, frames.slice(0, 0, reading.frames));
    check_same(reading, used, hash);
    const auto z = latents(frames);
    for (int64_t c = film.chunks(); c < chunks; ++c)
      learn(z.slice(1, c * chunk_frames, (c + 1) * chunk_frames),
            frames.slice(0, reading.frames, codec.frames((c + 1) * chunk_frames)));
    return count - used;
  }
};

}  // namespace

std::string Reading::to_json() const {
  return nlohmann::ordered_json{{"frames", frames}, {"hash", hash}}.dump();
}

Reading Reading::from_json(const std::string& text, const std::string& what) {
  const auto values = io::parse_json(text, what);
  const auto frames = values.find("frames"), hash = values.find("hash");
  const bool sound = values.is_object() && frames != values.end() && hash != values.end() &&
                     frames->is_number_integer() && *frames >= 0 && hash->is_string();
  if (!sound) throw Error(Exit::data, what, ": expected how many frames were read, and their hash");
  return {frames->get<int64_t>(), hash->get<std::string>()};
}

int64_t give_frames(Film& film, const Codec& codec, int64_t chunk_frames, at::Device device,
                    FrameSource& source, int64_t limit, Reading& reading,
                    const std::function<void(const Tensor&)>& each,
                    const std::function<void()>& poll) {
  const bool single = codec.frames(1) == 1 && codec.frames(2) == 2;
  if (!single && film.shown() != reading.frames)
    throw Error(Exit::usage,
                "--frames with --state: this model's latents cover several frames, and their "
                "encoder can only begin with a film");
  if (single && reading.frames % chunk_frames != 0)
    throw Error(Exit::data, "the state's film has chunks of ", chunk_frames,
                " frames, and cannot have read ", reading.frames);
  check_limit(reading, limit);
  Giver giver{film, codec, chunk_frames, device, source, limit, reading, each, poll};
  return single ? giver.one_by_one() : giver.all_at_once();
}

}  // namespace lact::video
