#pragma once
// Decoded frames as they are shown, for video_reader.cpp alone.

#include "ffmpeg.hpp"
#include "image.hpp"
#include "orient.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace lact::media {

/// What becomes of a fourth channel. `padding`: it is none, whatever the format is called.
enum class Alpha { over_white, kept, padding };

/// Frames of one film in RGB: pixels made square, of an interlaced frame the first rows' field,
/// what is transparent over white unless told otherwise, turned as the film says.
class FilmPicture {
 public:
  FilmPicture() = default;
  /// Frames are stored `width` x `height`; `aspect` is a pixel's width by its height (0/1: square).
  FilmPicture(std::string name, int64_t width, int64_t height, AVRational aspect,
              Orientation orientation, Alpha alpha);

  int64_t width() const;  ///< as shown
  int64_t height() const;
  /// Errors   65 naming the film, if FFmpeg cannot convert such frames
  Image image(const AVFrame& frame);
  /// Brightness, side x side values over all of the frame as it is stored.
  std::vector<uint8_t> luma(const AVFrame& frame, int64_t side);

 private:
  void clear_padding(Image& rgba, const AVFrame& frame);

  std::string name_;
  int64_t width_ = 0, height_ = 0;  // before turning
  Orientation orientation_ = Orientation::upright;
  Alpha alpha_ = Alpha::over_white;
  bool seen_ = false;  // a pixel that is not transparent
  Scaler scaler_, shrinker_;
};

/// What HDR film a frame is of, "PQ" or "HLG"; empty: none.
std::string high_dynamic_range(const AVFrame& frame);

}  // namespace lact::media
