#pragma once
// Frames that exist become the beginning of a film, or its next chunks.

#include "film.hpp"
#include "frame_source.hpp"

#include <lact/io/files.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace lact::video {

/// How far into the frames that are given a film has read them; a state that was saved on the
/// way has it, so that the next run goes on behind them.
struct Reading {
  int64_t frames = 0;
  std::string hash = io::xxh3(nullptr, 0);  ///< XXH3 of their pixels, as the film has them

  std::string to_json() const;
  /// Errors   65 naming `what`
  static Reading from_json(const std::string& text, const std::string& what);
};

/// Reads at most `limit` frames of `source`, from its first on, in whole chunks and constant
/// memory. Those that `reading` has are passed over; it is kept up to date, also where something is
/// thrown. `each` gets the chunk's frames as the model has them, `poll` is called before every
/// piece of work. Returns how many are left at the end, which fill no chunk. Errors   64 where
/// latents cover several frames and the film did not begin with these; 65 if
///          `reading` is of other frames
int64_t give_frames(Film& film, const Codec& codec, int64_t chunk_frames, at::Device device,
                    FrameSource& source, int64_t limit, Reading& reading,
                    const std::function<void(const at::Tensor&)>& each,
                    const std::function<void()>& poll);

}  // namespace lact::video
