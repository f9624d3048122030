#include "ffmpeg.hpp"
#include "film_input.hpp"
#include "film_picture.hpp"
#include "video.hpp"

#include <lact/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <tuple>

namespace lact::media {
namespace {

// No playlist, no concatenation, nothing that names other files or hosts.
constexpr char kFormats[] =
    "mov,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,yuv4mpegpipe,h264,hevc,m4v,mpegvideo,ivf,"
    "mjpeg,"
    "apng,webp,dv,mxf,nut,obu";
// Decoders of pictures that cameras and programs make; none of sound or of rare games' films.
constexpr char kDecoders[] =
    "h264,hevc,libdav1d,libaom-av1,av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg1video,mpeg2video,"
    "msmpeg4v1,msmpeg4v2,msmpeg4,h261,h263,flv,wmv1,wmv2,wmv3,vc1,theora,mjpeg,cinepak,svq1,svq3,"
    "ffv1,huffyuv,ffvhuff,utvideo,qtrle,prores,dnxhd,dvvideo,rawvideo,gif,png,apng,webp";
constexpr int kMaxReadErrors = 64;  // in a row; after them the film is over
constexpr double kUsualRate = 25;   // of a film that tells neither times nor a rate
constexpr double kSeam = 1;         // seconds between two packets that are of two films
constexpr size_t kHeld = 3;         // parsers put marks of damage on a packet too early

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

/// Seconds that the file says a frame is shown; 0: it says nothing.
double duration_of(const AVFrame& frame, AVRational base) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
  const int64_t ticks = frame.duration;
#else
  const int64_t ticks = frame.pkt_duration;
#endif
  return ticks > 0 ? static_cast<double>(ticks) * av_q2d(base) : 0;
}

bool has(const AVDictionary* words, std::initializer_list<const char*> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](const char* key) {
    return av_dict_get(words, key, nullptr, 0) != nullptr;
  });
}

bool is_encrypted(const AVPacket& packet) {
  return av_packet_get_side_data(&packet, AV_PKT_DATA_ENCRYPTION_INFO, nullptr) != nullptr;
}

/// A name for people: FFmpeg's, or the four letters that the file has.
std::string codec_name(const AVCodecParameters& codec) {
  if (codec.codec_id != AV_CODEC_ID_NONE) return avcodec_get_name(codec.codec_id);
  if (codec.codec_tag == 0) return "of an unknown name";
  char letters[AV_FOURCC_MAX_STRING_SIZE] = "";
  return concat("\"", av_fourcc_make_string(letters, codec.codec_tag), "\"");
}

/// A decoder that keeps what is transparent, where the film has that.
const AVCodec* decoder_for(const AVStream& stream, const AVCodec* usual) {
  const auto* alpha = av_dict_get(stream.metadata, "alpha_mode", nullptr, 0);
  if (alpha == nullptr || std::string(alpha->value) != "1") return usual;
  const bool vp8 = stream.codecpar->codec_id == AV_CODEC_ID_VP8;
  const auto* other = avcodec_find_decoder_by_name(vp8 ? "libvpx" : "libvpx-vp9");
  return other != nullptr ? other : usual;
}

}  // namespace

struct VideoReader::Impl {
  std::string name;
  std::unique_ptr<FilmInput> input;
  Format format;
  Codec codec;
  FilmPicture picture;
  Frame frame, before;
  Packet packet;
  std::deque<Packet> ready;  // for the decoder
  std::deque<Packet> held;   // from one that is said to be damaged on, until others tell
  int stream = -1;
  Pixels pixels = Pixels::shown;
  double first = NAN, time = 0, rate = 0;
  int64_t damaged = 0;
  int read_errors = 0;
  bool drained = false;

  void open(const std::filesystem::path& path, bool (*stop)());
  const AVInputFormat* find_format();
  void find_stream();
  void open_decoder(const AVCodec* decoder);
  void look_at_sizes();
  bool is_padded() const;
  bool decode();
  void feed();
  void take_packet();
  bool begins_film(const AVPacket& next) const;
  void release(bool sound);
  void advance_time();
  [[noreturn]] void refuse_encrypted() const {
    throw Error(Exit::data, name, ": is encrypted: its frames cannot be read without the key");
  }
};

