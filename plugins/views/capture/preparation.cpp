#include "preparation.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace lact::views {

void PreparationOptions::declare(CLI::App& app, const char* group) {
  app.add_option(
         "--size", size,
         "pixels of the prepared images, N for squares: scaled until they cover it, and cut")
      ->type_name("WxH")
      ->capture_default_str()
      ->group(group);
  app.add_option("--background", background,
                 "colour behind what is transparent: white, black or #rrggbb")
      ->type_name("COLOUR")
      ->capture_default_str()
      ->group(group);
  app.add_option("--images", images, "folder of the photographs, if it is not where cameras say")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--masks", masks,
                 "folder of masks named as the images, black where the background shall be; looked "
                 "for in each scene's folder first")
      ->type_name("DIR")
      ->group(group);
  app.add_option("--video", video,
                 "a film whose frames the views are, by the numbers that their names end in")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--every", every, "take each N-th of the views listed")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->group(group);
  app.add_option("--max-views", max_views, "at most N views of a scene, evenly spread; 0: all")
      ->type_name("N")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->group(group);
  app.add_flag("--strict", strict,
               "end at the first view that cannot be used; without it they are skipped and counted")
      ->group(group);
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
  return how;
}

}  // namespace lact::views
