#pragma once
// Images in memory and in files: 8 bits a channel, RGB with or without alpha.

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lact::media {

/// Rows from the top, channels interleaved. Alpha is not premultiplied.
struct Image {
  int64_t width = 0, height = 0;
  int64_t channels = 3;         ///< 3: RGB, 4: RGBA
  std::vector<uint8_t> pixels;  ///< height * width * channels

  Image() = default;
  Image(int64_t wide, int64_t high, int64_t deep = 3)
      : width(wide),
        height(high),
        channels(deep),
        pixels(static_cast<size_t>(wide * high * deep)) {}
  uint8_t* at(int64_t x, int64_t y) { return pixels.data() + (y * width + x) * channels; }
  const uint8_t* at(int64_t x, int64_t y) const {
    return pixels.data() + (y * width + x) * channels;
  }
  bool operator==(const Image&) const = default;
};

using Colour = std::array<uint8_t, 3>;

/// PNG, JPEG or WebP, turned as its EXIF orientation says; grey becomes RGB, 16 bits become 8.
/// Errors   66 if it cannot be read, 65 if it is no such image, is damaged, or has more than 2^28
///          pixels; both name the file
Image read_image(const std::filesystem::path& file);
/// The same from bytes that are already in memory. `name` stands in errors.
Image decode_image(std::string_view bytes, const std::string& name);
/// As read_image, with the pixels as they are stored, whatever the EXIF orientation says.
Image read_stored_image(const std::filesystem::path& file);
/// As read_stored_image, but what is not 0 in 16 bits is at least 1 in 8: masks number objects.
Image read_mask(const std::filesystem::path& file);

/// PNG, JPEG or WebP by the file's suffix, whole or not at all.
/// Errors   64 for another suffix, 73 and 74 as io::AtomicFile
void write_image(const std::filesystem::path& file, const Image& image, int jpeg_quality = 95);
std::string encode_png(const Image& image);

/// Pillow's Lanczos filter to the bit: premultiplied by alpha, fixed point, horizontal pass first
/// (spec/views 2.4).
Image resize(const Image& image, int64_t width, int64_t height);

/// An image scaled until it covers width x height and cut to its middle (spec/views 2.3). A pixel
/// coordinate x of the original becomes x * scale - left.
struct Cover {
  Image image;
  double scale = 1;
  int64_t left = 0, top = 0;
};
Cover cover(const Image& image, int64_t width, int64_t height);

/// Without alpha: over a background, in 8 bits (spec/views 2.3). RGB stays as it is.
Image over(const Image& image, Colour background = {255, 255, 255});

/// "white", "black", "#rrggbb". Errors: 64
Colour parse_colour(const std::string& text);

}  // namespace lact::media
