// lact-tokenize views pack: photographs and cameras to packed scenes.

#include "capture.hpp"
#include "preparation.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/common/packed/shards.hpp>
#include <plugins/views/commands.hpp>
#include <plugins/views/scene/packed_writer.hpp>

#include <lact/cli/bench.hpp>
#include <lact/log.hpp>

#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <optional>
#include <set>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

struct Planned {
  Capture capture;
  size_t split = 0;
};

/// Of one split.
struct Counts {
  int64_t scenes = 0, views = 0, skipped = 0, lost_scenes = 0;
};

class Pack final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add(
            "PATH", inputs_,
            "camera files (opencv_cameras.json, transforms.json), COLMAP models, folders that hold "
            "one or many of these, or JSON arrays of such paths")
        .required();
    auto group = options.group("Scenes and output");
    group.add("-o,--output", output_, "folder for train.safetensors and validation.safetensors")
        .value("DIR")
        .required();
    group.add("--validation-scenes", globs_, "hold out scenes whose name matches for validation")
        .value("GLOB");
    group
        .add("--validation-every", validation_every_,
             "hold out every N-th scene for validation; 0: none")
        .range(0, 1 << 20)
        .value("N");
    group
        .add("--validation-views", validation_views_,
             "hold out every N-th view of each scene: the validation split has all views of a "
             "scene, of which training has the others; 0: none")
        .range(0, 1 << 20)
        .value("N");
    group.flag("--validation-split", options_.split,
               "hold out the views that the camera files hold out (test_filenames, or "
               "val_filenames; transforms_test.json): validation and training as with "
               "--validation-views");
    group
        .add("--shard-size", shard_size_,
             "bytes of images after which a new file is begun; K, M or G may follow")
        .value("BYTES");
    options_.declare(options.group("Photographs"));
    options.renamed("--holdout", "--validation-every");
  }

  void run(cli::Context& context) override {
    how_ = options_.preparation();
    if (validation_views_ == 1)
      throw Error(Exit::usage, "--validation-views 1 leaves no view for training");
    for (const auto& [option, given] : {std::pair{"--validation-views", validation_views_ > 0},
                                        std::pair{"--validation-split", options_.split}})
      if (given && (validation_every_ > 0 || !globs_.empty()))
        throw Error(Exit::usage, option, " excludes --validation-scenes and --validation-every: ",
                    "it holds out views of every scene");
    if (options_.split && validation_views_ > 0)
      throw Error(Exit::usage, "--validation-split excludes --validation-views: ",
                  "both say which views are held out");
    const auto shard_bytes = cli::parse_numbers(shard_size_, "--shard-size");
    if (shard_bytes.size() != 1 || shard_bytes[0] < 1)
      throw Error(Exit::usage, "--shard-size ", shard_size_, ": expected one number of bytes");
    cli::stop_requested();  // from here on a signal leaves no half file
    auto scenes = list();
    write(scenes, static_cast<uint64_t>(shard_bytes[0]));
    report(context);
  }

 private:
  /// What a scene, or views of it, cannot be used for; with --strict it ends the program.
  void lost(const Error& error, const std::string& scene) const {
    if (how_.strict) throw error;
    log::warning(error.what(), "; scene ", scene, " is left out");
  }

  /// All scenes that have cameras and images, in the order given.
  std::vector<Planned> list() {
    std::vector<CaptureFound> places;
    for (const auto& input : inputs_)
      for (auto& place : find_captures(input)) places.push_back(std::move(place));
    if (!how_.video.empty() && places.size() != 1)
      throw Error(Exit::usage, "--video is for one scene, given are ", places.size());
    std::vector<Planned> scenes;
    std::set<std::string> names;
    bool matched = globs_.empty();
    for (size_t i = 0; i < places.size(); ++i) {
      if (cli::stop_requested()) throw cli::Interrupted();
      const bool held =
          validation_every_ > 0 && (static_cast<int64_t>(i) + 1) % validation_every_ == 0;
      Planned scene;
      try {
        Skipped skipped;
        Faults faults(how_.strict, skipped);
        scene.capture = list_capture(places[i].where, how_, faults);
        if (!places[i].name.empty()) scene.capture.name = places[i].name;
        for (const auto& note : scene.capture.notes) log::warning(note);
        const bool match = matches(scene.capture.name);
        matched |= match;
        scene.split = held || match ? 1 : 0;
        take(skipped, scene.split);
      } catch (const Error& error) {
        ++counts_[held ? 1 : 0].lost_scenes;
        lost(error, places[i].where.string());
        continue;
      }
      auto& name = scene.capture.name;
      const auto plain = name;
      for (int copy = 2; !names.insert(name).second; ++copy) name = concat(plain, "-", copy);
      scenes.push_back(std::move(scene));
    }
    if (!matched) throw Error(Exit::usage, "--validation-scenes: no scene is called ", globs_[0]);
    if (std::none_of(scenes.begin(), scenes.end(), [](const auto& one) { return one.split == 0; }))
      throw Error(Exit::data, scenes.empty() ? "no scene can be used"
                                             : "all scenes are for validation, none is left for "
                                               "training");
    return scenes;
  }

  bool matches(const std::string& name) const {
    return std::any_of(globs_.begin(), globs_.end(), [&](const auto& glob) {
      return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
    });
  }

  void take(const Skipped& skipped, size_t split) {
    for (const auto& line : skipped.lines) log::warning(line);
    counts_[split].skipped += static_cast<int64_t>(skipped.lines.size());
  }

  void write(const std::vector<Planned>& scenes, uint64_t shard_bytes) {
    std::optional<SceneWriter> writers[2];
    int64_t total = 0, done = 0;
    for (const size_t split : {0, 1}) {
      std::vector<int64_t> views;
      for (const auto& scene : scenes)
        if (scene.split == split || by_views())
          views.push_back(static_cast<int64_t>(scene.capture.shots.size()));
      if (split == 0 || !by_views())
        for (const int64_t count : views) total += count;
      if (!views.empty())
        writers[split].emplace(output_, packed::kSplits[split], how_.width, how_.height, views,
                               shard_bytes);
    }
    cli::Progress progress("packing", static_cast<double>(total), "views");
    for (const auto& scene : scenes) {
      pack(scene, writers, [&] { progress.set(static_cast<double>(++done)); });
    }
    for (const size_t split : {0, 1}) {
      if (!writers[split]) continue;
      counts_[split].scenes = writers[split]->scenes();
      counts_[split].views = writers[split]->views();
    }
    if (counts_[0].scenes == 0) throw Error(Exit::data, "no scene for training can be used");
    auto& validation = writers[1];
    packed::commit(output_, *writers[0],
                   validation && validation->scenes() > 0 ? &*validation : nullptr);
  }

  /// Are views held out of every scene, and no scenes?
  bool by_views() const { return validation_views_ > 0 || how_.split; }

  /// A scene goes to the writer of its split; where views are held out to both.
  template <class Step>
  void pack(const Planned& scene, std::optional<SceneWriter> (&writers)[2], const Step& step) {
    auto& writer = *writers[scene.split];
    SceneWriter* const whole = by_views() ? &*writers[1] : nullptr;
    Skipped skipped;
    Faults faults(how_.strict, skipped);
    const auto before = writer.views();
    writer.begin_scene(scene.capture.name, scene.capture.world);
    if (whole != nullptr) whole->begin_scene(scene.capture.name, scene.capture.world);
    int64_t view = 0;  // of those that could be read, so that --target-every N finds the same
    try {
      load(scene.capture, how_, faults,
           [&](const Shot& shot, const Camera& camera, media::Image&& image) {
             const bool held = validation_views_ > 0 ? view++ % validation_views_ == 0 : shot.held;
             if (!held) writer.add(shot.file, camera, image);
             if (whole != nullptr) whole->add(shot.file, camera, image, held);
             step();
           });
    } catch (const Error& error) {
      // Its masks or its film cannot be opened. Whatever else fails is not the scene's fault.
      const bool its_own = error.code() == Exit::data || error.code() == Exit::no_input;
      if (writer.views() != before || !its_own) throw;
      ++counts_[scene.split].lost_scenes;
      return lost(error, scene.capture.name);
    }
    take(skipped, scene.split);
    if (writer.views() != before) return;
    ++counts_[scene.split].lost_scenes;
    log::warning(scene.capture.file.string(), ": no view of it can be used; scene ",
                 scene.capture.name, " is left out");
  }

  void report(const cli::Context& context) const {
    auto json = nlohmann::ordered_json::object();
    for (const size_t split : {0, 1}) {
      const auto& counts = counts_[split];
      if (counts.scenes + counts.lost_scenes == 0) continue;
      json[packed::kSplits[split]] = {
          {"scenes", counts.scenes},   {"views", counts.views},
          {"width", how_.width},       {"height", how_.height},
          {"skipped", counts.skipped}, {"lost_scenes", counts.lost_scenes}};
      log::info(packed::kSplits[split], ": ", counts.scenes,
                counts.scenes == 1 ? " scene, " : " scenes, ", counts.views,
                counts.views == 1 ? " view of " : " views of ", how_.width, " x ", how_.height,
                ", ", counts.skipped, " skipped",
                counts.lost_scenes > 0
                    ? concat(", ", counts.lost_scenes,
                             counts.lost_scenes == 1 ? " scene" : " scenes", " left out")
                    : "");
    }
    if (context.json) cli::out(json.dump(2) + "\n");
  }

  std::vector<std::string> inputs_, globs_;
  std::string output_, shard_size_ = "4G";
  int64_t validation_every_ = 0, validation_views_ = 0;
  PreparationOptions options_;

  Preparation how_;
  Counts counts_[2];
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_pack() {
  return std::make_unique<Pack>();
}

}  // namespace lact::views
