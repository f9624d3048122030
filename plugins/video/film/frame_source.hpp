#pragma once
// Frames that exist: of a film, an image, or a folder of images.

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lact::video {

/// Frames one after another, each scaled until it covers the size and cut to its middle. Those of a
/// film are the ones that it shows at the times k / rate, so that its motion keeps its speed.
class FrameSource {
 public:
  /// A film as media::VideoReader, one PNG, JPEG or WebP, or a folder of these in the order of the
  /// numbers in their names. Errors: 66 if there is nothing, 65 if it is no such thing
  FrameSource(const std::filesystem::path& place, int64_t width, int64_t height, double rate);

  /// At most `count` frames more: uint8 [F, H, W, 3]; fewer, or none, at the end.
  at::Tensor next(int64_t count);
  /// Frames that were damaged and passed over.
  int64_t damaged() const { return film_ ? film_->damaged() : 0; }
  /// As of the film's last frame: media::VideoReader::high_dynamic_range().
  const std::string& range() const { return range_; }
  /// One image alone, which comes again and again.
  bool is_still() const { return !film_ && files_.size() == 1; }
  /// Frames per second of a film, as it says; 0 if it says nothing, or there is none.
  double film_rate() const { return film_ ? film_->rate() : 0; }
  /// Frames per second that are taken.
  double rate() const { return rate_; }
  /// A film of another rate than that.
  bool is_resampled() const;

 private:
  std::optional<media::Image> image();
  std::optional<media::Image> film_frame();
  bool advance();

  int64_t width_, height_;
  double rate_;
  std::vector<std::filesystem::path> files_;
  size_t file_ = 0;
  std::unique_ptr<media::VideoReader> film_;
  int64_t number_ = 0;                 // of the next frame that is taken from the film
  bool begun_ = false, over_ = false;  // the film has no frame behind the last one
  double ahead_ = 0, last_ = 0;        // seconds: of the frame at hand, of the one before
  std::string range_;
  double own_ = 0;  // seconds that the one before is shown
};

/// "a9" before "a10": runs of digits compare as numbers.
bool natural_less(const std::string& a, const std::string& b);

/// The images of uint8 [F, H, W, 3].
std::vector<media::Image> to_images(const at::Tensor& frames);

}  // namespace lact::video
