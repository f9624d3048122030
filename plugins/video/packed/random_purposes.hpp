#pragma once
// What streams of random numbers are for (lact::random_stream; 1 is EpochOrder's). Data and runs
// depend on the numbers: they stay.

#include <cstdint>

namespace lact::video {

enum Purpose : uint64_t {
  kWindow = 3,  ///< where a training window begins in its clip
  kTrainingNoise = 4,
  kTimes = 5,  ///< of a training window
  kDroppedPrompts = 6,
  kFittedClips = 7,      ///< that principal components are fitted to
  kEvaluationNoise = 8,  ///< always the same: no run trains on it, whatever its seed
  kFilmNoise = 9,        ///< of a film's chunks
  kClipNoise = 10,       ///< of the continuation of a clip
  kDigitSplit = 21,      ///< which pictures of digits are for validation
  kMadeTraining = 22,    ///< clips that are computed
  kMadeValidation = 23,
  kFilmSplit = 24,  ///< which films are for validation
};

}  // namespace lact::video
