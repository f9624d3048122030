#pragma once
// Films through FFmpeg: frames out of a file, frames into one. Local files only, whatever a
// playlist or header says.

#include "image.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lact::media {

/// Two times that differ by less are the same: clocks of milliseconds round.
inline constexpr double kClock = 1e-3;

/// What a frame becomes. `shown`: as players have it. `cut`: as programs have it that cut films
/// into images, ffmpeg for one: turned, too, but with the pixels that are stored, whatever form
/// they are said to have, and with alpha where the film has it.
enum class Pixels { shown, cut };

/// Decodes the best video stream of a file, in RGB, as it is shown: turned as the file's rotation
/// says, with square pixels, what is transparent over white, of interlaced frames the first field.
/// Matrix and range are the file's; if it names no matrix, BT.709 above 1279 x 576 pixels, else
/// BT.601.
/// Errors   66 if it cannot be opened; 65 if it is damaged, encrypted, of a format or codec that is
///          not read, without video, or has frames of more than 2^25 pixels; both name it. Packets
///          and frames that are damaged are passed over; damaged() counts them. A WebM file that is
///          cut off between two packets is a shorter film. 74 if what comes through a pipe cannot
///          be kept.
class VideoReader {
 public:
  /// "-": stdin. It and a file may be a pipe; MP4 is then read to its end first. Where `stop` says
  /// true while a pipe is waited for, the film ends.
  explicit VideoReader(const std::filesystem::path& file, bool (*stop)() = nullptr,
                       Pixels pixels = Pixels::shown);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  /// The next frame, or none at the end.
  std::optional<Image> next();
  /// next() without the image, for those who do not want all of them: the frame at hand becomes
  /// the one before. False at the end; the last frame is then the one before.
  bool advance();
  /// The frame at hand, or the one before it. Errors: 70 if there is none
  Image image(bool before = false);
  /// Brightness of the frame at hand, side x side values over all of it, as it is stored: to
  /// compare frames with each other.
  std::vector<uint8_t> luma(int64_t side);
  /// Seconds since the start at which the frame at hand is shown.
  double time() const;
  /// Seconds for which the file says that the frame at hand is shown; 0 if it says nothing.
  double duration() const;
  /// Frames per second that the file claims; 0 if it claims nothing.
  double rate() const;
  int64_t width() const;  ///< of the images
  int64_t height() const;
  int64_t damaged() const;
  /// What HDR film the frame at hand is of, "PQ" or "HLG", whose colours are given as stored and
  /// look pale; else empty.
  std::string high_dynamic_range() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Encodes frames of one size. By suffix: .mp4 (H.264), .webm (VP9); "-": raw RGB frames on stdout,
/// one after another. A file appears whole at finish(), or not at all. The same frames give the
/// same bytes, however many threads there are.
/// Errors   64 for another suffix, a terminal as stdout, or an encoder that FFmpeg was built
///          without; 65 at finish() without a frame; 73, 74
class VideoWriter {
 public:
  /// Odd sizes are padded by one row or column where the codec wants even ones.
  VideoWriter(const std::filesystem::path& file, int64_t width, int64_t height, double rate = 30);
  ~VideoWriter();
  VideoWriter(const VideoWriter&) = delete;
  VideoWriter& operator=(const VideoWriter&) = delete;

  /// Alpha is shown over white.
  void add(const Image& frame);
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lact::media
