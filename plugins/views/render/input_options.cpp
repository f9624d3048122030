#include "input_options.hpp"

#include <plugins/views/capture/capture.hpp>

#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>

#include <charconv>
#include <filesystem>
#include <string_view>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

std::pair<std::string, std::optional<int64_t>> split_path(const std::string& path) {
  const auto colon = path.find(':');
  const auto name = path.substr(0, colon);
  for (const char* known : {"turntable", "interpolate", "spiral", "dataset"}) {
    if (name != known) continue;
    if (colon == std::string::npos) return {name, {}};
    const auto count = number(std::string_view(path).substr(colon + 1));
    if (!count || *count < 0 || *count > 1000000 || name == "dataset")
      throw Error(Exit::usage, "--path ", path, ": expected a number of views after the colon");
    return {name, count};
  }
  if (path.find('.') == std::string::npos && !fs::exists(path))
    throw Error(Exit::usage, "--path ", path,
                ": expected turntable, interpolate, spiral, dataset, or a camera_path.json");
  return {path, {}};
}

void ModelInput::declare(cli::Options options) {
  options.add("--model", place_, "model directory, run directory, or a .safetensors or .pt file")
      .value("DIR|FILE");
  options
      .add("--normalize-poses", normalize_,
           "put cameras into a frame and scale of their own: over context and targets (all), over "
           "the context, or not at all (default: as the model says; published scene models: all)")
      .words({"none", "all", "context"})
      .renamed("inputs", "context");
  options
      .add("--muon-dtype", muon_dtype_,
           "number type of Newton-Schulz (default: as the model says; for a bare file bfloat16, as "
           "published)")
      .words({"auto", "bfloat16", "float32"});
}

ViewModel ModelInput::load(const cli::Context& context) {
  if (place_.empty()) throw Error(Exit::usage, "--model is missing");
  const auto checkpoint = io::Checkpoint::open(place_);
  auto model = ViewModel::load(checkpoint, context.device,
                               ops::resolve_dtype(context.dtype, context.device));
  said_ = model.config();
  said_.heed_name(place_);
  if (!normalize_.empty())
    model.set_normalize_poses(normalize_);
  else if (said_.says_poses)
    model.set_normalize_poses(said_.normalize_poses);
  else
    log::warning(place_, ": does not say whether the model was trained on scenes, whose poses are ",
                 "normalised, or on objects; they are taken as they are (--normalize-poses all, ",
                 "context or none)");
  if (!muon_dtype_.empty()) model.set_muon_dtype(muon_dtype_);
  hash_ = checkpoint.hash();
  return model;
}

Normalization normalization_for(const ViewModel& model, const Views& views) {
  auto sample = views.context_cameras();
  const auto targets = views.target_cameras();
  sample.insert(sample.end(), targets.begin(), targets.end());
  return normalization_of(views.context_cameras(), sample, model.config().normalize_poses);
}

/// --images is the capture here, so that the folder of its photographs has another name.
InputOptions::InputOptions() {
  photographs_.size.clear();
  photographs_.images_option = "--photographs";
}

void InputOptions::declare(cli::Options options) {
  options
      .add("--images", images_,
           "posed photographs: a folder with opencv_cameras.json, transforms.json or a COLMAP "
           "model, or one of these files")
      .value("DIR|FILE");
  options.add("--data", data_, "packed data of lact-tokenize views pack").value("DIR|FILE");
  options.add("--split", split_, "split to read from a folder of packed data");
  options.add("--scene", scene_, "scene of the packed data, by name or number");
  photographs_.declare(options,
                       "size of the images; photographs are scaled to cover it and cropped "
                       "(default: that which the model was trained on)");
  options
      .add("--context-views", choice_.context,
           "number of views to read (default: all but the targets; 0: none, beside a --state)")
      .range(0, 1 << 20);
  options
      .add("--target-every", choice_.target_every,
           "make every N-th view, from the first on, a target that is not read; 0: all views that "
           "are not read are targets")
      .range(0, 1 << 20)
      .value("N");
  options.flag("--target-split", choice_.split,
               "make the views that the camera file holds out (test_filenames, or val_filenames; "
               "transforms_test.json) the targets, or those of packed data that were");
  options
      .add("--choose", choice_.how,
           "choice of the views to read: nearest to the K-means of the poses, evenly spread, the "
           "first, or random ones")
      .words({"kmeans", "even", "first", "random"});
}

Views InputOptions::read(uint64_t seed, std::pair<int64_t, int64_t> size) const {
  if (!images_.empty() && !data_.empty())
    throw Error(Exit::usage, "--images and --data: only one of them can be read");
  if (choice_.split && choice_.target_every > 0)
    throw Error(Exit::usage, "--target-split excludes --target-every: both name the targets");
  Views views;
  if (!data_.empty()) {
    const auto data = PackedScenes::open(data_, split_);
    int64_t found = -1;
    for (int64_t i = 0; i < data.size() && found < 0; ++i)
      if (data.name(i) == scene_) found = i;
    if (found < 0) found = number(scene_).value_or(-1);
    if (found < 0 || found >= data.size())
      throw Error(Exit::no_input, data_, ": no scene ", scene_, " among ", data.size(),
                  "; lact-tokenize views info names them");
    views = packed_views(data, found);
  } else {
    Skipped skipped;
    auto options = photographs_;
    if (options.size.empty() && size.first > 0) options.size = concat(size.first, "x", size.second);
    if (options.size.empty()) {
      options.size = "256";
      log::warning(
          "nobody says which size of images the model was trained on: reading at 256 x 256 ",
          "(--size)");
    }
    options.split = choice_.split;
    views.scene = read_scene(images_, options.preparation(), skipped);
    for (const auto& line : skipped.lines) log::warning(line);
  }
  choose(views, choice_, seed);
  return views;
}

}  // namespace lact::views
