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

/// The images of one size at those places, as uint8 [N, 3, h, w].
at::Tensor stacked(const std::vector<media::Image>& images, const std::vector<int64_t>& which);
/// [3, h, w] in [0, 1], or uint8, to an image; cut off to 8 bits, not rounded, as the published
/// renderer does (spec 8).
media::Image image_of(const at::Tensor& tensor);

/// Where rendered frames go as they come.
class FrameSink {
 public:
  /// A folder: 000.png, 001.png, ...; a film by its suffix, .mp4 or .webm; one image, .png, .jpg or
  /// .webp: the only frame, or a sheet of all; "-": raw RGB on stdout.
  /// Numbers have as many digits as `frames` needs, at least 3.
  /// Errors   64 for another suffix, 73
  FrameSink(const std::string& output, double rate, int64_t frames);
  ~FrameSink();
  /// Errors   64 if nothing can go there, by its name alone
  static void check(const std::string& output) { kind_of(output); }
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;

  void add(const media::Image& frame);
  void finish();

 private:
  enum class Kind { folder, film, image };
  static Kind kind_of(const std::string& output);
  Kind kind_;
  std::string output_;
  double rate_;
  int64_t count_ = 0;
  int digits_ = 3;
  std::unique_ptr<media::VideoWriter> film_;
  std::vector<media::Image> sheet_;
};

/// Frames in rows of at most `columns`.
media::Image gallery(const std::vector<media::Image>& frames, int64_t columns);

}  // namespace lact::views
