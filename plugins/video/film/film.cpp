#include "film.hpp"

#include <plugins/video/packed/random_purposes.hpp>
#include <plugins/video/train/noise.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <nlohmann/json.hpp>

#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int64_t kLargestSide = 1 << 16, kMostChunks = int64_t{1} << 40;

/// [B, f, c, h, w] <-> [B, c, f, h, w]
Tensor turned(const Tensor& x) {
  return x.transpose(1, 2).contiguous();
}

}  // namespace

std::vector<int64_t> chunk_shape(const Config& config, const Codec& codec, int64_t width,
                                 int64_t height) {
  const int64_t factor = codec.factor();
  const auto fits = [&](int64_t side, int64_t patch) { return side % (factor * patch) == 0; };
  if (width < 1 || height < 1 || width > kLargestSide || height > kLargestSide ||
      !fits(width, config.patch_size[2]) || !fits(height, config.patch_size[1]))
    throw Error(Exit::usage, "frames of ", width, " x ", height, ": this model makes multiples of ",
                factor * config.patch_size[2], " x ", factor * config.patch_size[1],
                "; give --size");
  return {1, config.chunk_frames, config.in_dim, height / factor, width / factor};
}

Tensor chunk_noise(uint64_t seed, int64_t chunk, at::IntArrayRef shape) {
  return normal_noise(random_stream(seed, kFilmNoise, chunk), shape);
}

// --- in latents ----------------------------------------------------------------------------------

Rollout::Rollout(const VideoModel& model, const FilmOptions& options, const Tensor& prompt,
                 const Tensor& negative)
    : model_(&model), options_(options) {
  const at::NoGradGuard no_graph;
  const auto add = [&](const Tensor& text) {
    branches_.push_back({model.context(text.to(model.device())), model.start(text.size(0))});
  };
  add(prompt);
  if (options.guidance != 1) add(negative);
}

void Rollout::share(const cli::Processes& processes) {
  if (static_cast<size_t>(processes.size()) != branches_.size())
    throw Error(Exit::unavailable, "--guidance ", options_.guidance, ": a film is made by ",
                branches_.size(), branches_.size() == 1 ? " process" : " processes, or one",
                ", and here are ", processes.size());
  processes_ = &processes;
  mine_ = static_cast<size_t>(processes.rank());
}

void Rollout::append(const Tensor& chunk) {
  const at::NoGradGuard no_graph;
  const auto x = turned(chunk.to(model_->device()));
  for (size_t i = 0; i < branches_.size(); ++i) {
    if (processes_ != nullptr && i != mine_) continue;
    auto& branch = branches_[i];
    branch.memory = model_->append(branch.memory, x, branch.context);
  }
}

Tensor Rollout::predict(const Branch& branch, const Tensor& x, double t) const {
  return model_->velocity(branch.memory, x, t, branch.context);
}

std::vector<Tensor> Rollout::velocities(const Tensor& x, double t) const {
  std::vector<Tensor> all;
  if (processes_ == nullptr) {
    for (const auto& branch : branches_) all.push_back(predict(branch, x, t));
    return all;
  }
  const auto v = predict(branches_[mine_], x, t);
  for (const auto& made : processes_->gather(cli::to_bytes(v)))
    all.push_back(cli::from_bytes(made, v.scalar_type(), v.sizes()).to(v.device()));
  return all;
}

/// Those of both branches have the same names and shapes.
std::map<std::string, Tensor> Rollout::memories() const {
  const auto prefix = [](size_t branch) { return branch == 0 ? "prompt." : "negative."; };
  std::map<std::string, Tensor> all;
  if (processes_ == nullptr) {
    for (size_t i = 0; i < branches_.size(); ++i)
      all.merge(to_tensors(branches_[i].memory, prefix(i)));
    return all;
  }
  const auto here = to_tensors(branches_[mine_].memory, "");
  std::string bytes;
  for (const auto& [name, x] : here) bytes += cli::to_bytes(x);
  const auto ranks = processes_->gather(bytes);
  for (size_t i = 0; i < ranks.size(); ++i) {
    size_t at = 0;
    for (const auto& [name, x] : here) {
      all[prefix(i) + name] =
          cli::from_bytes(ranks[i].substr(at, x.nbytes()), x.scalar_type(), x.sizes());
      at += x.nbytes();
    }
  }
  return all;
}

Tensor Rollout::make(const Tensor& noise, const std::function<void()>& step) const {
  const at::NoGradGuard no_graph;
  auto x = turned(noise.to(model_->device()));
  Sampler sampler(options_.sampler, options_.steps, options_.shift);
  for (int64_t i = 0; i < sampler.steps(); ++i) {
    const auto both = velocities(x, sampler.timestep(i));
    auto v = both[0];
    if (both.size() > 1) v = both[1] + options_.guidance * (v - both[1]);
    x = sampler.step(v, x);
    if (step) step();
  }
  return turned(x);
}

