#include "ffmpeg.hpp"
#include "film_input.hpp"
#include "orient.hpp"
#include "video.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

namespace lact::media {
namespace {

// No playlist, no concatenation, nothing that names other files or hosts.
constexpr char kFormats[] =
    "mov,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,yuv4mpegpipe,h264,hevc,m4v,mpegvideo,ivf";
// Decoders of pictures that cameras and programs make; none of sound or of rare games' films.
constexpr char kDecoders[] =
    "h264,hevc,libdav1d,libaom-av1,av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg1video,mpeg2video,"
    "msmpeg4v1,msmpeg4v2,msmpeg4,h261,h263,flv,wmv1,wmv2,wmv3,vc1,theora,mjpeg,cinepak,svq1,svq3,"
    "ffv1,huffyuv,ffvhuff,utvideo,qtrle,prores,dnxhd,dvvideo,rawvideo,gif,png";
constexpr int kMaxReadErrors = 64;  // in a row; after them the film is over

struct FreedFormat {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
};
using Format = std::unique_ptr<AVFormatContext, FreedFormat>;

/// FFmpeg never opens anything by itself.
int open_nothing(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EPERM);
}

Orientation by_matrix(const uint8_t* bytes) {
  int32_t m[9];  // (x, y) -> (a x + c y, b x + d y), y downwards
  std::memcpy(m, bytes, sizeof m);
  const auto sign = [](int32_t v) { return (v > 0) - (v < 0); };
  const std::tuple a_b_c_d(sign(m[0]), sign(m[1]), sign(m[3]), sign(m[4]));
  using T = std::tuple<int, int, int, int>;
  if (a_b_c_d == T(-1, 0, 0, 1)) return Orientation::mirrored;
  if (a_b_c_d == T(-1, 0, 0, -1)) return Orientation::half_turn;
  if (a_b_c_d == T(1, 0, 0, -1)) return Orientation::upside_down;
  if (a_b_c_d == T(0, 1, 1, 0)) return Orientation::transposed;
  if (a_b_c_d == T(0, 1, -1, 0)) return Orientation::clockwise;
  if (a_b_c_d == T(0, -1, -1, 0)) return Orientation::transverse;
  if (a_b_c_d == T(0, -1, 1, 0)) return Orientation::counterclockwise;
  return Orientation::upright;  // or a slant, which nobody shows
}

Orientation orientation_of(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(60, 15, 100)
  const auto* data =
      av_packet_side_data_get(stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data,
                              AV_PKT_DATA_DISPLAYMATRIX);
  if (data == nullptr || data->size < 9 * sizeof(int32_t)) return Orientation::upright;
  return by_matrix(data->data);
#else
  size_t bytes = 0;
  const auto* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
  if (data == nullptr || bytes < 9 * sizeof(int32_t)) return Orientation::upright;
  return by_matrix(data);
#endif
}

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

}  // namespace

struct VideoReader::Impl {
  std::string name;
  std::unique_ptr<FilmInput> input;
  Format format;
  Codec codec;
  Scaler scaler, shrinker;
  Frame frame, before, rgb;
  Packet packet;
  int stream = -1;
  Orientation orientation = Orientation::upright;
  int64_t width = 0, height = 0;  // as stored
  double first = NAN, time = 0, rate = 0;
  int64_t damaged = 0;
  int read_errors = 0;
  bool drained = false;

  void open(const std::filesystem::path& path, bool (*stop)());
  void find_stream();
  bool decode();
  void feed();
  void advance_time();
  Image image(const AVFrame& decoded);
};

void VideoReader::Impl::open(const std::filesystem::path& path, bool (*stop)()) {
  tame();
  input = std::make_unique<FilmInput>(path, stop);
  name = input->name();
  auto* context = allocated(avformat_alloc_context());
  context->pb = input->io();
  context->flags |= AVFMT_FLAG_CUSTOM_IO;
  context->io_open = open_nothing;
  av_opt_set(context, "format_whitelist", kFormats, 0);
  av_opt_set(context, "codec_whitelist", kDecoders, 0);
  av_opt_set(context, "protocol_whitelist", "none", 0);
  const int error = avformat_open_input(&context, "", nullptr, nullptr);  // frees it if it fails
  if (error < 0)  // memory, too: sizes that a file claims are not sound
    throw Error(Exit::data, name,
                ": is damaged, or no film of a kind that is read (MP4, WebM, AVI, MPEG, ...): ",
                words_of(error));
  format.reset(context);
}

