#pragma once
// Films through FFmpeg: frames out of a file, frames into one. Local files only, whatever a
// playlist or header says.

#include "image.hpp"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace lact::media {

/// Decodes the best video stream of a file, in RGB, turned as the file's rotation says. Matrix and
/// range are the file's; if it names no matrix, BT.709 above 1279 x 576 pixels, else BT.601.
/// Errors   66 if it cannot be opened; 65 if it is damaged, of a format that is not read, without
///          video, or has frames of more than 2^25 pixels; both name it. Packets and frames that
///          are damaged are passed over; damaged() counts them. A WebM file that is cut off
///          between two packets is a shorter film.
class VideoReader {
 public:
  explicit VideoReader(const std::filesystem::path& file);
  ~VideoReader();
  VideoReader(const VideoReader&) = delete;
  VideoReader& operator=(const VideoReader&) = delete;

  /// The next frame, or none at the end.
  std::optional<Image> next();
  /// Seconds since the start at which the last frame of next() is shown.
  double time() const;
  /// Frames per second that the file claims; 0 if it claims nothing.
  double rate() const;
  int64_t width() const;  ///< after rotation
  int64_t height() const;
  int64_t damaged() const;

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
