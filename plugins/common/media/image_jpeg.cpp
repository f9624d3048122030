#include "codecs.hpp"

#include <lact/error.hpp>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <string>
// These two need <cstdio> before them.
#include <jpeglib.h>

#include <jerror.h>

namespace lact::media {
namespace {

// A block of 8 x 8 pixels takes one bit at least: so many pixels from one byte.
constexpr uint64_t kBestHuffman = 512;
constexpr int kMaxScans = 64;  // each costs a pass over the image, however few its bytes
constexpr int kExif = JPEG_APP0 + 1;

/// libjpeg's messages, kept; leaves by longjmp, so nothing with a destructor may live between
/// setjmp and it.
struct Errors {
  jpeg_error_mgr manager;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
};

[[noreturn]] void leave(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  (*info->err->format_message)(info, errors->message);
  std::longjmp(errors->jump, 1);
}

/// Warnings that mean wrong pixels are errors; others (stray bytes between markers, an unknown
/// revision) say nothing of them.
void warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
      leave(info);
    default:
      break;
  }
}

jpeg_error_mgr* kept(Errors& errors) {
  jpeg_std_error(&errors.manager);
  errors.manager.error_exit = leave;
  errors.manager.emit_message = warn;
  errors.manager.output_message = [](j_common_ptr) {};
  return &errors.manager;
}

struct JpegReader {
  Errors errors;
  jpeg_decompress_struct info{};
  jpeg_progress_mgr progress{};
  std::string_view bytes;
  std::vector<uint8_t> row;  // of four inks
  Image* image = nullptr;
  ~JpegReader() { jpeg_destroy_decompress(&info); }
};

void count_scans(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->message, sizeof errors->message, "more than %d scans", kMaxScans);
  std::longjmp(errors->jump, 1);
}

bool read_header(JpegReader& r) {
  r.info.err = kept(r.errors);
  if (setjmp(r.errors.jump) != 0) return false;
  jpeg_create_decompress(&r.info);
  r.progress.progress_monitor = count_scans;
  r.info.progress = &r.progress;
  jpeg_save_markers(&r.info, kExif, 0xFFFF);
  jpeg_mem_src(&r.info, reinterpret_cast<const unsigned char*>(r.bytes.data()), r.bytes.size());
  jpeg_read_header(&r.info, TRUE);
  return true;
}

Orientation orientation_of(const JpegReader& r) {
  for (auto* marker = r.info.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (marker->marker == kExif && data.substr(0, 4) == "Exif") return exif_orientation(data);
  }
  return Orientation::upright;
}

/// Stored as Adobe does, 255 for no ink.
void paint(const uint8_t* inks, uint8_t* rgb, int64_t width) {
  for (int64_t x = 0; x < width; ++x, inks += 4, rgb += 3)
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<uint8_t>(inks[3] - mul_div_255(255 - inks[c], inks[3]));
}

bool read_rows(JpegReader& r) {
  if (setjmp(r.errors.jump) != 0) return false;
  jpeg_start_decompress(&r.info);
  while (r.info.output_scanline < r.info.output_height) {
    auto* row = r.image->at(0, r.info.output_scanline);
    JSAMPROW into = r.row.empty() ? row : r.row.data();
    jpeg_read_scanlines(&r.info, &into, 1);
    if (!r.row.empty()) paint(r.row.data(), row, r.image->width);
  }
  jpeg_finish_decompress(&r.info);
  return true;
}

struct Writer {
  Errors errors;
  jpeg_compress_struct info{};
  unsigned char* out = nullptr;
  unsigned long bytes = 0;
  ~Writer() {
    jpeg_destroy_compress(&info);
    std::free(out);
  }
};

bool write(Writer& w, const Image& image, int quality) {
  w.info.err = kept(w.errors);
  if (setjmp(w.errors.jump) != 0) return false;
  jpeg_create_compress(&w.info);
  jpeg_mem_dest(&w.info, &w.out, &w.bytes);
  w.info.image_width = static_cast<JDIMENSION>(image.width);
  w.info.image_height = static_cast<JDIMENSION>(image.height);
  w.info.input_components = 3;
  w.info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&w.info);
  jpeg_set_quality(&w.info, quality, TRUE);
  w.info.comp_info[0].h_samp_factor = w.info.comp_info[0].v_samp_factor = 1;  // colours whole
  w.info.optimize_coding = TRUE;
  jpeg_start_compress(&w.info, TRUE);
  while (w.info.next_scanline < w.info.image_height) {
    auto* row = const_cast<JSAMPROW>(image.at(0, w.info.next_scanline));
    jpeg_write_scanlines(&w.info, &row, 1);
  }
  jpeg_finish_compress(&w.info);
  return true;
}

}  // namespace

bool is_jpeg(std::string_view bytes) {
  return bytes.substr(0, 3) == "\xff\xd8\xff";
}

Decoded decode_jpeg(std::string_view bytes, const std::string& name) {
  JpegReader r;
  r.bytes = bytes;
  const auto refuse = [&] { throw Error(Exit::data, name, ": damaged JPEG: ", r.errors.message); };
  if (!read_header(r)) refuse();
  check_size(name, r.info.image_width, r.info.image_height, bytes.size() * kBestHuffman);
  const auto space = r.info.jpeg_color_space;
  const bool inks = space == JCS_CMYK || space == JCS_YCCK;
  if (r.info.data_precision != 8 || r.info.arith_code || space == JCS_UNKNOWN)
    throw Error(Exit::data, name,
                ": expected a JPEG of 8 bits, Huffman codes, grey, RGB or CMYK; found another");
  r.info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  Decoded out;
  out.image = Image(r.info.image_width, r.info.image_height);
  out.orientation = orientation_of(r);
  r.image = &out.image;
  if (inks) r.row.resize(static_cast<size_t>(r.info.image_width) * 4);
  if (!read_rows(r)) refuse();
  return out;
}

std::string encode_jpeg(const Image& image, int quality) {
  Writer w;
  if (!write(w, image, quality))
    throw Error(Exit::data, "JPEG of ", image.width, " x ", image.height, ": ", w.errors.message);
  return {reinterpret_cast<const char*>(w.out), w.bytes};
}

}  // namespace lact::media
