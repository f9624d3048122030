#pragma once
// Images between tensors, files and streams.

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::views {

/// Images of one size as uint8 [N, 3, h, w].
at::Tensor stacked(const std::vector<media::Image>& images);
/// [3, h, w] in [0, 1], or uint8, to an image; cut off to 8 bits, not rounded, as the published
/// renderer does (spec 8).
media::Image image_of(const at::Tensor& tensor);

/// Where rendered frames go as they come.
class FrameSink {
 public:
  /// A folder: 000.png, 001.png, ...; a film by its suffix, .mp4 or .webm; one image, .png, .jpg or
  /// .webp: the only frame, or a sheet of all; "-": raw RGB on stdout.
  /// Errors   64 for another suffix, 73
  FrameSink(const std::string& output, double rate);
  ~FrameSink();
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;

  void add(const media::Image& frame);
  void finish();

 private:
  enum class Kind { folder, film, image };
  Kind kind_;
  std::string output_;
  double rate_;
  int64_t count_ = 0;
  std::unique_ptr<media::VideoWriter> film_;
  std::vector<media::Image> sheet_;
};

/// Frames in rows of at most `columns`.
media::Image gallery(const std::vector<media::Image>& frames, int64_t columns);

}  // namespace lact::views
