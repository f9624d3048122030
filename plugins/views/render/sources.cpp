#include "sources.hpp"

#include <plugins/views/capture/capture.hpp>

#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>

#include <CLI/CLI.hpp>

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

void ModelSource::declare(CLI::App& app) {
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group("Model");
  };
  add("--model", place_, "model directory, run directory, or a .safetensors or .pt file")
      ->type_name("DIR|FILE");
  add("--normalize-poses", normalize_,
      "cameras are brought into a frame and scale of their own: over inputs and targets (all), "
      "over "
      "inputs, or not; default: as the model says. Published scene models: all")
      ->check(CLI::IsMember({"none", "all", "inputs"}));
  add("--muon-dtype", muon_dtype_,
      "of Newton-Schulz; default: as the model says, of a bare file bfloat16, as published")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}));
}

ViewModel ModelSource::load(const cli::Context& context) {
  if (place_.empty()) throw Error(Exit::usage, "--model is missing");
  const auto checkpoint = io::Checkpoint::open(place_);
  auto model = ViewModel::load(checkpoint, context.device,
                               ops::resolve_dtype(context.dtype, context.device));
  if (!normalize_.empty()) model.set_normalize_poses(normalize_);
  if (!muon_dtype_.empty()) model.set_muon_dtype(muon_dtype_);
  hash_ = checkpoint.hash();
  return model;
}

Normalization normalization_for(const ViewModel& model, const Views& views) {
  auto sample = views.input_cameras();
  const auto targets = views.target_cameras();
  sample.insert(sample.end(), targets.begin(), targets.end());
  return normalization_of(views.input_cameras(), sample, model.config().normalize_poses);
}

void SourceOptions::declare(CLI::App& app) {
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group("Input");
  };
  add("--images", images_,
      "posed photographs: a folder with opencv_cameras.json, transforms.json or a COLMAP model, or "
      "one of these files")
      ->type_name("DIR|FILE");
  add("--data", data_, "packed data of lact-tokenize views pack")->type_name("DIR|FILE");
  add("--split", split_, "of a folder of packed data")->capture_default_str();
  add("--scene", scene_, "of packed data: its name, or its number")->capture_default_str();
  add("--size", photographs_.size, "photographs are scaled and cut to it")
      ->type_name("WxH|N")
      ->capture_default_str();
  add("--background", photographs_.background, "behind transparent pixels: white, black, #rrggbb")
      ->capture_default_str();
  add("--masks", photographs_.masks, "folder of masks, named as the photographs")->type_name("DIR");
  app.add_flag("--strict", photographs_.strict, "a photograph that cannot be used is an error")
      ->group("Input");
  add("--input-views", choice_.inputs,
      "how many views are read; default: all that are not held out; 0: none, beside a --state")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  add("--holdout", choice_.holdout,
      "every so-manieth view, from the first on, is not read but a target; 0: those that are not "
      "read are")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  add("--choose", choice_.how, "which views are read: those nearest to K-means of the poses, ...")
      ->check(CLI::IsMember({"kmeans", "even", "first", "random"}))
      ->capture_default_str();
}

Views SourceOptions::read(uint64_t seed) const {
  if (!images_.empty() && !data_.empty())
    throw Error(Exit::usage, "--images and --data: only one of them can be read");
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
    views.scene = read_scene(images_, photographs_.preparation(), skipped);
    for (const auto& line : skipped.lines) log::warning(line);
  }
  choose(views, choice_, seed);
  return views;
}

}  // namespace lact::views
