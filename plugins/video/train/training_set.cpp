#include "training_set.hpp"

#include <plugins/video/model/model_options.hpp>
#include <plugins/video/packed/random_purposes.hpp>

#include <lact/error.hpp>

#include <algorithm>
#include <filesystem>
#include <set>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using train::Split;

/// Pixels and frames that principal components are fitted to.
constexpr int64_t kFitPixels = int64_t{1} << 26, kFitFrames = 4096, kLeastFitFrames = 64;

}  // namespace

TrainingSet::TrainingSet(const std::string& folder, Config& config, bool own_codec)
    : folder_(folder) {
  clips_.emplace(Split::train, PackedClips::open(folder, "train"));
  if (fs::exists(fs::path(folder) / "validation.safetensors") ||
      fs::exists(fs::path(folder) / "validation.safetensors.index.json"))
    clips_.emplace(Split::validation, PackedClips::open(folder, "validation"));
  const auto& own = clips_.at(Split::train);
  for (const auto& [split, other] : clips_)
    if (other.width() != own.width() || other.height() != own.height() ||
        other.codec() != own.codec() || other.factor() != own.factor())
      throw Error(Exit::data, folder, ": train and validation differ in size or codec");
  resolve_codec(config, own_codec);
  config.width = own.width();
  config.height = own.height();
  config.rate = own.rate();
  if (config.condition == "class") resolve_classes(config);
}

const PackedClips& TrainingSet::clips(Split split) const {
  const auto found = clips_.find(split);
  if (found != clips_.end()) return found->second;
  if (split == Split::validation)
    throw Error(Exit::no_input, folder_, ": no validation.safetensors");
  throw Error(Exit::usage, "--data is missing: a folder that lact-tokenize video has written");
}

bool TrainingSet::latents() const {
  return has(Split::train) && !clips(Split::train).codec().empty();
}

void TrainingSet::resolve_codec(Config& config, bool own) const {
  if (!latents()) return;
  const auto& clips = clips_.at(Split::train);
  const CodecOptions packed{clips.codec(), clips.factor()};
  const int64_t channels = clips.read(0, 0, 1).size(1);
  if (!own) config.codec = packed;
  if (packed != config.codec || channels != config.in_dim)
    throw Error(Exit::config, folder_, ": holds latents of codec ", packed.type, ", factor ",
                packed.factor, ", ", channels, " channels; the model wants ", config.codec.type,
                ", factor ", config.codec.factor, ", ", config.in_dim, " channels: give --codec");
}

void TrainingSet::resolve_classes(Config& config) const {
  std::set<std::string> found;
  for (const auto& [split, clips] : clips_)
    for (const auto& label : clips.labels()) found.insert(label);
  if (found.empty())
    throw Error(Exit::data, folder_,
                ": no clip has a label: pack with labels, or --condition none");
  auto& classes = config.classes;
  if (classes.empty()) classes.assign(found.begin(), found.end());
  for (const auto& label : found)
    if (std::find(classes.begin(), classes.end(), label) == classes.end())
      throw Error(Exit::data, folder_, ": label '", label, "': not a class of the model");
}

int64_t TrainingSet::frames(const Config& config, int64_t chunks) const {
  const int64_t count = chunks * config.chunk_frames;
  return latents() ? count : config.codec.frames(count);
}

int64_t TrainingSet::most_chunks(const Config& config, int64_t most) const {
  for (const auto& [split, clips] : clips_)
    for (int64_t i = 0; i < clips.size(); ++i)
      while (most > 1 && clips.frames(i) < frames(config, most)) --most;
  return most;
}

WindowShape TrainingSet::windows(const Config& config, std::optional<int64_t> chunks, int64_t most,
                                 int64_t repeats) const {
  const int64_t f = config.codec.factor;
  const int64_t x = f * config.patch_size[2], y = f * config.patch_size[1];
  if (config.width % x != 0 || config.height % y != 0)
    throw Error(Exit::config, folder_.empty() ? "the model" : folder_, ": frames of ", config.width,
                " x ", config.height, ": expected multiples of ", x, " and ", y,
                ", codec times patch");
  WindowShape shape;
  shape.chunks = chunks.value_or(most_chunks(config, most));
  shape.frames = frames(config, shape.chunks);
  shape.from_start = latents() && config.codec.type == "wan";  // the first one is special
  shape.repeats = repeats;
  shape.chunk_frames = config.chunk_frames;
  shape.channels = config.in_dim;
  shape.height = config.height / f;
  shape.width = config.width / f;
  for (const auto& [split, clips] : clips_) check(clips, shape, folder_);
  return shape;
}

std::unique_ptr<Codec> TrainingSet::fitted_codec(const Config& config, uint64_t seed) const {
  const auto& own = clips(Split::train);
  const int64_t count =
      std::clamp(kFitPixels / (own.width() * own.height()), kLeastFitFrames, kFitFrames);
  PcaFit fit(config.codec.factor, config.in_dim);
  auto random = random_stream(seed, kFittedClips, 0);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t clip = random.below(own.size());
    const auto frame = own.read(clip, random.below(own.frames(clip)), 1).unsqueeze(0);
    fit.add(to_video(frame, at::kCPU));
  }
  return fit.finish();
}

}  // namespace lact::video
