#pragma once
// Options of every verb that reads photographs.

#include <plugins/common/media/size.hpp>
#include <plugins/views/scene/scene.hpp>

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace lact::views {

using media::parse_size;

/// --size, --background, --images, --masks, --video, --every, --max-views, --strict.
struct PreparationOptions {
  std::string size = "256", background = "white", images, masks, video;
  int64_t every = 1, max_views = 0;
  bool strict = false;

  void declare(CLI::App& app, const char* group = "Photographs");
  /// Errors   64 naming the option
  Preparation preparation() const;
};

}  // namespace lact::views
