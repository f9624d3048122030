#include "codecs.hpp"

#include <lact/error.hpp>

#include <webp/decode.h>
#include <webp/encode.h>

#include <algorithm>
#include <memory>

namespace lact::media {
namespace {

constexpr size_t kRiffBytes = 12, kChunkHeadBytes = 8;
constexpr int kEffort = 2;  // of 6: larger by some percent than the smallest, and ten times as fast

uint64_t little32(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

Orientation orientation_of(std::string_view bytes) {
  for (size_t at = kRiffBytes; at + kChunkHeadBytes <= bytes.size();) {
    const uint64_t size = little32(bytes, at + 4);
    const auto content = bytes.substr(at + kChunkHeadBytes);
    if (bytes.substr(at, 4) == "EXIF") return exif_orientation(content.substr(0, size));
    if (size >= content.size()) break;
    at += kChunkHeadBytes + size + size % 2;
  }
  return Orientation::upright;
}

struct Picture : WebPPicture {
  WebPMemoryWriter out;
  Picture() {
    if (!WebPPictureInit(this)) throw Error(Exit::internal, "libwebp is of another version");
    WebPMemoryWriterInit(&out);
    writer = WebPMemoryWrite;
    custom_ptr = &out;
  }
  ~Picture() {
    WebPPictureFree(this);
    WebPMemoryWriterClear(&out);
  }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
};

}  // namespace

bool is_webp(std::string_view bytes) {
  return bytes.size() >= kRiffBytes && bytes.substr(0, 4) == "RIFF" && bytes.substr(8, 4) == "WEBP";
}

Decoded decode_webp(std::string_view bytes, const std::string& name) {
  const auto refuse = [&](const char* why) {
    throw Error(Exit::data, name, ": damaged WebP: ", why);
  };
  if (little32(bytes, 4) + kChunkHeadBytes > bytes.size()) refuse("cut off");
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, bytes.size(), &features) != VP8_STATUS_OK) refuse("no sound header");
  if (features.has_animation)
    throw Error(Exit::data, name, ": expected one image, found an animated WebP");
  // An image of one colour takes no bits at all: bytes set no bound.
  check_size(name, static_cast<uint64_t>(features.width), static_cast<uint64_t>(features.height),
             UINT64_MAX);
  int width = 0, height = 0;
  // libwebp takes the memory, and touches it as far as the data go.
  const std::unique_ptr<uint8_t, void (*)(void*)> pixels(
      (features.has_alpha ? WebPDecodeRGBA : WebPDecodeRGB)(data, bytes.size(), &width, &height),
      WebPFree);
  if (pixels == nullptr) refuse("its data are cut off or unsound");
  Decoded out;
  out.image = Image(width, height, features.has_alpha ? 4 : 3);
  std::copy_n(pixels.get(), out.image.pixels.size(), out.image.pixels.data());
  out.orientation = orientation_of(bytes);
  return out;
}

std::string encode_webp(const Image& image) {
  WebPConfig config;
  Picture picture;
  if (!WebPConfigInit(&config) || !WebPConfigLosslessPreset(&config, kEffort))
    throw Error(Exit::internal, "libwebp is of another version");
  config.exact = 1;  // colours under transparent pixels stay, too
  picture.use_argb = 1;
  picture.width = static_cast<int>(image.width);
  picture.height = static_cast<int>(image.height);
  const auto import = image.channels == 4 ? WebPPictureImportRGBA : WebPPictureImportRGB;
  const int stride = static_cast<int>(image.width * image.channels);
  if (!import(&picture, image.pixels.data(), stride) || !WebPEncode(&config, &picture))
    throw Error(Exit::data, "WebP of ", image.width, " x ", image.height,
                ": refused by libwebp (16383 pixels a side at most)");
  return {reinterpret_cast<const char*>(picture.out.mem), picture.out.size};
}

}  // namespace lact::media
