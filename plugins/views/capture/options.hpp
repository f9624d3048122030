#pragma once
// Options of every verb that reads photographs.

#include <plugins/views/scene.hpp>

#include <string>

namespace CLI {
class App;
}

namespace lact::views {

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
