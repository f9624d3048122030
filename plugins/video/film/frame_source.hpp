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

/// Frames one after another, each scaled until it covers the size and cut to its middle.
class FrameSource {
 public:
  /// A film as media::VideoReader, one PNG, JPEG or WebP, or a folder of these in the order of the
  /// numbers in their names. Errors: 66 if there is nothing, 65 if it is no such thing
  FrameSource(const std::filesystem::path& place, int64_t width, int64_t height);

  /// At most `count` frames more: uint8 [F, H, W, 3]; fewer, or none, at the end.
  at::Tensor next(int64_t count);
  /// Frames that were damaged and passed over.
  int64_t damaged() const { return film_ ? film_->damaged() : 0; }

 private:
  std::optional<media::Image> image();

  int64_t width_, height_;
  std::vector<std::filesystem::path> files_;
  size_t file_ = 0;
  std::unique_ptr<media::VideoReader> film_;
};

/// "a9" before "a10": runs of digits compare as numbers.
bool natural_less(const std::string& a, const std::string& b);

/// The images of uint8 [F, H, W, 3].
std::vector<media::Image> to_images(const at::Tensor& frames);

}  // namespace lact::video