void VideoReader::Impl::find_stream() {
  avformat_find_stream_info(format.get(), nullptr);  // what it does not find, frames will tell
  const AVCodec* decoder = nullptr;
  stream = av_find_best_stream(format.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  const bool film =
      stream >= 0 && (format->streams[stream]->disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
  if (!film) throw Error(Exit::data, name, ": expected a film, found no video in it");
  const auto& one = *format->streams[stream];
  for (unsigned i = 0; i < format->nb_streams; ++i)
    if (static_cast<int>(i) != stream) format->streams[i]->discard = AVDISCARD_ALL;

  codec.reset(allocated(avcodec_alloc_context3(decoder)));
  int error = avcodec_parameters_to_context(codec.get(), one.codecpar);
  av_opt_set(codec.get(), "codec_whitelist", kDecoders, 0);
  codec->pkt_timebase = one.time_base;
  codec->max_pixels = kMaxFilmPixels;
  codec->thread_count = 1;  // what is made of damaged packets depends on threads
  if (error >= 0) error = avcodec_open2(codec.get(), decoder, nullptr);
  if (error < 0)
    throw Error(Exit::data, name, ": cannot decode ", avcodec_get_name(one.codecpar->codec_id),
                ": ", words_of(error));
  width = one.codecpar->width;
  height = one.codecpar->height;
  if (width < 1 || height < 1 || width > kMaxFilmPixels / height)
    throw Error(Exit::data, name, ": expected frames of at most ", kMaxFilmPixels,
                " pixels, found ", width, " x ", height);
  orientation = orientation_of(one);
  const auto guessed = av_guess_frame_rate(format.get(), format->streams[stream], nullptr);
  rate = guessed.num > 0 && guessed.den > 0 ? av_q2d(guessed) : 0;
}

/// Gives the decoder one more packet, or tells it that there are none.
void VideoReader::Impl::feed() {
  for (;;) {
    const int error = av_read_frame(format.get(), packet.get());
    if (error >= 0) {
      read_errors = 0;
      const bool ours = packet->stream_index == stream;
      const bool torn = (packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
      const bool sent = ours && !torn && avcodec_send_packet(codec.get(), packet.get()) >= 0;
      if (ours && !sent) ++damaged;
      av_packet_unref(packet.get());
      if (sent) return;
    } else if (error == AVERROR_EOF || ++read_errors > kMaxReadErrors) {
      drained = true;
      avcodec_send_packet(codec.get(), nullptr);
      return;
    } else {
      ++damaged;
    }
  }
}

/// The next frame as the decoder has it; false at the end.
bool VideoReader::Impl::decode() {
  for (;;) {
    const int error = avcodec_receive_frame(codec.get(), frame.get());
    if (error == AVERROR_EOF) return false;
    if (error == AVERROR(ENOMEM))
      throw Error(Exit::data, name, ": a frame takes more memory than there is");
    if (error == AVERROR(EAGAIN)) {
      if (drained) return false;
      feed();
    } else if (error < 0 || frame->decode_error_flags != 0 ||
               (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0) {
      ++damaged;
    } else {
      return true;
    }
  }
}

void VideoReader::Impl::advance_time() {
  const auto stamp = frame->best_effort_timestamp;
  const double after = rate > 0 ? time + 1 / rate : time;
  if (stamp == AV_NOPTS_VALUE) {
    time = std::isnan(first) ? 0 : after;
    if (std::isnan(first)) first = 0;
    return;
  }
  const double now = static_cast<double>(stamp) * av_q2d(format->streams[stream]->time_base);
  if (std::isnan(first)) first = now;
  time = now - first;
}

Image VideoReader::Impl::image(const AVFrame& decoded) {
  const auto* frame = &decoded;
  bool full = frame->color_range == AVCOL_RANGE_JPEG;
  const auto from = without_range(static_cast<AVPixelFormat>(frame->format), &full);
  const int w = static_cast<int>(width), h = static_cast<int>(height);
  scaler.reset(sws_getCachedContext(scaler.release(), frame->width, frame->height, from, w, h,
                                    AV_PIX_FMT_RGB24, kScaling, nullptr, nullptr, nullptr));
  if (!scaler)
    throw Error(Exit::data, name, ": frames of ", frame->width, " x ", frame->height,
                " cannot be converted to RGB");
  const int* table = sws_getCoefficients(matrix_of(*frame));
  sws_setColorspaceDetails(scaler.get(), table, full, table, 1, 0, 1 << 16, 1 << 16);
  const int rows = sws_scale(scaler.get(), frame->data, frame->linesize, 0, frame->height,
                             rgb->data, rgb->linesize);
  if (rows != h) throw Error(Exit::data, name, ": a frame cannot be converted to RGB");
  Image out(width, height);
  for (int64_t y = 0; y < height; ++y)
    std::copy_n(rgb->data[0] + y * rgb->linesize[0], width * 3, out.at(0, y));
  return turned(std::move(out), orientation);
}

VideoReader::VideoReader(const std::filesystem::path& file, bool (*stop)())
    : impl_(std::make_unique<Impl>()) {
  impl_->open(file, stop);
  impl_->find_stream();
  impl_->packet.reset(allocated(av_packet_alloc()));
  impl_->frame.reset(allocated(av_frame_alloc()));
  impl_->before.reset(allocated(av_frame_alloc()));
  impl_->rgb.reset(allocated(av_frame_alloc()));
  auto& rgb = *impl_->rgb;
  rgb.format = AV_PIX_FMT_RGB24;
  rgb.width = static_cast<int>(impl_->width);
  rgb.height = static_cast<int>(impl_->height);
  if (av_frame_get_buffer(&rgb, 0) < 0) throw std::bad_alloc();
}

VideoReader::~VideoReader() = default;

std::optional<Image> VideoReader::next() {
  if (!advance()) return {};
  return impl_->image(*impl_->frame);
}

bool VideoReader::advance() {
  std::swap(impl_->frame, impl_->before);
  if (!impl_->decode()) return false;
  impl_->advance_time();
  return true;
}

Image VideoReader::image(bool before) {
  const auto& frame = before ? *impl_->before : *impl_->frame;
  if (frame.width < 1) throw Error(Exit::internal, impl_->name, ": there is no such frame");
  return impl_->image(frame);
}

std::vector<uint8_t> VideoReader::luma(int64_t side) {
  auto& at = *impl_;
  bool full = false;
  const auto from = without_range(static_cast<AVPixelFormat>(at.frame->format), &full);
  const int to = static_cast<int>(side), stride = (to + 63) / 64 * 64;
  at.shrinker.reset(sws_getCachedContext(at.shrinker.release(), at.frame->width, at.frame->height,
                                         from, to, to, AV_PIX_FMT_GRAY8, SWS_AREA | SWS_BITEXACT,
                                         nullptr, nullptr, nullptr));
  std::vector<uint8_t> rows(static_cast<size_t>(stride * to)), small;
  uint8_t* planes[4] = {rows.data()};
  const int strides[4] = {stride};
  if (!at.shrinker || sws_scale(at.shrinker.get(), at.frame->data, at.frame->linesize, 0,
                                at.frame->height, planes, strides) != to)
    throw Error(Exit::data, at.name, ": a frame cannot be converted to grey");
  for (int y = 0; y < to; ++y)
    small.insert(small.end(), &rows[static_cast<size_t>(y * stride)],
                 &rows[static_cast<size_t>(y * stride)] + to);
  return small;
}

double VideoReader::time() const {
  return impl_->time;
}

double VideoReader::rate() const {
  return impl_->rate;
}

int64_t VideoReader::width() const {
  return swaps_sides(impl_->orientation) ? impl_->height : impl_->width;
}

int64_t VideoReader::height() const {
  return swaps_sides(impl_->orientation) ? impl_->width : impl_->height;
}

int64_t VideoReader::damaged() const {
  return impl_->damaged;
}

}  // namespace lact::media
