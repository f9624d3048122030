#pragma once
// Options of every verb that reads photographs.

#include <plugins/views/scene.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace CLI {
class App;
}

namespace lact::views {

/// "256" or "320x240": width and height. Errors: 64 naming `option`
std::pair<int64_t, int64_t> parse_size(const std::string& text, const std::string& option);

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
