#include "orient.hpp"

#include <algorithm>
#include <cstring>

namespace lact::media {
namespace {

constexpr uint16_t kOrientationTag = 0x0112, kShort = 3;
constexpr size_t kEntryBytes = 12;

/// Numbers of a TIFF block, in its byte order; 0 beyond its end.
class Tiff {
 public:
  explicit Tiff(std::string_view bytes) : bytes_(bytes), big_(bytes.substr(0, 2) == "MM") {}
  bool sound() const { return (big_ || bytes_.substr(0, 2) == "II") && u16(2) == 42; }
  uint32_t u16(size_t at) const { return number(at, 2); }
  uint32_t u32(size_t at) const { return number(at, 4); }

 private:
  uint32_t number(size_t at, size_t count) const {
    if (at > bytes_.size() || count > bytes_.size() - at) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < count; ++i)
      value = value << 8 | static_cast<uint8_t>(bytes_[at + (big_ ? i : count - 1 - i)]);
    return value;
  }

  std::string_view bytes_;
  bool big_;
};

}  // namespace

bool swaps_sides(Orientation how) {
  return how >= Orientation::transposed;
}

Image turned(Image image, Orientation how) {
  if (how == Orientation::upright) return image;
  const bool swapped = swaps_sides(how);
  Image out(swapped ? image.height : image.width, swapped ? image.width : image.height,
            image.channels);
  const bool from_right = how == Orientation::mirrored || how == Orientation::half_turn ||
                          how == Orientation::transverse || how == Orientation::counterclockwise;
  const bool from_below = how == Orientation::half_turn || how == Orientation::upside_down ||
                          how == Orientation::clockwise || how == Orientation::transverse;
  const auto bytes = static_cast<size_t>(image.channels);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t u = swapped ? y : x, v = swapped ? x : y;
      std::memcpy(
          out.at(x, y),
          image.at(from_right ? image.width - 1 - u : u, from_below ? image.height - 1 - v : v),
          bytes);
    }
  return out;
}

Orientation exif_orientation(std::string_view exif) {
  constexpr std::string_view kMark("Exif\0\0", 6);
  if (exif.substr(0, kMark.size()) == kMark) exif.remove_prefix(kMark.size());
  const Tiff tiff(exif);
  if (!tiff.sound()) return Orientation::upright;
  const size_t directory = tiff.u32(4);
  const uint32_t entries = tiff.u16(directory);
  for (uint32_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > exif.size()) break;
    if (tiff.u16(entry) != kOrientationTag || tiff.u16(entry + 2) != kShort) continue;
    const uint32_t value = tiff.u16(entry + 8);
    return value >= 1 && value <= 8 ? static_cast<Orientation>(value) : Orientation::upright;
  }
  return Orientation::upright;
}

}  // namespace lact::media
