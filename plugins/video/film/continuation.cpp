#include "continuation.hpp"

#include <plugins/common/media/quality.hpp>
#include <plugins/video/codec/packed_codec.hpp>
#include <plugins/video/packed/packed_clips.hpp>
#include <plugins/video/packed/random_purposes.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int64_t kSsimWindow = 11;

/// Normal noise of a chunk for each clip: [B, f, c, h, w].
Tensor noise_for(const std::vector<int64_t>& clips, uint64_t seed, int64_t chunk,
                 const Tensor& like) {
  auto shape = like.sizes().vec();
  shape[0] = 1;
  std::vector<Tensor> all;
  for (const int64_t clip : clips)
    all.push_back(chunk_noise(random_stream(seed, kClipNoise, clip).next(), chunk, shape));
  return at::cat(all).to(like.device());
}

void check_fit(const PackedClips& data, const LoadedVideo& loaded) {
  const auto& config = loaded.model.config();
  const int64_t factor = loaded.codec->factor();
  if (!data.codec().empty() && (data.codec() != config.codec.type || data.factor() != factor))
    throw Error(Exit::data, "the clips are latents of ", data.codec(), " with factor ",
                data.factor(), ", and the model's are of ", config.codec.type, " with factor ",
                factor);
  check_packed_codec(data, *loaded.codec, "the model");
  chunk_shape(config, *loaded.codec, data.width(), data.height());
}

/// Latents in chunks, pictures in what chunks show.
struct Chunks {
  std::vector<Tensor> latents, video;
  Chunks(const ClipBatch& batch, const LoadedVideo& loaded) {
    const int64_t frames = loaded.model.config().chunk_frames;
    for (const auto& one : batch.latents.split(frames, 1)) latents.push_back(one);
    int64_t shown = 0;
    for (size_t c = 0; c < latents.size(); ++c) {
      const int64_t end = loaded.codec->frames(static_cast<int64_t>(c + 1) * frames);
      video.push_back(batch.video.slice(2, shown, end));
      shown = end;
    }
  }
};

/// Teacher forced: every chunk after the real ones before it.
void compare_velocities(const LoadedVideo& loaded, const Chunks& truth,
                        const std::vector<int64_t>& clips, const Tensor& prompt,
                        const ContinuationOptions& options, std::vector<ChunkScore>& scores) {
  auto film = options.film;
  film.guidance = 1;
  Rollout past(loaded.model, film, prompt, {});
  for (size_t c = 0; c < truth.latents.size(); ++c) {
    const auto& clean = truth.latents[c];
    for (const uint64_t seed : options.seeds) {
      const auto noise = noise_for(clips, seed, static_cast<int64_t>(c), clean);
      const auto x = (1 - kVelocityTime) * clean + kVelocityTime * noise;
      const auto error = past.velocity(x, 1000 * kVelocityTime) - (noise - clean);
      scores[c].velocity += error.to(at::kDouble).square().sum().item<double>();
      scores[c].velocities += static_cast<double>(error.numel());
    }
    if (c + 1 < truth.latents.size()) past.append(clean);
  }
}

}  // namespace

int64_t chunks_of(const PackedClips& data, int64_t clip, const LoadedVideo& loaded) {
  const int64_t frames = data.frames(clip), each = loaded.model.config().chunk_frames;
  if (!data.codec().empty()) return frames / each;
  int64_t chunks = 0;
  while (loaded.codec->frames((chunks + 1) * each) <= frames) ++chunks;
  return chunks;
}

ClipBatch read_clips(const PackedClips& data, const std::vector<int64_t>& which,
                     const LoadedVideo& loaded, int64_t chunks) {
  check_fit(data, loaded);
  const auto device = loaded.model.device();
  const int64_t latents = chunks * loaded.model.config().chunk_frames;
  std::vector<Tensor> parts;
  if (data.codec().empty()) {
    for (const int64_t clip : which)
      parts.push_back(data.read(clip, 0, loaded.codec->frames(latents)).unsqueeze(0));
    const auto video = to_video(at::cat(parts), device);
    return {loaded.codec->encode(video), video};
  }
  for (const int64_t clip : which)
    parts.push_back(data.read(clip, 0, latents).to(at::kFloat).unsqueeze(0));
  const auto all = at::cat(parts).to(device);
  DecoderMemory memory;
  return {all, loaded.codec->decode(all, memory)};
}

void Likeness::add(const Tensor& a, const Tensor& b) {
  const auto rows = [](const Tensor& x) {
    return x.transpose(1, 2).flatten(0, 1).to(at::kCPU, at::kDouble);  // [B F, 3, H, W]
  };
  const auto x = rows(a), y = rows(b);
  squared_ += (x - y).square().sum().item<double>();
  numbers_ += static_cast<double>(x.numel());
  if (x.size(2) < kSsimWindow || x.size(3) < kSsimWindow) return;
  ssim_ += media::ssim(x, y).sum().item<double>();
  pictures_ += static_cast<double>(x.size(0));
}

void Likeness::add(const Likeness& other) {
  squared_ += other.squared_;
  numbers_ += other.numbers_;
  ssim_ += other.ssim_;
  pictures_ += other.pictures_;
}

double Likeness::psnr() const {
  return media::decibels(squared_ / numbers_);
}

std::optional<double> Likeness::ssim() const {
  if (pictures_ == 0) return {};
  return ssim_ / pictures_;
}

void ChunkScore::add(const ChunkScore& other) {
  ours.add(other.ours);
  repeated.add(other.repeated);
  velocity += other.velocity;
  velocities += other.velocities;
}

std::vector<ChunkScore> continue_clips(const LoadedVideo& loaded, const ClipBatch& batch,
                                       const std::vector<int64_t>& clips, const Tensor& prompt,
                                       const Tensor& negative, const ContinuationOptions& options,
                                       const std::function<void()>& step, Tensor* made) {
  const Chunks truth(batch, loaded);
  std::vector<ChunkScore> scores(truth.latents.size());
  compare_velocities(loaded, truth, clips, prompt, options, scores);
  Rollout past(loaded.model, options.film, prompt, negative);
  DecoderMemory seen;
  std::vector<Tensor> shown;
  const auto context = static_cast<size_t>(options.context);
  for (size_t c = 0; c < context; ++c) {
    past.append(truth.latents[c]);
    shown.push_back(loaded.codec->decode(truth.latents[c], seen));
  }
  const auto last = truth.video[context - 1].slice(2, -1);
  for (size_t c = context; c < scores.size(); ++c)
    scores[c].repeated.add(last.expand_as(truth.video[c]), truth.video[c]);
  for (const uint64_t seed : options.seeds) {
    auto film = past;
    auto memory = seen;
    const bool keep = made != nullptr && seed == options.seeds.front();
    for (size_t c = context; c < scores.size(); ++c) {
      const auto noise = noise_for(clips, seed, static_cast<int64_t>(c), truth.latents[c]);
      const auto chunk = film.make(noise, step);
      const auto video = loaded.codec->decode(chunk, memory);
      scores[c].ours.add(video, truth.video[c]);
      if (keep) shown.push_back(video);
      if (c + 1 < scores.size()) film.append(chunk);
    }
    if (keep) *made = at::cat(shown, 2);
  }
  return scores;
}

}  // namespace lact::video
