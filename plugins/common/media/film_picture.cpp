#include "film_picture.hpp"

#include <lact/error.hpp>

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace lact::media {
namespace {

constexpr double kMostAspect = 8;  // of pixels: more is a damaged header

/// The names of old that mean "0 to 255", as format and range.
AVPixelFormat without_range(AVPixelFormat format, bool* full) {
  const auto is = [&](AVPixelFormat plain) {
    *full = true;
    return plain;
  };
  switch (format) {
    case AV_PIX_FMT_YUVJ411P:
      return is(AV_PIX_FMT_YUV411P);
    case AV_PIX_FMT_YUVJ420P:
      return is(AV_PIX_FMT_YUV420P);
    case AV_PIX_FMT_YUVJ422P:
      return is(AV_PIX_FMT_YUV422P);
    case AV_PIX_FMT_YUVJ440P:
      return is(AV_PIX_FMT_YUV440P);
    case AV_PIX_FMT_YUVJ444P:
      return is(AV_PIX_FMT_YUV444P);
    default:
      return format;
  }
}

/// A film that does not say is in BT.709 if it is large, else in BT.601, as players have it.
int matrix_of(const AVFrame& frame) {
  if (frame.colorspace != AVCOL_SPC_UNSPECIFIED) return frame.colorspace;
  return frame.width >= 1280 || frame.height > 576 ? SWS_CS_ITU709 : SWS_CS_ITU601;
}

bool is_interlaced(const AVFrame& frame) {
#ifdef AV_FRAME_FLAG_INTERLACED
  return (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return frame.interlaced_frame != 0;
#endif
}

bool has_flag(const AVFrame& frame, uint64_t flag) {
  const auto* about = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  return about != nullptr && (about->flags & flag) != 0;
}

/// The rows of a frame that belong together.
struct Rows {
  std::array<const uint8_t*, 4> planes;
  std::array<int, 4> strides;
  int height;
};

/// Of an interlaced frame every other row, from the first on: the rest was taken at another time.
Rows rows_of(const AVFrame& frame) {
  Rows rows{{}, {}, frame.height};
  std::copy_n(frame.data, 4, rows.planes.begin());
  std::copy_n(frame.linesize, 4, rows.strides.begin());
  if (!is_interlaced(frame) || frame.height < 2 || has_flag(frame, AV_PIX_FMT_FLAG_PAL))
    return rows;
  for (auto& stride : rows.strides) stride *= 2;
  rows.height = (frame.height + 1) / 2;
  return rows;
}

}  // namespace

FilmPicture::FilmPicture(std::string name, int64_t width, int64_t height, AVRational aspect,
                         Orientation orientation, Alpha alpha)
    : name_(std::move(name)),
      width_(width),
      height_(height),
      orientation_(orientation),
      alpha_(alpha) {
  const double ratio = aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
  if (ratio > kMostAspect || ratio < 1 / kMostAspect) return;
  const auto wide = ratio > 1 ? std::llround(static_cast<double>(width) * ratio) : width;
  const auto high = ratio < 1 ? std::llround(static_cast<double>(height) / ratio) : height;
  if (wide > kMaxFilmPixels / high) return;
  width_ = wide;
  height_ = high;
}

int64_t FilmPicture::width() const {
  return swaps_sides(orientation_) ? height_ : width_;
}

int64_t FilmPicture::height() const {
  return swaps_sides(orientation_) ? width_ : height_;
}

/// Programs that know three channels leave the fourth byte of packed pixels 0: until a film shows
/// something, such frames are opaque.
void FilmPicture::clear_padding(Image& rgba, const AVFrame& frame) {
  if (seen_ || has_flag(frame, AV_PIX_FMT_FLAG_PLANAR | AV_PIX_FMT_FLAG_PAL)) return;
  for (size_t i = 3; i < rgba.pixels.size() && !seen_; i += 4) seen_ = rgba.pixels[i] != 0;
  for (size_t i = 3; i < rgba.pixels.size() && !seen_; i += 4) rgba.pixels[i] = 255;
}

Image FilmPicture::image(const AVFrame& frame) {
  bool full = frame.color_range == AVCOL_RANGE_JPEG;
  const auto from = without_range(static_cast<AVPixelFormat>(frame.format), &full);
  const bool alpha = alpha_ != Alpha::padding && has_flag(frame, AV_PIX_FMT_FLAG_ALPHA);
  const auto rows = rows_of(frame);
  const int w = static_cast<int>(width_), h = static_cast<int>(height_);
  const auto to = alpha ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24;
  scaler_.reset(sws_getCachedContext(scaler_.release(), frame.width, rows.height, from, w, h, to,
                                     kScaling, nullptr, nullptr, nullptr));
  if (!scaler_)
    throw Error(Exit::data, name_, ": frames of ", frame.width, " x ", frame.height,
                " cannot be converted to RGB");
  const int* table = sws_getCoefficients(matrix_of(frame));
  sws_setColorspaceDetails(scaler_.get(), table, full, table, 1, 0, 1 << 16, 1 << 16);
  const Frame rgb(allocated(av_frame_alloc()));
  rgb->format = to;
  rgb->width = w;
  rgb->height = h;
  if (av_frame_get_buffer(rgb.get(), 0) < 0) throw std::bad_alloc();
  if (sws_scale(scaler_.get(), rows.planes.data(), rows.strides.data(), 0, rows.height, rgb->data,
                rgb->linesize) != h)
    throw Error(Exit::data, name_, ": a frame cannot be converted to RGB");
  Image out(width_, height_, alpha ? 4 : 3);
  for (int64_t y = 0; y < height_; ++y)
    std::copy_n(rgb->data[0] + y * rgb->linesize[0], width_ * out.channels, out.at(0, y));
  if (alpha) clear_padding(out, frame);
  return turned(alpha_ == Alpha::kept ? std::move(out) : over(out), orientation_);
}

std::vector<uint8_t> FilmPicture::luma(const AVFrame& frame, int64_t side) {
  bool full = false;
  const auto from = without_range(static_cast<AVPixelFormat>(frame.format), &full);
  const int to = static_cast<int>(side), stride = (to + 63) / 64 * 64;
  shrinker_.reset(sws_getCachedContext(shrinker_.release(), frame.width, frame.height, from, to, to,
                                       AV_PIX_FMT_GRAY8, SWS_AREA | SWS_BITEXACT, nullptr, nullptr,
                                       nullptr));
  std::vector<uint8_t> rows(static_cast<size_t>(stride * to)), small;
  uint8_t* planes[4] = {rows.data()};
  const int strides[4] = {stride};
  if (!shrinker_ || sws_scale(shrinker_.get(), frame.data, frame.linesize, 0, frame.height, planes,
                              strides) != to)
    throw Error(Exit::data, name_, ": a frame cannot be converted to grey");
  for (int y = 0; y < to; ++y)
    small.insert(small.end(), &rows[static_cast<size_t>(y * stride)],
                 &rows[static_cast<size_t>(y * stride)] + to);
  return small;
}

std::string high_dynamic_range(const AVFrame& frame) {
  if (frame.color_trc == AVCOL_TRC_SMPTE2084) return "PQ";
  return frame.color_trc == AVCOL_TRC_ARIB_STD_B67 ? "HLG" : "";
}

}  // namespace lact::media