const AVInputFormat* VideoReader::Impl::find_format() {
  const AVInputFormat* found = nullptr;
  constexpr char kRead[] = "(MP4, WebM, AVI, MPEG, ...)";
  const int error = av_probe_input_buffer2(input->io(), &found, "", nullptr, 0, 0);
  if (error < 0 || found == nullptr)
    throw Error(Exit::data, name, ": is damaged, or no film of a kind that is read ", kRead, ": ",
                words_of(error));
  if (av_match_list(found->name, kFormats, ',') <= 0)
    throw Error(Exit::data, name, ": is no film of a kind that is read ", kRead, ", but ",
                found->long_name != nullptr ? found->long_name : found->name);
  return found;
}

void VideoReader::Impl::open(const std::filesystem::path& path, bool (*stop)()) {
  tame();
  input = std::make_unique<FilmInput>(path, stop);
  name = input->name();
  const auto* kind = find_format();
  auto* context = allocated(avformat_alloc_context());
  context->pb = input->io();
  context->flags |= AVFMT_FLAG_CUSTOM_IO;
  context->io_open = open_nothing;
  av_opt_set(context, "format_whitelist", kFormats, 0);
  av_opt_set(context, "codec_whitelist", kDecoders, 0);
  av_opt_set(context, "protocol_whitelist", "none", 0);
  const int error = avformat_open_input(&context, "", kind, nullptr);  // frees it if it fails
  if (error < 0)  // memory, too: sizes that a file claims are not sound
    throw Error(Exit::data, name, ": is damaged, or no sound ",
                kind->long_name != nullptr ? kind->long_name : kind->name, ": ", words_of(error));
  format.reset(context);
}

