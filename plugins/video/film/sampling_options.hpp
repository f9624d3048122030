#pragma once
// Models with what stands around them, and how chunks are sampled: options that making films and
// measuring share.

#include "film.hpp"

#include <plugins/video/codec/codec.hpp>
#include <plugins/video/condition/condition.hpp>
#include <plugins/video/condition/prompts.hpp>
#include <plugins/video/model/model.hpp>

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>
#include <lact/io/checkpoint.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lact::video {

struct LoadedVideo {
  VideoModel model;
  std::unique_ptr<Codec> codec;
};

/// --vae, --text-encoder, --tokenizer: what a model of the Wan architecture needs beside itself.
class ModelExtras {
 public:
  void declare(cli::Options options);
  /// What is not given and lies with a released model is that.
  void look_beside(const std::string& model);
  /// Errors   as Config::of, VideoModel::load, open_codec
  LoadedVideo load(const io::Checkpoint& checkpoint, const Config& config, at::Device device,
                   at::ScalarType products) const;
  /// Prompts to [n, <= text_len, text_dim]; `model` is needed where it holds a table of its own.
  /// An encoder is gone when this returns. Errors: as make_conditioner, Conditioner::embed
  at::Tensor embed(const Config& config, const VideoModel* model,
                   const std::vector<std::string>& prompts, at::Device device) const;
  /// Of packed clips.
  Prompts prompts(const Config& config, at::Device device) const {
    return {config, text_encoder_, tokenizer_, device};
  }
  /// Whether prompts are embedded by a network of their own, before the model is loaded.
  static bool has_encoder(const Config& config) { return config.condition == "umt5"; }

 private:
  std::string vae_, text_encoder_, tokenizer_;
};

/// --sampler, --steps, --shift, --guidance.
class SamplingOptions {
 public:
  void declare(cli::Options options);
  bool given() const;
  double guidance(const Config& config) const;  ///< of a film that begins
  /// `base`, changed by what was given. A shift of 0 becomes that of chunks of `tokens`.
  /// Errors   64 for guidance of a model that is told nothing
  FilmOptions over(FilmOptions base, const Config& config, int64_t tokens) const;
  /// What a model is sampled with if nothing else is said: Wan's with 50 steps and a guidance of 5,
  /// others with 20 steps and none.
  static FilmOptions usual(const Config& config, int64_t tokens);

 private:
  std::optional<std::string> sampler_;
  std::optional<int64_t> steps_;
  std::optional<double> shift_, guidance_;
};

/// Errors   64 if a negative prompt is given that nothing would look at
void check_negative(bool given, double guidance);

/// Tokens of a chunk of frames of that size. Errors: as chunk_shape
int64_t chunk_tokens(const LoadedVideo& loaded, int64_t width, int64_t height);

}  // namespace lact::video