Tensor Rollout::velocity(const Tensor& x, double t) const {
  const at::NoGradGuard no_graph;
  return turned(predict(branches_[0], turned(x.to(model_->device())), t));
}

Tensor rollout(const VideoModel& model, const Tensor& noise, const Tensor& prompt,
               const Tensor& negative, const FilmOptions& options) {
  Rollout film(model, options, prompt, negative);
  std::vector<Tensor> done;
  for (const auto& chunk : noise.split(model.config().chunk_frames, 1)) {
    if (!done.empty()) film.append(done.back());
    done.push_back(film.make(chunk));
  }
  return at::cat(done, 1);
}

// --- a film --------------------------------------------------------------------------------------

struct Film::Impl {
  const VideoModel& model;
  const Codec& codec;
  int64_t width, height;
  std::vector<int64_t> shape;  // of a chunk
  Tensor prompt, negative;     // as they were embedded
  Rollout past;
  DecoderMemory decoder;
  Tensor pending;  // the last chunk, until it is appended: who stops here need not
  int64_t chunks = 0;

  Impl(const VideoModel& which, const Codec& how, const FilmOptions& options,
       const Tensor& positive, const Tensor& other, int64_t wide, int64_t high)
      : model(which),
        codec(how),
        width(wide),
        height(high),
        shape(chunk_shape(which.config(), how, wide, high)),
        prompt(positive),
        negative(other),
        past(which, options, positive, other) {}

  void append_pending() {
    if (pending.defined()) past.append(std::exchange(pending, {}));
  }
  int64_t frames_at(int64_t count) const { return count > 0 ? codec.frames(count * shape[1]) : 0; }
};

Film::Film(const VideoModel& model, const Codec& codec, const FilmOptions& options,
           const Tensor& prompt, const Tensor& negative, int64_t width, int64_t height)
    : impl_(std::make_shared<Impl>(model, codec, options, prompt, negative, width, height)) {}

void Film::share(const cli::Processes& processes) {
  impl_->past.share(processes);
}

const FilmOptions& Film::options() const {
  return impl_->past.options_;
}
int64_t Film::width() const {
  return impl_->width;
}
int64_t Film::height() const {
  return impl_->height;
}
int64_t Film::chunks() const {
  return impl_->chunks;
}
int64_t Film::shown() const {
  return impl_->frames_at(impl_->chunks);
}
int64_t Film::frames_of(int64_t more) const {
  return impl_->frames_at(impl_->chunks + more) - shown();
}

void Film::change(const FilmOptions& options, const Tensor& prompt, const Tensor& negative) {
  auto& film = *impl_;
  film.append_pending();  // under the prompt that it was made with
  auto& branches = film.past.branches_;
  if (options.guidance != 1 && branches.size() < 2)
    throw Error(Exit::usage, "--guidance ", options.guidance,
                ": the film was begun with a guidance of 1, without the other branch's memory");
  if (options.guidance == 1) branches.resize(1);
  film.past.options_ = options;
  const at::NoGradGuard no_graph;
  const auto set = [&](size_t branch, Tensor& old, const Tensor& text) {
    if (!text.defined()) return;
    old = text;
    branches[branch].context = film.model.context(text.to(film.model.device()));
  };
  set(0, film.prompt, prompt);
  if (branches.size() > 1) set(1, film.negative, negative);
}

void Film::give(const Tensor& latents) {
  auto& film = *impl_;
  for (const auto& chunk : latents.split(film.shape[1], 1)) {
    if (chunk.sizes() != at::IntArrayRef(film.shape))
      throw Error(Exit::internal, "film: expected chunks of ", at::IntArrayRef(film.shape),
                  ", found ", chunk.sizes());
    film.append_pending();
    film.pending = chunk;
    ++film.chunks;
  }
}

Tensor Film::next(const std::function<void()>& step) {
  auto& film = *impl_;
  film.append_pending();
  auto chunk = film.past.make(chunk_noise(options().seed, film.chunks, film.shape), step);
  if (!chunk.isfinite().all().item<bool>())
    throw Error(Exit::data, "chunk ", film.chunks,
                ": the model's numbers are not finite; a damaged model, or --dtype float32 is "
                "needed");
  film.pending = chunk;
  ++film.chunks;
  return chunk;
}

Tensor Film::frames(const Tensor& latents) {
  const at::NoGradGuard no_graph;
  const auto video = impl_->codec.decode(latents, impl_->decoder)[0];  // [3, F, H, W]
  return video.mul(255)
      .round()
      .clamp(0, 255)
      .to(at::kByte)
      .permute({1, 2, 3, 0})
      .cpu()
      .contiguous();
}

// --- states --------------------------------------------------------------------------------------

