#include "texture.hpp"

#include <algorithm>
#include <cmath>

namespace lact::views::objects {

Texture::Texture(const media::Image& image) {
  Level level{image.width, image.height, {}};
  level.pixels.resize(static_cast<size_t>(image.width * image.height * 4));
  auto* out = level.pixels.data();
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t x = 0; x < image.width; ++x, out += 4) {
      const uint8_t* in = image.at(x, y);
      const int alpha = image.channels == 4 ? in[3] : 255;
      sheer_ |= alpha < 255;
      for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>((in[c] * alpha + 127) / 255);
      out[3] = static_cast<uint8_t>(alpha);
    }
  levels_.push_back(std::move(level));
  while (levels_.back().width > 1 || levels_.back().height > 1)
    levels_.push_back(halved(levels_.back()));
}

/// Means of 2 x 2; of an odd size the last row or column counts twice.
Texture::Level Texture::halved(const Level& level) {
  Level out{(level.width + 1) / 2, (level.height + 1) / 2, {}};
  out.pixels.resize(static_cast<size_t>(out.width * out.height * 4));
  auto* to = out.pixels.data();
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t x0 = 2 * x, x1 = std::min(x0 + 1, level.width - 1);
      const int64_t y0 = 2 * y, y1 = std::min(y0 + 1, level.height - 1);
      const auto* p = level.pixels.data();
      for (int64_t c = 0; c < 4; ++c)
        *to++ = static_cast<uint8_t>(
            (p[(y0 * level.width + x0) * 4 + c] + p[(y0 * level.width + x1) * 4 + c] +
             p[(y1 * level.width + x0) * 4 + c] + p[(y1 * level.width + x1) * 4 + c] + 2) /
            4);
    }
  return out;
}

Paint Texture::bilinear(const Level& level, float u, float v, bool clamp) {
  // Centres of texels are at integer + 0.5; rows go down while v goes up.
  const float x = u * static_cast<float>(level.width) - 0.5f;
  const float y = (1 - v) * static_cast<float>(level.height) - 0.5f;
  const float left = std::floor(x), top = std::floor(y);
  const auto place = [clamp](float at, int64_t size) {
    auto i = static_cast<int64_t>(at);
    if (clamp) return std::clamp(i, int64_t{0}, size - 1);
    if ((i %= size) < 0) i += size;
    return i;
  };
  const int64_t xs[2] = {place(left, level.width), place(left + 1, level.width)};
  const int64_t ys[2] = {place(top, level.height), place(top + 1, level.height)};
  const float right = x - left, down = y - top;
  const float weights[4] = {(1 - right) * (1 - down), right * (1 - down), (1 - right) * down,
                            right * down};
  Paint out{};
  for (int k = 0; k < 4; ++k) {
    const auto* p = level.pixels.data() + (ys[k / 2] * level.width + xs[k % 2]) * 4;
    for (size_t c = 0; c < 4; ++c) out[c] += weights[k] * static_cast<float>(p[c]);
  }
  for (auto& one : out) one *= 1.0f / 255;
  return out;
}

Paint Texture::at(float u, float v, float texels, bool clamp) const {
  if (!(std::abs(u) < 1e5f && std::abs(v) < 1e5f)) u = v = 0;  // also what is not a number
  const auto finest = static_cast<float>(levels_.size() - 1);
  const float level = texels > 1 ? std::min(std::log2(texels), finest) : 0;
  const auto low = static_cast<size_t>(level);
  const float share = level - static_cast<float>(low);
  auto out = bilinear(levels_[low], u, v, clamp);
  if (share > 0) {
    const auto next = bilinear(levels_[low + 1], u, v, clamp);
    for (size_t c = 0; c < 4; ++c) out[c] += share * (next[c] - out[c]);
  }
  return out;
}

}  // namespace lact::views::objects
