#include "sources.hpp"

#include <plugins/views/camera/trajectory.hpp>
#include <plugins/views/train/sampling.hpp>

#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>

#include <ATen/core/Tensor.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <numeric>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

template <class T>
std::vector<T> pick(const std::vector<T>& all, const std::vector<int64_t>& which) {
  std::vector<T> some;
  for (const int64_t one : which) some.push_back(all.at(static_cast<size_t>(one)));
  return some;
}

/// `count` of the candidates.
std::vector<int64_t> chosen(const Scene& scene, const std::vector<int64_t>& candidates,
                            int64_t count, const std::string& how, uint64_t seed) {
  const auto all = static_cast<int64_t>(candidates.size());
  std::vector<int64_t> places;
  if (how == "kmeans" && count > 0 && count < all) {
    places = choose_views(pick(scene.cameras, candidates), count, seed);
  } else if (how == "random") {
    std::vector<int64_t> order(candidates.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    Random random(seed);
    for (int64_t i = 0; i < count; ++i)
      std::swap(order[static_cast<size_t>(i)],
                order[static_cast<size_t>(
                    i + static_cast<int64_t>(random.next() % static_cast<uint64_t>(all - i)))]);
    places.assign(order.begin(), order.begin() + count);
    std::sort(places.begin(), places.end());
  } else {
    for (int64_t i = 0; i < count; ++i) places.push_back(how == "even" ? i * all / count : i);
  }
  return pick(candidates, places);
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

std::vector<Camera> Views::input_cameras() const {
  return pick(scene.cameras, inputs);
}
std::vector<Camera> Views::target_cameras() const {
  return pick(scene.cameras, targets);
}
void choose(Views& views, const Choice& choice, uint64_t seed) {
  const auto all = static_cast<int64_t>(views.scene.images.size());
  std::vector<int64_t> candidates;
  views.targets.clear();
  for (int64_t i = 0; i < all; ++i)
    (choice.holdout > 0 && i % choice.holdout == 0 ? views.targets : candidates).push_back(i);
  const auto count = choice.inputs.value_or(static_cast<int64_t>(candidates.size()));
  if (count < 0 || count > static_cast<int64_t>(candidates.size()))
    throw Error(Exit::usage, "--input-views ", count, ": scene ", views.scene.name, " has ",
                candidates.size(), " views to read",
                choice.holdout > 0 ? " beside those held out" : "");
  views.inputs = chosen(views.scene, candidates, count, choice.how, seed);
  if (choice.holdout > 0) return;
  std::set_difference(candidates.begin(), candidates.end(), views.inputs.begin(),
                      views.inputs.end(), std::back_inserter(views.targets));
}

Views packed_views(const PackedScenes& data, int64_t scene) {
  Views views;
  views.scene.name = data.name(scene);
  views.scene.files = data.files(scene);
  views.scene.cameras = data.cameras(scene);
  views.scene.nerfstudio = data.nerfstudio(scene);
  const auto images = data.images(scene);
  for (int64_t i = 0; i < images.size(0); ++i) {
    media::Image image(data.width(), data.height());
    std::memcpy(image.pixels.data(), images[i].const_data_ptr<uint8_t>(), image.pixels.size());
    views.scene.images.push_back(std::move(image));
  }
  return views;
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
