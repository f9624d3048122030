#include "ffmpeg.hpp"
#include "video.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <vector>

namespace lact::media {
namespace {

// One alone, so that no bit depends on which is first. x264's threads look at frames that others
// have not finished; on a busy machine the same frames once gave other bytes.
constexpr int kThreads = 1;

struct Encoder {
  const char* name;
  std::map<std::string, std::string> options;
  const char* filter = nullptr;  // of packets
};
/// A kind of file and who can make it, best first.
struct Kind {
  const char* muxer;
  std::vector<Encoder> encoders;
};

const std::map<std::string, Kind>& kinds() {
  static const std::map<std::string, Kind> all = {
      {".mp4",
       {"mp4",
        {// x264 writes its version and settings into a message of type 6.
         {"libx264", {{"preset", "medium"}, {"crf", "18"}}, "filter_units=remove_types=6"},
         {"mpeg4", {{"flags", "+qscale"}, {"global_quality", std::to_string(3 * FF_QP2LAMBDA)}}}}}},
      {".webm",
       {"webm",
        {{"libvpx-vp9", {{"crf", "20"}, {"b", "0"}, {"deadline", "good"}, {"cpu-used", "4"}}},
         {"libvpx", {{"crf", "8"}, {"b", "20M"}, {"deadline", "good"}, {"cpu-used", "4"}}}}}}};
  return all;
}

struct FreedMuxer {
  void operator()(AVFormatContext* format) const { avformat_free_context(format); }
};

/// What the muxer writes, into a file that appears whole. An exception must not pass through C: it
/// is kept, and thrown when the muxer has returned.
struct Output {
  explicit Output(const std::filesystem::path& path) : file(path) {}
  io::AtomicFile file;
  uint64_t at = 0;
  std::exception_ptr failed;

  void put(const uint8_t* from, uint64_t bytes) {
    const uint64_t inside = std::min(bytes, file.size() - at);
    if (inside > 0) file.write_at(at, from, inside);
    if (inside < bytes) file.write(from + inside, bytes - inside);
    at += bytes;
  }

#if LIBAVFORMAT_VERSION_MAJOR >= 61
  static int write(void* opaque, const uint8_t* from, int bytes){
#else
  static int write(void* opaque, uint8_t* from, int bytes) {
#endif
      auto* output = static_cast<Output*>(opaque);
  try {
    output->put(from, static_cast<uint64_t>(bytes));
    return bytes;
  } catch (...) {
    output->failed = std::current_exception();
    return AVERROR(EIO);
  }
}

static int64_t
seek(void* opaque, int64_t to, int whence) {
  auto* output = static_cast<Output*>(opaque);
  const auto size = static_cast<int64_t>(output->file.size());
  if (whence == AVSEEK_SIZE) return size;
  if (whence == SEEK_CUR) to += static_cast<int64_t>(output->at);
  if (whence == SEEK_END) to += size;
  if (to < 0 || to > size) return AVERROR(EINVAL);  // a hole has no use here
  output->at = static_cast<uint64_t>(to);
  return to;
}
};  // namespace

std::string suffix_of(const std::filesystem::path& file) {
  auto suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return suffix;
}

const Kind& kind_of(const std::filesystem::path& file) {
  const auto suffix = suffix_of(file);
  const auto found = kinds().find(suffix);
  if (found == kinds().end())
    throw Error(Exit::usage, file.string(),
                ": expected a film's name in .mp4 or .webm, or - for raw frames, found ",
                suffix.empty() ? "none of them" : suffix);
  return found->second;
}

}  // namespace lact::media

struct VideoWriter::Impl {
  std::string name;
  int64_t width = 0, height = 0;
  bool raw = false;       // frames to stdout, as they are
  bool finished = false;  // or failed
  int64_t frames = 0;

  std::unique_ptr<Output> output;
  Io io;
  std::unique_ptr<AVFormatContext, FreedMuxer> format;
  Codec codec;
  Filter filter;
  Scaler scaler;
  Frame rgb, yuv;
  Packet packet;
  AVStream* stream = nullptr;

