#include "given.hpp"

#include <plugins/video/packed/packed_clips.hpp>

#include <lact/error.hpp>
#include <lact/io/json.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>

namespace lact::video {
namespace {

using at::Tensor;

void add(io::Xxh3& hash, const Tensor& frames) {
  const auto bytes = frames.contiguous();
  hash.update(bytes.const_data_ptr(), bytes.nbytes());
}

void check_limit(const Reading& before, int64_t limit) {
  if (limit < before.frames)
    throw Error(Exit::usage, "--max-frames ", limit, ": ", before.frames,
                " frames were read already");
}

/// `count` frames of the source were read, of those before with this hash.
void check_same(const Reading& before, int64_t count, const io::Xxh3& hash,
                const FrameSource& source) {
  if (count < before.frames || hash.digest() != before.hash)
    throw Error(Exit::data, "--frames: the state has read the first ", before.frames,
                " of other frames; give those",
                source.is_resampled()
                    ? concat(" (or the state is of an earlier version, which took all ",
                             source.film_rate(), " a second of this film, not ", source.rate(),
                             ": then read the film again without --state)")
                    : "");
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
  io::Xxh3 hash = {};  // of the frames that were read

  void append(const Tensor& latents, const Tensor& frames) {
    poll();
    film.give(latents);
    add(hash, frames);
    reading = {reading.frames + frames.size(0), hash.digest()};
    each(film.frames(latents));
  }

  /// Chunk by chunk. What the state has read passes by once more: it is compared, and seen by an
  /// encoder that remembers. Returns how many frames were left over.
  int64_t read() {
    const auto before = reading;
    DecoderMemory memory;
    int64_t count = 0;
    for (int64_t chunk = 1;; ++chunk) {
      poll();
      const int64_t end = codec.frames(chunk * chunk_frames);
      const auto frames = source.next(std::min(end, limit) - count);
      count += frames.size(0);
      if (count < end) break;
      const auto latents = codec.encode_next(to_video(frames.unsqueeze(0), device), memory);
      if (count > before.frames) {
        append(latents, frames);
        continue;
      }
      add(hash, frames);
      if (count == before.frames) check_same(before, count, hash, source);
    }
    if (count < before.frames) check_same(before, count, hash, source);
    return count - reading.frames;
  }
};

}  // namespace

std::string Reading::to_json() const {
  return nlohmann::ordered_json{{"frames", frames}, {"hash", hash}}.dump();
}

Reading Reading::from_json(const std::string& text, const std::string& what) {
  const auto parsed = io::parse_json(text, what);
  io::JsonObject values(parsed, what);
  return {values.whole("frames", 0, INT64_MAX), values.word("hash")};
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
  return giver.read();
}

}  // namespace lact::video
