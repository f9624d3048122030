#include "image.hpp"

#include "codecs.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/known_form.hpp>

#include <algorithm>
#include <iterator>

namespace lact::media {
namespace {

constexpr uint64_t kMaxPixels = uint64_t{1} << 28;
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

std::string suffix_of(const std::filesystem::path& file) {
  auto suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return suffix;
}

}  // namespace

void check_size(const std::string& name, uint64_t width, uint64_t height, uint64_t most) {
  if (width == 0 || height == 0)
    throw Error(Exit::data, name, ": expected an image, found ", width, " x ", height, " pixels");
  if (width > kMaxPixels / height)
    throw Error(Exit::data, name, ": expected at most ", kMaxPixels, " pixels, found ", width,
                " x ", height);
  if (width * height > most)
    throw Error(Exit::data, name, ": is cut off: claims ", width, " x ", height,
                " pixels, more than its bytes can hold");
}

namespace {

/// What a file is that is none of ours, and what helps.
std::string found(std::string_view bytes) {
  constexpr std::string_view kPhones[] = {"heic", "heix", "hevc", "mif1", "msf1"};
  const auto brand = bytes.substr(0, 12).substr(std::min<size_t>(8, bytes.size()));
  const bool media = bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp";
  if (media && std::find(std::begin(kPhones), std::end(kPhones), brand) != std::end(kPhones))
    return "a HEIF picture, as phones store them: convert it to JPEG or PNG";
  if (media && brand.substr(0, 3) == "avi") return "an AVIF picture: convert it to JPEG or PNG";
  const auto form = io::known_form(bytes.substr(0, io::kFormBytes));
  if (form.find("Git LFS") != form.npos) return concat(form, ": git lfs pull fetches the image");
  if (form.find("picture") != form.npos) return concat(form, ": convert it to JPEG or PNG");
  if (!form.empty()) return std::string(form);
  return concat("\"", io::printable(bytes.substr(0, 12)), "\" at its begin");
}

Decoded decoded(std::string_view bytes, const std::string& name) {
  const auto decode = is_png(bytes)    ? decode_png
                      : is_jpeg(bytes) ? decode_jpeg
                      : is_webp(bytes) ? decode_webp
                                       : nullptr;
  if (decode == nullptr)
    throw Error(Exit::data, name, ": expected a PNG, JPEG or WebP image, found ", found(bytes));
  return decode(bytes, name);
}

}  // namespace

Image decode_image(std::string_view bytes, const std::string& name) {
  auto stored = decoded(bytes, name);
  return turned(std::move(stored.image), stored.orientation);
}

Image read_image(const std::filesystem::path& file) {
  return decode_image(io::read_text(file, kMaxFileBytes), file.string());
}

Image read_stored_image(const std::filesystem::path& file) {
  return decoded(io::read_text(file, kMaxFileBytes), file.string()).image;
}

Image read_mask(const std::filesystem::path& file) {
  const auto bytes = io::read_text(file, kMaxFileBytes);
  const auto name = file.string();
  return (is_png(bytes) ? decode_png_mask(bytes, name) : decoded(bytes, name)).image;
}

void write_image(const std::filesystem::path& file, const Image& image, int jpeg_quality) {
  const auto suffix = suffix_of(file);
  if (suffix == ".png")
    io::write_text(file, encode_png(image));
  else if (suffix == ".jpg" || suffix == ".jpeg")
    io::write_text(file, encode_jpeg(over(image), jpeg_quality));
  else if (suffix == ".webp")
    io::write_text(file, encode_webp(image));
  else
    throw Error(Exit::usage, file.string(), ": expected a name in .png, .jpg or .webp, found ",
                suffix.empty() ? "none of them" : suffix);
}

Image over(const Image& image, Colour background) {
  if (image.channels == 3) return image;
  Image out(image.width, image.height);
  auto* to = out.pixels.data();
  const auto* from = image.pixels.data();
  for (int64_t i = 0; i < image.width * image.height; ++i, from += 4, to += 3) {
    const int alpha = from[3];
    for (size_t c = 0; c < 3; ++c) {  // one rounding for the sum of both, as Pillow does
      const int t = from[c] * alpha + background[c] * (255 - alpha) + 128;
      to[c] = static_cast<uint8_t>((t + (t >> 8)) >> 8);
    }
  }
  return out;
}

Colour parse_colour(const std::string& text) {
  if (text == "white") return {255, 255, 255};
  if (text == "black") return {0, 0, 0};
  const bool hex = text.size() == 7 && text[0] == '#' &&
                   text.find_first_not_of("0123456789abcdefABCDEF", 1) == std::string::npos;
  if (!hex)
    throw Error(Exit::usage, "expected a colour (white, black or #rrggbb), found ",
                io::printable(text));
  const auto part = [&](size_t at) {
    return static_cast<uint8_t>(std::stoi(text.substr(at, 2), nullptr, 16));
  };
  return {part(1), part(3), part(5)};
}

}  // namespace lact::media
