#pragma once
// Clips that are computed: moving digits, and a camera that pans over a texture and returns.

#include "digit_images.hpp"

#include <plugins/video/packed/packed_clips.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lact::video {

struct MadeClip {
  ClipInfo info;
  at::Tensor frames;  ///< uint8 [F, H, W, 3]
};

/// The digits scaled to another size by Lanczos' filter.
DigitImages resized(const DigitImages& digits, int64_t size);

/// A ball between walls 0 and `span`, at a place reckoned as if there were none: 0 <= result <=
/// span.
double bounced(double place, double span);

struct DigitSettings {
  int64_t width = 64, height = 64, frames = 20;
  int64_t digits = 2;          ///< of a clip
  std::vector<double> speeds;  ///< pixels per frame; each digit takes one of them
  bool add = false;            ///< brightness where digits overlap: the sum, else the larger
  int64_t hide_from = 0, hide_to = -1;  ///< frames in which nothing is drawn, the last included
  int64_t alternate = 0;                ///< frames that each digit is shown in turn; 0: all are
  int64_t grid = 0;                     ///< pixels that first places are multiples of; 0: any place
};

/// Digits of Moving MNIST (Srivastava et al. 2015): drawn at random, they start anywhere, move
/// straight on at a random angle and bounce off the walls. Places are rounded to pixels. Digits
/// that are hidden for longer than a model's window come back right only if it remembers them.
class MovingDigits {
 public:
  /// Errors   64 if the pictures are larger than the frames
  MovingDigits(DigitImages pictures, DigitSettings settings);
  /// Clip `number` of a stream of random numbers; nothing else matters.
  MadeClip make(uint64_t seed, uint64_t purpose, int64_t number) const;

 private:
  DigitImages pictures_;
  DigitSettings settings_;
};

/// "a 3 and a 7", "an 8", "a 1, a 3 and a 3": digits in order.
std::string digits_caption(std::vector<int64_t> labels);

/// The memory test of spec/video 10: on the way back everything was seen before.
struct PanSettings {
  int64_t size = 16, block = 4;   ///< pixels of the window's side, of a block's
  int64_t frames = 16, step = 4;  ///< frames of a clip, pixels that the camera moves between two
  int64_t way = 8;                ///< steps before it turns, and turns again at the start
};
MadeClip make_pan(const PanSettings& settings, uint64_t seed, uint64_t purpose, int64_t number);

}  // namespace lact::video
