#include "preparation.hpp"

namespace lact::views {

void PreparationOptions::declare(cli::Options options, const std::string& size_help) {
  options.add("--size", size, size_help).value("WxH|N");
  options
      .add("--background", background, "colour behind transparent pixels: white, black or #rrggbb")
      .value("COLOUR");
  options.add(images_option, images, "folder of the photographs, if not where the camera file says")
      .value("DIR");
  options
      .add("--masks", masks,
           "folder of masks named like the images, black for background; looked for in each "
           "scene's folder first")
      .value("DIR");
  options
      .add("--video", video,
           "film whose frames are the views, numbered by the digits at the end of their names")
      .value("FILE");
  options.add("--every", every, "use every N-th view").range(1, 1 << 20).value("N");
  options.add("--max-views", max_views, "use at most N views per scene, evenly spread; 0: all")
      .range(0, 1 << 20)
      .value("N");
  options.flag("--strict", strict,
               "fail at the first view that cannot be used, instead of skipping it");
}

Preparation PreparationOptions::preparation() const {
  Preparation how;
  std::tie(how.width, how.height) = parse_size(size, "--size");
  how.background = media::parse_colour(background);
  how.images = images;
  how.masks = masks;
  how.video = video;
  how.every = every;
  how.max_views = max_views;
  how.strict = strict;
  how.split = split;
  how.images_option = images_option;
  return how;
}

}  // namespace lact::views
