// Pillow's resampling of 8-bit images, to the bit: weights in double, products in 22-bit fixed
// point, an 8-bit image between the two passes.

#include "codecs.hpp"
#include "image.hpp"

#include <lact/error.hpp>

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace lact::media {
namespace {

constexpr int kBits = 22;
constexpr int64_t kGrain = 1 << 18;  // products that pay for another thread

double sinc(double x) {
  if (x == 0) return 1;
  x *= M_PI;
  return std::sin(x) / x;
}

double lanczos(double x) {
  return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

/// Which pixels of a line each of some output pixels is made of.
struct Taps {
  int64_t longest = 0;               ///< weights of one output pixel, at most
  std::vector<int64_t> begin, size;  ///< of each output pixel
  std::vector<int32_t> weights;      ///< [outputs, longest]
  const int32_t* at(int64_t i) const { return weights.data() + i * longest; }
  int64_t first() const { return begin.front(); }
  int64_t end() const { return begin.back() + size.back(); }
};

/// Outputs [first, first + count) of a line of `from` pixels resized to `to`.
Taps taps(int64_t from, int64_t to, int64_t first, int64_t count) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double filter = std::max(scale, 1.0), support = 3 * filter, step = 1 / filter;
  Taps t;
  t.longest = std::min(static_cast<int64_t>(std::ceil(support)) * 2 + 1, from);
  t.weights.resize(static_cast<size_t>(count * t.longest));
  std::vector<double> exact(static_cast<size_t>(t.longest));
  for (int64_t i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(first + i) + 0.5) * scale;
    const auto low = std::max(static_cast<int64_t>(centre - support + 0.5), int64_t{0});
    const auto high = std::min(static_cast<int64_t>(centre + support + 0.5), from);
    double sum = 0;
    for (int64_t j = low; j < high; ++j)
      sum += exact[static_cast<size_t>(j - low)] =
          lanczos((static_cast<double>(j) - centre + 0.5) * step);
    t.begin.push_back(low);
    t.size.push_back(high - low);
    auto* fixed = t.weights.data() + i * t.longest;
    for (int64_t j = 0; j < high - low; ++j) {
      const double k = exact[static_cast<size_t>(j)] / sum * (1 << kBits);
      fixed[j] = static_cast<int32_t>(k < 0 ? k - 0.5 : k + 0.5);
    }
  }
  return t;
}

uint8_t clamped(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
}

template <int kChannels>
void across(const uint8_t* row, const Taps& t, uint8_t* out) {
  for (size_t i = 0; i < t.begin.size(); ++i, out += kChannels) {
    const auto* from = row + t.begin[i] * kChannels;
    const auto* weight = t.at(static_cast<int64_t>(i));
    int32_t sum[kChannels];
    std::fill_n(sum, kChannels, 1 << (kBits - 1));
    for (int64_t j = 0; j < t.size[i]; ++j, from += kChannels)
      for (int c = 0; c < kChannels; ++c) sum[c] += weight[j] * from[c];
    for (int c = 0; c < kChannels; ++c) out[c] = clamped(sum[c]);
  }
}

/// Rows from `first` on, resized in width.
Image horizontal(const Image& image, const Taps& t, int64_t first, int64_t count) {
  Image out(static_cast<int64_t>(t.begin.size()), count, image.channels);
  const int64_t cost = out.width * t.longest * image.channels;
  at::parallel_for(0, count, std::max<int64_t>(kGrain / cost, 1), [&](int64_t from, int64_t to) {
    for (int64_t y = from; y < to; ++y)
      (image.channels == 4 ? across<4> : across<3>)(image.at(0, first + y), t, out.at(0, y));
  });
  return out;
}

/// `image` begins with row t.first() of the line that the taps are for.
Image vertical(const Image& image, const Taps& t) {
  const auto bytes = static_cast<size_t>(image.width * image.channels);
  const auto rows = static_cast<int64_t>(t.begin.size());
  Image out(image.width, rows, image.channels);
  const auto cost = static_cast<int64_t>(bytes) * t.longest;
  at::parallel_for(0, rows, std::max<int64_t>(kGrain / cost, 1), [&](int64_t from, int64_t to) {
    std::vector<int32_t> sum(bytes);
    for (int64_t y = from; y < to; ++y) {
      std::fill(sum.begin(), sum.end(), 1 << (kBits - 1));
      const auto i = static_cast<size_t>(y);
      for (int64_t j = 0; j < t.size[i]; ++j) {
        const auto* row = image.at(0, t.begin[i] - t.first() + j);
        const int32_t weight = t.at(y)[j];
        for (size_t x = 0; x < bytes; ++x) sum[x] += weight * row[x];
      }
      std::transform(sum.begin(), sum.end(), out.at(0, y), clamped);
    }
  });
  return out;
}

Image cut(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  Image out(width, height, image.channels);
  for (int64_t y = 0; y < height; ++y)
    std::copy_n(image.at(left, top + y), width * image.channels, out.at(0, y));
  return out;
}

Image premultiplied(Image image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4)
    for (size_t c = 0; c < 3; ++c)
      image.pixels[i + c] =
          static_cast<uint8_t>(mul_div_255(image.pixels[i + c], image.pixels[i + 3]));
  return image;
}

