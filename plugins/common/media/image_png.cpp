#include "codecs.hpp"

#include <lact/error.hpp>

#include <png.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace lact::media {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr int kEffort = 3;               // of 9: three times as fast as 6, and 5 % larger
constexpr uint64_t kBestDeflate = 1032;  // bytes out of one byte, at most

/// libpng leaves by longjmp, so nothing with a destructor may live between setjmp and it: whatever
/// a step needs is kept here.
struct PngReader {
  std::string_view left;
  char message[256] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<png_bytep> rows;
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
};

[[noreturn]] void fail(png_structp png, png_const_charp message) {
  auto* where = static_cast<char*>(png_get_error_ptr(png));
  std::snprintf(where, sizeof PngReader::message, "%s", message);
  png_longjmp(png, 1);
}

void ignore(png_structp, png_const_charp) {}

void take(png_structp png, png_bytep to, size_t bytes) {
  auto& left = static_cast<PngReader*>(png_get_io_ptr(png))->left;
  if (bytes > left.size()) png_error(png, "cut off");
  std::memcpy(to, left.data(), bytes);
  left.remove_prefix(bytes);
}

/// Chunks that libpng would unpack, or take memory for as long as they claim to be, and that nobody
/// looks at; eXIf is read by orientation_of().
void skip_chunks(png_structp png) {
  static const png_byte kSkipped[] = "eXIf\0iCCP\0tEXt\0zTXt\0iTXt\0tIME\0sPLT\0hIST\0pCAL\0sCAL";
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kSkipped, sizeof kSkipped / 5);
}

bool read_header(PngReader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_read_fn(r.png, &r, take);
  png_set_user_limits(r.png, 0x7fffffff, 0x7fffffff);  // check_size() says it in better words
  skip_chunks(r.png);
  png_read_info(r.png, r.info);
  return true;
}

/// 16 bits of a row become 8 in place: the upper ones, or 1 for what has lower ones alone.
void narrow(png_structp, png_row_infop row, png_bytep data) {
  if (row->bit_depth != 16) return;
  for (size_t i = 0; i < row->rowbytes / 2; ++i)
    data[i] = data[2 * i] == 0 && data[2 * i + 1] != 0 ? 1 : data[2 * i];
}

/// 8 bits a channel, RGB or RGBA.
bool choose_output(PngReader& r, bool mask) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_expand(r.png);
  if (mask && png_get_bit_depth(r.png, r.info) == 16) {
    const int kinds = png_get_color_type(r.png, r.info);
    const bool alpha =
        (kinds & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(r.png, r.info, PNG_INFO_tRNS) != 0;
    png_set_read_user_transform_fn(r.png, narrow);
    png_set_user_transform_info(r.png, nullptr, 8, alpha ? 4 : 3);
  } else {
    png_set_strip_16(r.png);
  }
  png_set_gray_to_rgb(r.png);
  png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  return true;
}

bool read_rows(PngReader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_read_image(r.png, r.rows.data());
  png_read_end(r.png, r.info);
  return true;
}

Orientation orientation_of(std::string_view bytes) {
  constexpr size_t kFrameBytes = 12;  // length, name and checksum of a chunk
  for (bytes.remove_prefix(kSignatureBytes); bytes.size() >= kFrameBytes;) {
    uint64_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(bytes[i]);
    if (length > bytes.size() - kFrameBytes) break;
    if (bytes.substr(4, 4) == "eXIf") return exif_orientation(bytes.substr(8, length));
    bytes.remove_prefix(kFrameBytes + length);
  }
  return Orientation::upright;
}

struct Writer {
  std::string out;
  char message[256] = "";
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<png_bytep> rows;
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

void put(png_structp png, png_bytep from, size_t bytes) {
  static_cast<Writer*>(png_get_io_ptr(png))->out.append(reinterpret_cast<char*>(from), bytes);
}

bool write(Writer& w, png_uint_32 width, png_uint_32 height, bool alpha) {
  if (setjmp(png_jmpbuf(w.png)) != 0) return false;
  png_set_write_fn(w.png, &w, put, [](png_structp) {});
  png_set_IHDR(w.png, w.info, width, height, 8, alpha ? PNG_COLOR_TYPE_RGBA : PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_compression_level(w.png, kEffort);
  png_write_info(w.png, w.info);
  png_write_image(w.png, w.rows.data());
  png_write_end(w.png, w.info);
  return true;
}

std::vector<png_bytep> rows_of(const Image& image) {
  std::vector<png_bytep> rows;
  for (int64_t y = 0; y < image.height; ++y)
    rows.push_back(const_cast<png_bytep>(image.at(0, y)));  // written to only where it was made
  return rows;
}

}  // namespace

bool is_png(std::string_view bytes) {
  return bytes.substr(0, kSignatureBytes) == "\x89PNG\r\n\x1a\n";
}

namespace {

Decoded decode(std::string_view bytes, const std::string& name, bool mask) {
  PngReader r{bytes};
  const auto refuse = [&] { throw Error(Exit::data, name, ": damaged PNG: ", r.message); };
  r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r.message, fail, ignore);
  if (r.png == nullptr) throw std::bad_alloc();
  r.info = png_create_info_struct(r.png);
  if (r.info == nullptr) throw std::bad_alloc();
  if (!read_header(r)) refuse();
  const uint64_t width = png_get_image_width(r.png, r.info);
  const uint64_t height = png_get_image_height(r.png, r.info);
  const uint64_t bits = png_get_bit_depth(r.png, r.info) * png_get_channels(r.png, r.info);
  check_size(name, width, height, bytes.size() * kBestDeflate * 8 / std::max<uint64_t>(bits, 1));
  if (!choose_output(r, mask)) refuse();

  Decoded out;
  const int64_t channels = png_get_channels(r.png, r.info);
  out.image = Image(static_cast<int64_t>(width), static_cast<int64_t>(height), channels);
  if (png_get_rowbytes(r.png, r.info) != width * static_cast<uint64_t>(channels))
    throw Error(Exit::internal, name, ": libpng gives rows of another size");
  r.rows = rows_of(out.image);
  if (!read_rows(r)) refuse();
  out.orientation = orientation_of(bytes);
  return out;
}

}  // namespace

Decoded decode_png(std::string_view bytes, const std::string& name) {
  return decode(bytes, name, /*mask=*/false);
}

Decoded decode_png_mask(std::string_view bytes, const std::string& name) {
  return decode(bytes, name, /*mask=*/true);
}

std::string encode_png(const Image& image) {
  Writer w;
  w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w.message, fail, ignore);
  if (w.png == nullptr) throw std::bad_alloc();
  w.info = png_create_info_struct(w.png);
  if (w.info == nullptr) throw std::bad_alloc();
  w.rows = rows_of(image);
  if (!write(w, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
             image.channels == 4))
    throw Error(Exit::internal, "PNG of ", image.width, " x ", image.height, ": ", w.message);
  return std::move(w.out);
}

}  // namespace lact::media