void VideoReader::Impl::find_stream() {
  avformat_find_stream_info(format.get(), nullptr);  // what it does not find, frames will tell
  if (has(format->metadata, {"ASF_Protection_Type", "ASF_Key_ID"})) refuse_encrypted();
  const AVCodec* decoder = nullptr;
  stream = av_find_best_stream(format.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  for (unsigned i = 0; stream == AVERROR_DECODER_NOT_FOUND && i < format->nb_streams; ++i)
    if (format->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO)
      stream = static_cast<int>(i);
  const bool film =
      stream >= 0 && (format->streams[stream]->disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
  if (!film) throw Error(Exit::data, name, ": expected a film, found no video in it");
  const auto& one = *format->streams[stream];
  for (unsigned i = 0; i < format->nb_streams; ++i)
    if (static_cast<int>(i) != stream) format->streams[i]->discard = AVDISCARD_ALL;
  if (has(one.metadata, {"enc_key_id"})) refuse_encrypted();
  open_decoder(decoder != nullptr ? decoder_for(one, decoder) : nullptr);
  look_at_sizes();
  const auto guessed = av_guess_frame_rate(format.get(), format->streams[stream], nullptr);
  rate = guessed.num > 0 && guessed.den > 0 ? av_q2d(guessed) : 0;
}

void VideoReader::Impl::open_decoder(const AVCodec* decoder) {
  const auto& one = *format->streams[stream];
  if (decoder == nullptr || av_match_list(decoder->name, kDecoders, ',') <= 0)
    throw Error(Exit::data, name, ": its codec, ", codec_name(*one.codecpar),
                ", is none that is read; convert the film, for example with ffmpeg, to H.264");
  codec.reset(allocated(avcodec_alloc_context3(decoder)));
  int error = avcodec_parameters_to_context(codec.get(), one.codecpar);
  av_opt_set(codec.get(), "codec_whitelist", kDecoders, 0);
  codec->pkt_timebase = one.time_base;
  codec->max_pixels = kMaxFilmPixels;
  codec->thread_count = 1;  // what is made of damaged packets depends on threads
  if (error >= 0) error = avcodec_open2(codec.get(), decoder, nullptr);
  if (error < 0)
    throw Error(Exit::data, name, ": cannot decode ", codec_name(*one.codecpar), ": ",
                words_of(error));
}

void VideoReader::Impl::look_at_sizes() {
  auto* one = format->streams[stream];
  const int64_t width = one->codecpar->width, height = one->codecpar->height;
  if (width < 1 || height < 1 || width > kMaxFilmPixels / height)
    throw Error(Exit::data, name, ": expected frames of at most ", kMaxFilmPixels,
                " pixels, found ", width, " x ", height);
  const auto aspect = pixels == Pixels::cut
                          ? AVRational{1, 1}
                          : av_guess_sample_aspect_ratio(format.get(), one, nullptr);
  const auto alpha = is_padded()             ? Alpha::padding
                     : pixels == Pixels::cut ? Alpha::kept
                                             : Alpha::over_white;
  picture = FilmPicture(name, width, height, aspect, orientation_of(*one), alpha);
}

/// In AVI the fourth byte of plain pixels, and of Huffyuv's, is not used; FFmpeg calls it alpha.
bool VideoReader::Impl::is_padded() const {
  const auto codec_id = format->streams[stream]->codecpar->codec_id;
  return av_match_list(format->iformat->name, "avi", ',') > 0 &&
         (codec_id == AV_CODEC_ID_RAWVIDEO || codec_id == AV_CODEC_ID_HUFFYUV);
}

/// Where films were put one behind the other, packets at the end of each are whole and said to be
/// damaged: soon the next one begins, at another time.
bool VideoReader::Impl::begins_film(const AVPacket& next) const {
  const auto& torn = *held.front();
  if (next.dts == AV_NOPTS_VALUE || torn.dts == AV_NOPTS_VALUE) return false;
  const double apart =
      static_cast<double>(next.dts - torn.dts) * av_q2d(format->streams[stream]->time_base);
  return (next.flags & AV_PKT_FLAG_KEY) != 0 && (apart < 0 || apart > kSeam);
}

/// What is held goes on; those that are damaged, if they are, do not.
void VideoReader::Impl::release(bool sound) {
  for (auto& one : held)
    if (sound || (one->flags & AV_PKT_FLAG_CORRUPT) == 0)
      ready.push_back(std::move(one));
    else
      ++damaged;
  held.clear();
}

void VideoReader::Impl::take_packet() {
  const bool torn = (packet->flags & AV_PKT_FLAG_CORRUPT) != 0;
  Packet one(allocated(av_packet_alloc()));
  av_packet_move_ref(one.get(), packet.get());
  if (held.empty() && !torn) return ready.push_back(std::move(one));
  held.push_back(std::move(one));
  const bool seam = begins_film(*held.back());
  if (seam || held.size() > kHeld) release(seam);
}

/// Gives the decoder one more packet, or tells it that there are none.
void VideoReader::Impl::feed() {
  for (;;) {
    while (!ready.empty()) {
      const bool sent = avcodec_send_packet(codec.get(), ready.front().get()) >= 0;
      ready.pop_front();
      if (sent) return;
      ++damaged;
    }
    const int error = av_read_frame(format.get(), packet.get());
    if (error >= 0) {
      read_errors = 0;
      const bool ours = packet->stream_index == stream;
      if (ours && is_encrypted(*packet)) refuse_encrypted();
      if (ours) take_packet();
      av_packet_unref(packet.get());
    } else if (error != AVERROR_EOF && ++read_errors <= kMaxReadErrors) {
      ++damaged;
    } else if (!held.empty()) {
      release(/*sound=*/false);
    } else {
      drained = true;
      avcodec_send_packet(codec.get(), nullptr);
      return;
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
  const double after = time + 1 / (rate > 0 ? rate : kUsualRate);
  if (stamp == AV_NOPTS_VALUE) {
    time = std::isnan(first) ? 0 : after;
    if (std::isnan(first)) first = 0;
    return;
  }
  const double now = static_cast<double>(stamp) * av_q2d(format->streams[stream]->time_base);
  if (std::isnan(first)) first = now;
  time = now - first;
}

VideoReader::VideoReader(const std::filesystem::path& file, bool (*stop)(), Pixels pixels)
    : impl_(std::make_unique<Impl>()) {
  impl_->pixels = pixels;
  impl_->open(file, stop);
  impl_->find_stream();
  impl_->packet.reset(allocated(av_packet_alloc()));
  impl_->frame.reset(allocated(av_frame_alloc()));
  impl_->before.reset(allocated(av_frame_alloc()));
}

VideoReader::~VideoReader() = default;

std::optional<Image> VideoReader::next() {
  if (!advance()) return {};
  return impl_->picture.image(*impl_->frame);
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
  return impl_->picture.image(frame);
}

std::vector<uint8_t> VideoReader::luma(int64_t side) {
  return impl_->picture.luma(*impl_->frame, side);
}

double VideoReader::time() const {
  return impl_->time;
}

double VideoReader::duration() const {
  return duration_of(*impl_->frame, impl_->format->streams[impl_->stream]->time_base);
}

double VideoReader::rate() const {
  return impl_->rate;
}

int64_t VideoReader::width() const {
  return impl_->picture.width();
}

int64_t VideoReader::height() const {
  return impl_->picture.height();
}

int64_t VideoReader::damaged() const {
  return impl_->damaged;
}

std::string VideoReader::high_dynamic_range() const {
  return media::high_dynamic_range(*impl_->frame);
}

}  // namespace lact::media
