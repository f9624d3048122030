#pragma once
// Pictures that surfaces carry, at all scales.

#include <plugins/common/media/image.hpp>

#include <array>
#include <cstdint>
#include <vector>

namespace lact::views::objects {

/// Red, green, blue, each times alpha, and alpha, in [0, 1].
using Paint = std::array<float, 4>;

class Texture {
 public:
  explicit Texture(const media::Image& image);

  /// Some of it is not opaque.
  bool sheer() const { return sheer_; }
  int64_t width() const { return levels_[0].width; }
  int64_t height() const { return levels_[0].height; }

  /// The colour at (u, v), v upwards from the lowest row, each texture repeated beyond [0, 1]
  /// unless `clamp`; `texels`: how many of the finest level the point covers, on a side.
  Paint at(float u, float v, float texels, bool clamp) const;

 private:
  struct Level {
    int64_t width = 0, height = 0;
    std::vector<uint8_t> pixels;  // RGBA, premultiplied
  };
  static Level halved(const Level& level);
  static Paint bilinear(const Level& level, float u, float v, bool clamp);

  std::vector<Level> levels_;  // each half as large as the one before
  bool sheer_ = false;
};

}  // namespace lact::views::objects