  void open(const std::filesystem::path& file, double rate);
  void open_encoder(const Kind& kind, AVRational rate);
  void open_filter(const char* words);
  void open_muxer(const std::filesystem::path& file, const Kind& kind, AVRational rate);
  void make_frames();
  void check(int error, const char* what);
  void encode(const AVFrame* frame);
  void write(AVPacket* encoded);
  void fill(const Image& image);
};

/// The cause, if our own writing failed; else FFmpeg's words.
void VideoWriter::Impl::check(int error, const char* what) {
  if (error >= 0) return;
  finished = true;
  if (output && output->failed) std::rethrow_exception(output->failed);
  if (error == AVERROR(ENOMEM)) throw std::bad_alloc();
  throw Error(Exit::io, name, ": cannot ", what, ": ", words_of(error));
}

void VideoWriter::Impl::open_encoder(const Kind& kind, AVRational rate) {
  const AVCodec* encoder = nullptr;
  const Encoder* chosen = nullptr;
  for (const auto& one : kind.encoders)
    if (encoder == nullptr && (encoder = avcodec_find_encoder_by_name(one.name)) != nullptr)
      chosen = &one;
  if (encoder == nullptr)
    throw Error(Exit::usage, name, ": FFmpeg was built without an encoder for ", kind.muxer);
  codec.reset(allocated(avcodec_alloc_context3(encoder)));
  if (width % 2 + height % 2 > 0)
    log::warning(name, ": frames of ", width, " x ", height, " become ", width + width % 2, " x ",
                 height + height % 2, ", the last column or row doubled: films have even sizes");
  codec->width = static_cast<int>(width + width % 2);
  codec->height = static_cast<int>(height + height % 2);
  codec->pix_fmt = AV_PIX_FMT_YUV420P;
  codec->time_base = av_inv_q(rate);
  codec->framerate = rate;
  codec->thread_count = kThreads;
  codec->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
  codec->color_range = AVCOL_RANGE_MPEG;
  codec->colorspace = AVCOL_SPC_BT709;
  codec->color_primaries = AVCOL_PRI_BT709;
  codec->color_trc = AVCOL_TRC_BT709;
  AVDictionary* options = nullptr;
  for (const auto& [key, value] : chosen->options)
    av_dict_set(&options, key.c_str(), value.c_str(), 0);
  const int error = avcodec_open2(codec.get(), encoder, &options);
  av_dict_free(&options);
  check(error, "encode");
  open_filter(chosen->filter);
}

void VideoWriter::Impl::open_filter(const char* words) {
  AVBSFContext* made = nullptr;
  check(av_bsf_list_parse_str(words, &made), "encode");
  filter.reset(made);
  check(avcodec_parameters_from_context(filter->par_in, codec.get()), "encode");
  filter->time_base_in = codec->time_base;
  check(av_bsf_init(filter.get()), "encode");
}

void VideoWriter::Impl::open_muxer(const std::filesystem::path& file, const Kind& kind,
                                   AVRational rate) {
  AVFormatContext* context = nullptr;
  check(avformat_alloc_output_context2(&context, nullptr, kind.muxer, nullptr), "write");
  format.reset(context);
  output = std::make_unique<Output>(file);
  auto* buffer = static_cast<uint8_t*>(allocated(av_malloc(kIoBytes)));
  io.reset(
      avio_alloc_context(buffer, kIoBytes, 1, output.get(), nullptr, Output::write, Output::seek));
  if (!io) {
    av_free(buffer);
    throw std::bad_alloc();
  }
  format->pb = io.get();
  format->flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
  stream = allocated(avformat_new_stream(format.get(), nullptr));
  stream->time_base = codec->time_base;
  stream->avg_frame_rate = rate;
  check(avcodec_parameters_copy(stream->codecpar, filter->par_out), "write");
  check(avformat_write_header(format.get(), nullptr), "write");
}

void VideoWriter::Impl::make_frames() {
  packet.reset(allocated(av_packet_alloc()));
  const auto make = [&](Frame& frame, AVPixelFormat pixels) {
    frame.reset(allocated(av_frame_alloc()));
    frame->format = pixels;
    frame->width = codec->width;
    frame->height = codec->height;
    if (av_frame_get_buffer(frame.get(), 0) < 0) throw std::bad_alloc();
  };
  make(rgb, AV_PIX_FMT_RGB24);
  make(yuv, AV_PIX_FMT_YUV420P);
  yuv->color_range = codec->color_range;
  yuv->colorspace = codec->colorspace;
  scaler.reset(sws_getContext(codec->width, codec->height, AV_PIX_FMT_RGB24, codec->width,
                              codec->height, AV_PIX_FMT_YUV420P, kScaling, nullptr, nullptr,
                              nullptr));
  if (!scaler) throw Error(Exit::internal, name, ": no conversion from RGB");
  const int* table = sws_getCoefficients(SWS_CS_ITU709);
  sws_setColorspaceDetails(scaler.get(), table, 1, table, 0, 0, 1 << 16, 1 << 16);
}

void VideoWriter::Impl::open(const std::filesystem::path& file, double rate) {
  tame();
  if (!(rate > 0 && rate <= 1000))
    throw Error(Exit::usage, name, ": expected 1 to 1000 frames per second, found ", rate);
  if (width < 1 || height < 1 || width > kMaxFilmPixels / height)
    throw Error(Exit::usage, name, ": expected frames of at most ", kMaxFilmPixels,
                " pixels, found ", width, " x ", height);
  if (file == "-") {
    if (::isatty(STDOUT_FILENO) == 1)
      throw Error(Exit::usage, "stdout is a terminal, and raw frames are no text: pipe them");
    raw = true;
    return;
  }
  const auto& kind = kind_of(file);
  const auto exact = av_d2q(rate, 100100);  // 30000/1001 too
  open_encoder(kind, exact);
  open_muxer(file, kind, exact);
  make_frames();
}

/// Into rgb, with the last column and row doubled where a side is odd.
void VideoWriter::Impl::fill(const Image& image) {
  for (int y = 0; y < rgb->height; ++y) {
    auto* row = rgb->data[0] + y * rgb->linesize[0];
    std::copy_n(image.at(0, std::min<int64_t>(y, height - 1)), width * 3, row);
    if (rgb->width > width) std::copy_n(row + (width - 1) * 3, 3, row + width * 3);
  }
}

/// A packet from the encoder, or none at the end.
void VideoWriter::Impl::write(AVPacket* encoded) {
  check(av_bsf_send_packet(filter.get(), encoded), "encode");
  for (;;) {
    const int error = av_bsf_receive_packet(filter.get(), packet.get());
    if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return;
    check(error, "encode");
    if (packet->duration == 0) packet->duration = 1;
    av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
    packet->stream_index = stream->index;
    check(av_interleaved_write_frame(format.get(), packet.get()), "write");
  }
}

/// A frame, or none: all that the encoder still holds.
void VideoWriter::Impl::encode(const AVFrame* frame) {
  check(avcodec_send_frame(codec.get(), frame), "encode");
  for (;;) {
    const int error = avcodec_receive_packet(codec.get(), packet.get());
    if (error == AVERROR(EAGAIN)) return;
    if (error == AVERROR_EOF) return write(nullptr);
    check(error, "encode");
    write(packet.get());
  }
}

VideoWriter::VideoWriter(const std::filesystem::path& file, int64_t width, int64_t height,
                         double rate)
    : impl_(std::make_unique<Impl>()) {
  impl_->name = file == "-" ? "stdout" : file.string();
  impl_->width = width;
  impl_->height = height;
  impl_->open(file, rate);
}

VideoWriter::~VideoWriter() = default;

void VideoWriter::add(const Image& frame) {
  auto& w = *impl_;
  if (w.finished) throw Error(Exit::internal, w.name, ": a frame after the end");
  if (frame.width != w.width || frame.height != w.height)
    throw Error(Exit::internal, w.name, ": expected frames of ", w.width, " x ", w.height,
                ", found ", frame.width, " x ", frame.height);
  const Image opaque = over(frame);
  if (w.raw) {
    io::write_all(STDOUT_FILENO, opaque.pixels.data(), opaque.pixels.size(), w.name);
    return;
  }
  w.fill(opaque);
  w.check(av_frame_make_writable(w.yuv.get()), "encode");  // the encoder may still hold the last
  sws_scale(w.scaler.get(), w.rgb->data, w.rgb->linesize, 0, w.rgb->height, w.yuv->data,
            w.yuv->linesize);
  w.yuv->pts = w.frames++;
  w.encode(w.yuv.get());
}

void VideoWriter::finish() {
  auto& w = *impl_;
  if (w.finished || w.raw) return;
  if (w.frames == 0) throw Error(Exit::data, w.name, ": a film needs frames, and there are none");
  w.encode(nullptr);
  w.check(av_write_trailer(w.format.get()), "write");
  avio_flush(w.io.get());
  w.check(w.io->error, "write");
  w.finished = true;
  w.output->file.commit();
}

}  // namespace lact::media
