#pragma once
// Where one shot of a film ends and the next begins.

#include <cstdint>
#include <vector>

namespace lact::video {

constexpr int64_t kShotSide = 32;       ///< of the small frames that are compared
constexpr double kShotThreshold = 0.3;  ///< in real films: motion to 0.14, cuts from 0.41

/// How unlike two frames of brightness are: 0 for the same, about 1 for two that have nothing in
/// common. Mean difference, plus how far the histograms are apart (earth mover's distance, mean
/// over brightness), plus half of what the correlation lacks to 1.
double unlikeness(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b);

/// Finds hard cuts; fades are none. A cut is a frame that is more unlike the one before than
/// `threshold` and three times what was usual lately: a moving camera makes all frames unlike.
class ShotDetector {
 public:
  /// 0: finds none.
  explicit ShotDetector(double threshold = kShotThreshold) : threshold_(threshold) {}
  /// The next frame, kShotSide^2 values: true if a shot begins with it (not for the first).
  bool cut(std::vector<uint8_t> luma);

 private:
  double threshold_, usual_ = 0;
  std::vector<uint8_t> before_;
};

}  // namespace lact::video