Image divided(Image image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4) {
    const int alpha = image.pixels[i + 3];
    if (alpha == 0 || alpha == 255) continue;
    for (size_t c = 0; c < 3; ++c)
      image.pixels[i + c] = static_cast<uint8_t>(std::min(255 * image.pixels[i + c] / alpha, 255));
  }
  return image;
}

struct Window {
  int64_t left, top, width, height;
};

/// What resizing to full_width x full_height and cutting out the window would give; computes no
/// more than the window.
Image resized_part(const Image& image, int64_t full_width, int64_t full_height, const Window& w) {
  const bool wide = full_width != image.width, high = full_height != image.height;
  if (!wide && !high) return cut(image, w.left, w.top, w.width, w.height);
  const bool alpha = image.channels == 4;
  Taps rows;
  if (high) rows = taps(image.height, full_height, w.top, w.height);
  const int64_t first = high ? rows.first() : w.top;
  const int64_t count = (high ? rows.end() : w.top + w.height) - first;
  Image own;
  if (alpha) own = premultiplied(cut(image, 0, first, image.width, count));
  const Image& source = alpha ? own : image;
  const int64_t top = alpha ? 0 : first;
  Image out = wide ? horizontal(source, taps(image.width, full_width, w.left, w.width), top, count)
                   : cut(source, w.left, top, w.width, count);
  if (high) out = vertical(out, rows);
  return alpha ? divided(std::move(out)) : out;
}

void check(const Image& image, int64_t width, int64_t height) {
  if (image.width < 1 || image.height < 1 || width < 1 || height < 1)
    throw Error(Exit::internal, "resize: expected pixels, found ", image.width, " x ", image.height,
                " to ", width, " x ", height);
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height) {
  check(image, width, height);
  return resized_part(image, width, height, {0, 0, width, height});
}

Cover cover(const Image& image, int64_t width, int64_t height) {
  check(image, width, height);
  Cover out;
  const auto w = static_cast<double>(image.width), h = static_cast<double>(image.height);
  out.scale = std::max(static_cast<double>(width) / w, static_cast<double>(height) / h);
  const auto full_width = static_cast<int64_t>(std::nearbyint(w * out.scale));
  const auto full_height = static_cast<int64_t>(std::nearbyint(h * out.scale));
  out.left = (full_width - width) / 2;
  out.top = (full_height - height) / 2;
  out.image = resized_part(image, full_width, full_height, {out.left, out.top, width, height});
  return out;
}

}  // namespace lact::media
