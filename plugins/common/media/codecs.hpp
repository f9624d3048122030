#pragma once
// The three formats of image.hpp, each by its own library: what it complains of becomes an Error
// and reaches no stream.

#include "image.hpp"
#include "orient.hpp"

#include <string>
#include <string_view>

namespace lact::media {

/// As stored, and how it is to be shown.
struct Decoded {
  Image image;
  Orientation orientation = Orientation::upright;
};

bool is_png(std::string_view bytes);
bool is_jpeg(std::string_view bytes);
bool is_webp(std::string_view bytes);

/// Errors   65 naming `name`: damaged, cut off, too large, or of a kind that is not read
Decoded decode_png(std::string_view bytes, const std::string& name);
/// The same, but of 16 bits none is lost that makes a value more than 0: it is then at least 1.
Decoded decode_png_mask(std::string_view bytes, const std::string& name);
Decoded decode_jpeg(std::string_view bytes, const std::string& name);
Decoded decode_webp(std::string_view bytes, const std::string& name);

/// RGB alone, `quality` 1 to 100.
std::string encode_jpeg(const Image& image, int quality);
/// Without loss.
std::string encode_webp(const Image& image);

/// What a header claims, before memory is taken for it. `most` is how many pixels the file's bytes
/// can hold at best.
/// Errors   65: no pixels, more than 2^28, or more than `most`
void check_size(const std::string& name, uint64_t width, uint64_t height, uint64_t most);

/// Pillow's a * b / 255, rounded.
inline int mul_div_255(int a, int b) {
  const int t = a * b + 128;
  return (t + (t >> 8)) >> 8;
}

}  // namespace lact::media
