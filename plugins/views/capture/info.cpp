// lact-tokenize views info: what packed scenes, or photographs with their cameras, hold.

#include "capture.hpp"
#include "rig.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/views/commands.hpp>
#include <plugins/views/scene/packed_scenes.hpp>

#include <lact/cli/bench.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// One scene, packed or not.
struct SceneSummary {
  std::string name, source;
  int64_t width = 0, height = 0;
  std::vector<Camera> cameras;
  std::vector<std::string> files;
  int64_t skipped = 0;
};

std::string rounded(double value) {
  return cli::number_text(value, "%.3g");
}

/// "50" or "40-50".
std::string range(double low, double high) {
  const auto a = rounded(low), b = rounded(high);
  return a == b ? a : a + "-" + b;
}

class Info final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add("PATH", inputs_,
             "packed scenes (a folder of lact-tokenize views pack, or one of its files), or "
             "anything that it packs")
        .required();
    options.add("--scene", glob_, "show only scenes whose name matches").value("GLOB");
    options
        .add("--images", how_images_,
             "folder of the photographs, if not where the camera file says")
        .value("DIR");
    options.add("--plot", plot_, "draw the cameras of the first scene, as SVG").value("FILE");
    options.flag("--no-check", no_check_, "do not compare packed images with their checksums");
  }

  void run(cli::Context& context) override {
    if (const auto suffix = fs::path(plot_).extension(); !suffix.empty() && suffix != ".svg")
      throw Error(Exit::usage, "--plot ", plot_, ": draws an SVG: expected a name in .svg");
    std::vector<SceneSummary> scenes;
    for (const auto& input : inputs_)
      look(input, [&](SceneSummary&& scene) {
        if (cli::stop_requested()) throw cli::Interrupted();
        if (glob_.empty() || ::fnmatch(glob_.c_str(), scene.name.c_str(), 0) == 0)
          scenes.push_back(std::move(scene));
      });
    if (scenes.empty()) throw Error(Exit::usage, "--scene: no scene is called ", glob_);
    const auto& first = scenes[0];
    if (!plot_.empty())
      io::write_text(plot_, rig_svg(concat(first.name, ": ", first.cameras.size(), " views"),
                                    first.cameras, first.width, first.height));
    print(scenes, context.json);
  }

 private:
  using Take = std::function<void(SceneSummary&&)>;

  void look(const fs::path& input, const Take& take) const {
    if (!packed::is_packed(input)) {
      for (const auto& place : find_captures(input)) take(capture(place));
      return;
    }
    std::error_code error;
    if (!fs::is_directory(input, error)) return packed(input, "", take);
    for (const char* split : packed::kSplits)
      for (const char* suffix : {".safetensors", ".safetensors.index.json"})
        if (const auto file = input / concat(split, suffix); fs::exists(file, error)) {
          packed(file, split, take);
          break;
        }
  }

  void packed(const fs::path& file, const std::string& split, const Take& take) const {
    const auto all = PackedScenes::open(file);
    if (!no_check_) all.verify();
    for (int64_t i = 0; i < all.size(); ++i)
      take({all.name(i), split.empty() ? file.filename().string() : split, all.width(),
            all.height(), all.cameras(i), all.files(i), 0});
  }

  /// Images are not opened, unless the cameras do not say how large they are.
  SceneSummary capture(const CaptureFound& place) const {
    Preparation how;
    how.images = how_images_;
    Skipped skipped;
    Faults faults(/*strict=*/false, skipped);
    auto capture = list_capture(place.where, how, faults);
    if (!place.name.empty()) capture.name = place.name;
    for (const auto& lines : {capture.notes, skipped.lines})
      for (const auto& line : lines) log::warning(line);
    SceneSummary seen{io::printable(capture.name),
                      capture.file.string(),
                      0,
                      0,
                      {},
                      {},
                      static_cast<int64_t>(skipped.lines.size())};
    for (const auto& shot : capture.shots) {
      auto width = static_cast<int64_t>(std::lround(shot.lens.width));
      auto height = static_cast<int64_t>(std::lround(shot.lens.height));
      if (width <= 0 || height <= 0) {
        const auto image = media::read_stored_image(shot.image);
        width = image.width;
        height = image.height;
      }
      auto camera = pinhole(shot.lens, width, height);
      camera.c2w = shot.c2w;
      seen.width = width;
      seen.height = height;
      seen.cameras.push_back(camera);
      seen.files.push_back(io::printable(shot.file));
    }
    return seen;
  }

  static void print(const std::vector<SceneSummary>& scenes, bool json) {
    size_t width = 5, views = 0;
    for (const auto& scene : scenes) {
      width = std::max(width, scene.name.size());
      views += scene.cameras.size();
    }
    cli::Table table(json ? "json" : "md", {{"scene", width, false},
                                            {"read from", 19, false},
                                            {"views", 5, true},
                                            {"size", 11, true},
                                            {"field of view", 13, true},
                                            {"cameras span", 20, true},
                                            {"from the centre", 15, true}});
    for (const auto& scene : scenes) row(table, scene);
    table.finish(concat(scenes.size(), scenes.size() == 1 ? " scene, " : " scenes, ", views,
                        views == 1 ? " view" : " views"));
  }

  static void row(cli::Table& table, const SceneSummary& scene) {
    const auto rig = describe_rig(scene.cameras, scene.width);
    Json values{{"scene", scene.name},
                {"source", scene.source},
                {"views", scene.cameras.size()},
                {"skipped", scene.skipped},
                {"width", scene.width},
                {"height", scene.height},
                {"field_of_view_min", rig.fov_low},
                {"field_of_view_max", rig.fov_high},
                {"low", rig.low},
                {"high", rig.high},
                {"centre", rig.centre},
                {"distance_min", rig.nearest},
                {"distance_max", rig.furthest},
                {"files", scene.files}};
    std::string span;
    for (size_t i = 0; i < 3; ++i) {
      const double width = rig.high[i] - rig.low[i];
      // What inverting matrices leaves is no width.
      span += (i > 0 ? " x " : "") + rounded(width > 1e-9 * rig.furthest ? width : 0);
    }
    table.row(values,
              {scene.name, fs::path(scene.source).filename().string(),
               std::to_string(scene.cameras.size()), concat(scene.width, " x ", scene.height),
               range(rig.fov_low, rig.fov_high), span, range(rig.nearest, rig.furthest)});
  }

  std::vector<std::string> inputs_;
  std::string glob_, how_images_, plot_;
  bool no_check_ = false;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_info() {
  return std::make_unique<Info>();
}

}  // namespace lact::views
