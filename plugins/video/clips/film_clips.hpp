#pragma once
// A film to clips of one size, rate and length, none of which crosses a cut.

#include "shots.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace lact::video {

struct CutSettings {
  int64_t width = 64, height = 64;
  double rate = 16;      ///< frames per second
  int64_t frames = 24;   ///< of a clip; 0: a clip is a whole shot
  int64_t stride = 0;    ///< frames from the beginning of a clip to that of the next; 0: `frames`
  int64_t at_least = 1;  ///< frames of a whole shot; shorter ones are left out
  double threshold = kShotThreshold;  ///< of ShotDetector
};

/// Frames of a clip: all of them, or where clips are whole shots a part.
struct ClipPiece {
  bool first = true;  ///< a clip begins
  double start = 0;   ///< seconds into the film, of a first piece
  at::Tensor frames;  ///< uint8 [F, H, W, 3]
};

/// What a film was.
struct FilmSeen {
  int64_t frames = 0;  ///< decoded
  int64_t damaged = 0, cuts = 0, clips = 0;
  double seconds = 0;  ///< until its last frame is over
  std::string range;   ///< media::VideoReader::high_dynamic_range()
};

/// Reads a film and hands over its clips in order. Frame k of a shot is the one that is shown at
/// k / rate after its first, scaled until it covers the size and cut to its middle. A frame is
/// shown until the next one begins, the last one as long as the file says, and none for more than
/// ten seconds: where it would be, or where time runs backwards, a shot ends. `stop` is asked
/// before each frame; where it says true, all ends. Errors   as media::VideoReader; 65 if no frame
/// can be decoded
FilmSeen cut_film(const std::filesystem::path& file, const CutSettings& settings,
                  const std::function<void(ClipPiece&&)>& take, bool (*wait_stop)(),
                  const std::function<bool()>& stop);

}  // namespace lact::video
