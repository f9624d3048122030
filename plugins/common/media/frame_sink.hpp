#pragma once
// Where frames go as they come: files with numbers, a film, a picture, a pipe.

#include "image.hpp"
#include "video.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::media {

/// How files of frames are numbered.
struct FrameNumbers {
  int64_t first = 0;
  int digits = 3;  ///< at least; a pattern says it itself
};

class FrameSink {
 public:
  /// A folder: 000.png, 001.png, ...; a pattern, shot-%05d.png: the same under these names (also
  /// .jpg and .webp); a film by its suffix, .mp4 or .webm; one image, .png, .jpg or .webp: the only
  /// frame, or a sheet of all; "-": raw RGB on stdout.
  /// Errors   64 for another suffix, 73
  FrameSink(const std::string& output, double rate, const FrameNumbers& numbers = {});
  ~FrameSink();
  /// Errors   64 if nothing can go there: by its name, or because stdout is a terminal; 73 if its
  ///          folder is missing (that of a film or a picture) or cannot be made or written
  static void check(const std::string& output);
  /// One picture of all frames, which are kept until the end.
  static bool is_sheet(const std::string& output) { return kind_of(output) == Kind::image; }
  FrameSink(FrameSink&&) = default;
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;

  /// A numbered file is there, whole, when this returns.
  void add(const Image& frame);
  /// A film or a sheet appears; without a frame nothing does. A warning, where a numbered file of
  /// other frames goes on behind the last one.
  void finish();

 private:
  enum class Kind { folder, pattern, film, image };
  static Kind kind_of(const std::string& output);
  std::string name_of(int64_t number) const;
  void warn_of_others() const;
  Kind kind_;
  std::string output_;
  double rate_;
  FrameNumbers numbers_;
  std::unique_ptr<VideoWriter> film_;
  std::vector<Image> sheet_;
};

/// That files can be made in a folder, which is there or, unless told otherwise, can be made.
/// Errors   73
void check_folder(std::filesystem::path folder, bool may_be_made = true);

/// "a-%03d.png" and 7 to "a-007.png"; "%%" is a percent sign. Errors: 64 unless there is exactly
/// one number in it
std::string numbered_name(const std::string& pattern, int64_t number);

/// Frames in rows of at most `columns`.
Image gallery(const std::vector<Image>& frames, int64_t columns);

}  // namespace lact::media
