#pragma once
// How photographs become views of one size: options of every verb that reads them.

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/size.hpp>

#include <lact/cli/options.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lact::views {

using media::parse_size;

/// How originals become images of one size.
struct Preparation {
  int64_t width = 256, height = 256;
  media::Colour background{255, 255, 255};
  /// Folder of masks named as the images, whatever the suffix; their brightness is alpha. It is
  /// looked for in the scene's folder first, then from here. Empty: none.
  std::filesystem::path masks;
  /// Folder of the photographs, looked for likewise. Empty: where the cameras say; of COLMAP the
  /// folder "images" beside the model.
  std::filesystem::path images;
  /// A film whose frames are the views: a name that ends in N means its N-th frame, counted from 1,
  /// or from 0 if one of them ends in 0. Empty: none.
  std::filesystem::path video;
  int64_t every = 1;      ///< every N-th of the views listed
  int64_t max_views = 0;  ///< at most N of the sound ones, evenly spread; 0: all
  bool strict = false;    ///< the first fault is an error, not a skipped view
  /// Keep to the split of the camera file: marks the views that it holds out, leaves out those that
  /// are in neither part, and refuses a file without one.
  bool split = false;
  std::string images_option = "--images";  ///< the option that names `images`
};

/// What was passed over, one line each, named.
struct Skipped {
  std::vector<std::string> lines;
};

/// --size, --background, --images, --masks, --video, --every, --max-views, --strict.
struct PreparationOptions {
  std::string images_option = "--images";  ///< where that is another thing: another name
  std::string size = "256", background = "white", images, masks, video;
  int64_t every = 1, max_views = 0;
  bool strict = false, split = false;

  void declare(cli::Options options, const std::string& size_help =
                                         "size of the images in pixels; photographs are scaled to "
                                         "cover it and cropped");
  /// Errors   64 naming the option
  Preparation preparation() const;
};

}  // namespace lact::views
