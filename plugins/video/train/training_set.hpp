#pragma once
// The packed clips of a run, and how they and the model fit each other.

#include "windows.hpp"

#include <plugins/video/codec/codec.hpp>
#include <plugins/video/model/config.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <lact/train/task.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace lact::video {

class TrainingSet {
 public:
  /// A run without data, as the dry run has it.
  TrainingSet() = default;
  /// The splits of a folder. The configuration takes size, rate and, if it wants some and has
  /// none, classes from them; of latents also the codec, unless it has a codec of its `own`.
  /// Errors   65, 66; 78 if the clips are latents of another codec
  TrainingSet(const std::string& folder, Config& config, bool own);

  bool has(train::Split split) const { return clips_.count(split) > 0; }
  /// Errors   64, 66 if there is none
  const PackedClips& clips(train::Split split) const;
  /// Clips are latents: no codec is needed.
  bool latents() const;

  /// Windows of `chunks`, or of as many as every clip holds, at most `most`.
  /// Errors   65 if a clip is too short, 78 if frames do not fit codec and patch
  WindowShape windows(const Config& config, std::optional<int64_t> chunks, int64_t most,
                      int64_t repeats) const;
  /// Principal components of random frames of the training clips.
  std::unique_ptr<Codec> fitted_codec(const Config& config, uint64_t seed) const;

 private:
  void resolve_codec(Config& config, bool own) const;
  void resolve_classes(Config& config) const;
  /// Frames of a clip that `chunks` chunks take.
  int64_t frames(const Config& config, int64_t chunks) const;
  int64_t most_chunks(const Config& config, int64_t most) const;

  std::string folder_;
  std::map<train::Split, PackedClips> clips_;
};

}  // namespace lact::video
