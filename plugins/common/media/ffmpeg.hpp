#pragma once
// FFmpeg's C objects as owners, for video_reader.cpp and video_writer.cpp alone. Versions 5.1 to 7.

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/mem.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace lact::media {

/// For what FFmpeg frees through a pointer to the pointer.
template <auto kFree>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    kFree(&p);
  }
};
struct FreedIo {
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
};
struct FreedScaler {
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
using Io = std::unique_ptr<AVIOContext, FreedIo>;
using Codec = std::unique_ptr<AVCodecContext, Freed<avcodec_free_context>>;
using Filter = std::unique_ptr<AVBSFContext, Freed<av_bsf_free>>;
using Frame = std::unique_ptr<AVFrame, Freed<av_frame_free>>;
using Packet = std::unique_ptr<AVPacket, Freed<av_packet_free>>;
using Scaler = std::unique_ptr<SwsContext, FreedScaler>;

/// What FFmpeg's allocation gave; it knows no other reason for nothing.
template <class T>
T* allocated(T* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

/// Before anything else of FFmpeg: nothing of it goes to stderr, and what a file claims costs no
/// more than a large frame.
inline void tame() {
  av_log_set_level(AV_LOG_QUIET);
  av_max_alloc(size_t{255} << 20);
}

inline std::string words_of(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(error, text, sizeof text);
  return text;
}

constexpr size_t kIoBytes = size_t{1} << 16;
constexpr int64_t kMaxFilmPixels = int64_t{1} << 25;  // of a frame: 7680 x 4320 fit
// The same pixels on every machine, and colours interpolated like brightness.
constexpr int kScaling =
    SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT;

}  // namespace lact::media