namespace {

Tensor on_host(const Tensor& x) {
  return x.detach().to(at::kCPU).contiguous();
}

FilmOptions options_of(io::JsonObject& values) {
  FilmOptions options;
  options.sampler = values.word("sampler", {"unipc", "euler"});
  options.steps = values.whole("steps", 1, 1000);
  options.shift = values.number("shift", 1e-3, 1e3);
  options.guidance = values.number("guidance", -1e3, 1e3);
  options.seed = values.unsigned_whole("seed");
  return options;
}

Tensor text_of(const io::State& state, const std::string& name, const Config& config) {
  const auto x = state.tensor(name, {1, -1, config.text_dim}, {});
  if (x.size(1) < 1 || x.size(1) > config.text_len)
    throw Error(Exit::data, state.name, ": tensor ", name, ": expected 1 to ", config.text_len,
                " rows, found ", x.size(1));
  return x;
}

/// What the decoder remembers of `latents` finished ones: all of it, or a film would begin anew.
DecoderMemory decoder_of(const io::State& state, const Codec& codec, int64_t latents, int64_t h,
                         int64_t w, at::Device device) {
  const std::string prefix = "decoder.";
  const auto expected = codec.remembered(latents, h, w);
  for (const auto& [name, x] : state.tensors)
    if (name.starts_with(prefix) && expected.count(name.substr(prefix.size())) == 0)
      throw Error(Exit::data, state.name, ": tensor ", name, ": the model's decoder has none");
  DecoderMemory memory;
  for (const auto& [key, shape] : expected)
    memory[key] = state.tensor(prefix + key, shape, {}).to(device);
  return memory;
}

/// What of a configuration changes a film that goes on; tensors have a hash of their own.
std::string config_hash(const Config& config) {
  auto values = config.to_json();
  for (const char* key : {"classes", "shift", "sample_shift", "width", "height", "rate"})
    values.erase(key);
  const auto text = values.dump();
  return io::xxh3(text.data(), text.size());
}

void check_owner(const io::State& state, const std::string& model_hash, const Config& config,
                 const Codec& codec) {
  state.check_owner("video", model_hash);
  if (state.value("config") != config_hash(config))
    throw Error(Exit::data, state.name,
                ": was made with another config.json of this model; give that");
  const auto vae = state.metadata.find("vae");
  if ((vae != state.metadata.end() ? vae->second : "") != codec.identity())
    throw Error(Exit::data, state.name, ": was made with another VAE; give the --vae that made it");
}

}  // namespace

io::State Film::save(const std::string& model_hash) const {
  auto& film = *impl_;
  film.append_pending();
  io::State state;
  const auto& options = film.past.options_;
  const auto& branches = film.past.branches_;
  const char* names[] = {"prompt", "negative"};
  const Tensor* texts[] = {&film.prompt, &film.negative};
  for (size_t i = 0; i < branches.size(); ++i) state.tensors[names[i]] = on_host(*texts[i]);
  for (const auto& [name, x] : film.past.memories()) state.tensors[name] = on_host(x);
  for (const auto& [name, x] : film.decoder) state.tensors["decoder." + name] = on_host(x);
  const nlohmann::ordered_json values = {
      {"sampler", options.sampler},   {"steps", options.steps}, {"shift", options.shift},
      {"guidance", options.guidance}, {"seed", options.seed},   {"width", film.width},
      {"height", film.height},        {"chunks", film.chunks},
  };
  state.metadata = {{"config", config_hash(film.model.config())}, {"film", values.dump()}};
  state.set_owner("video", model_hash);
  state.set_count("chunks", film.chunks);
  state.set_count("frames", shown());
  if (!film.codec.identity().empty()) state.metadata["vae"] = film.codec.identity();
  return state;
}

Film::Film(const VideoModel& model, const Codec& codec, const io::State& state,
           const std::string& model_hash) {
  check_owner(state, model_hash, model.config(), codec);
  const auto parsed = io::parse_json(state.value("film"), state.name + ": film");
  io::JsonObject values(parsed, state.name + ": film");
  const auto options = options_of(values);
  const auto& config = model.config();
  const bool guided = options.guidance != 1;
  const int64_t width = values.whole("width", 1, kLargestSide);
  const int64_t height = values.whole("height", 1, kLargestSide);
  try {
    chunk_shape(config, codec, width, height);
  } catch (const Error& error) {
    throw Error(Exit::data, state.name, ": ", error.what());
  }
  impl_ =
      std::make_shared<Impl>(model, codec, options, text_of(state, "prompt", config),
                             guided ? text_of(state, "negative", config) : Tensor(), width, height);
  impl_->chunks = values.whole("chunks", 0, kMostChunks);
  const char* prefixes[] = {"prompt.", "negative."};
  auto& branches = impl_->past.branches_;
  for (size_t i = 0; i < branches.size(); ++i)
    branches[i].memory = memory_from(state, prefixes[i], model, impl_->chunks);
  const auto& shape = impl_->shape;
  impl_->decoder =
      decoder_of(state, codec, impl_->chunks * shape[1], shape[3], shape[4], model.device());
}

}  // namespace lact::video
