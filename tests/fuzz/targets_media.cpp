// What strangers' images and films go through: PNG, JPEG and WebP, and FFmpeg as we call it.

#include "targets.hpp"

#include <plugins/common/media/codecs.hpp>
#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>

#include <zlib.h>

namespace lact::fuzz {
namespace {

using media::Image;

// --- images --------------------------------------------------------------------------------------

Image picture(int64_t width, int64_t height, int64_t channels, int64_t shift = 0) {
  Image image(width, height, channels);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < channels; ++c)
        image.at(x, y)[c] = static_cast<uint8_t>((x + shift) * (9 + c) + y * 5 * c + x * y);
  return image;
}

std::string big32(size_t n) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(n >> shift);
  return out;
}

std::string chunk(const std::string& kind_and_content) {
  const auto* bytes = reinterpret_cast<const Bytef*>(kind_and_content.data());
  const auto size = static_cast<uInt>(kind_and_content.size());
  return big32(size - 4) + kind_and_content + big32(::crc32(0, bytes, size));
}

std::string exif() {
  return {"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", 26};
}

/// Two bits a pixel and a palette, transparency, interlaced, turned.
std::string palette_png() {
  std::string lines;  // 5 x 3 pixels: passes 1, 4, 5, 6 and 7 have any
  for (const size_t bytes : {1, 1, 1, 1, 1, 1, 2})
    lines += std::string(1, '\0') + std::string(bytes, '\x1b');
  std::string packed(64, '\0');
  uLongf size = packed.size();
  ::compress(reinterpret_cast<Bytef*>(packed.data()), &size,
             reinterpret_cast<const Bytef*>(lines.data()), lines.size());
  packed.resize(size);
  return "\x89PNG\r\n\x1a\n" +
         chunk("IHDR" + big32(5) + big32(3) + std::string("\x02\x03\0\0\x01", 5)) +
         chunk("PLTE" + std::string("\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c")) +
         chunk("tRNS" + std::string("\0\x80", 2)) + chunk("eXIf" + exif()) +
         chunk("IDAT" + packed) + chunk("IEND");
}

std::vector<std::string> images() {
  auto turned = media::encode_jpeg(picture(17, 9, 3), 80);
  const auto block = std::string("Exif\0\0", 6) + exif();
  turned.insert(2, "\xff\xe1" + big32(block.size() + 2).substr(2) + block);
  return {media::encode_png(picture(11, 7, 3)), palette_png(), turned,
          media::encode_webp(picture(9, 8, 4)), media::encode_png(picture(6, 5, 4))};
}

/// With right checksums, as who means ill would write them: else no mutation gets past libpng.
std::string with_checksums(std::string png) {
  size_t at = 8;
  while (at + 12 <= png.size()) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(png[at + i]);
    if (length > png.size() - at - 12) break;
    const auto sum = ::crc32(0, reinterpret_cast<const Bytef*>(png.data() + at + 4),
                             static_cast<uInt>(length + 4));
    png.replace(at + 8 + length, 4, big32(sum));
    at += 12 + length;
  }
  return png;
}

void read_image(const std::string& bytes) {
  const bool png = media::is_png(bytes);
  const auto image = media::decode_image(png ? with_checksums(bytes) : bytes, "f.img");
  if (image.pixels.size() != static_cast<size_t>(image.width * image.height * image.channels))
    throw std::logic_error("an image of another size than it says");
  use(image.pixels.data(), image.pixels.size());
}

// --- films ---------------------------------------------------------------------------------------

constexpr int64_t kFrames = 3;

std::vector<std::string> films() {
  std::vector<std::string> all;
  for (const char* name : {"seed.mp4", "seed.webm"}) {
    const auto file = scratch() / name;
    media::VideoWriter writer(file, 32, 16, 10);
    for (int64_t i = 0; i < kFrames; ++i) writer.add(picture(32, 16, 3, i));
    writer.finish();
    all.push_back(get(file));
  }
  return all;
}

void read_film(const std::string& bytes) {
  const auto file = scratch() / "f.film";
  put(file, bytes);
  media::VideoReader reader(file);
  int64_t frames = 0;
  for (; const auto frame = reader.next(); ++frames) {
    if (frame->width != reader.width() || frame->height != reader.height())
      throw std::logic_error("a frame of another size than its film says");
    use(frame->pixels.data(), frame->pixels.size());
  }
  if (reader.damaged() > 0 || frames != kFrames)  // as who knows how many there should be
    throw Error(Exit::data, file.string(), ": expected ", kFrames, " frames, found ", frames,
                " and ", reader.damaged(), " damaged packets");
}

}  // namespace

std::vector<Target> media_targets() {
  return {{"image",
           images,
           read_image,
           {Exit::data},
           {"IHDR", "PLTE", "tRNS", "eXIf", "IDAT", "IEND", "\xff\xd8\xff", "\xff\xc0", "\xff\xc2",
            "\xff\xda", "\xff\xd9", "\xff\xe1", "RIFF", "WEBP", "VP8 ", "VP8L", "VP8X", "ALPH"}},
          {"film",
           films,
           read_film,
           {Exit::data},
           {"ftyp", "moov", "trak", "stsd", "avc1", "avcC", "stts", "stsz", "stco", "mdat"}}};
}

}  // namespace lact::fuzz
