#include "sampling_options.hpp"

#include <plugins/video/model/model_place.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/error.hpp>

namespace lact::video {

void ModelExtras::declare(cli::Options options) {
  options
      .add("--vae", vae_,
           "Wan's VAE, for a model with its latents (default: the one in the model's directory)")
      .value("DIR|FILE");
  options
      .add("--text-encoder", text_encoder_,
           "UMT5, for a model with its prompts (default: the one in the model's directory)")
      .value("DIR|FILE");
  options
      .add("--tokenizer", tokenizer_,
           "SentencePiece model of the text encoder (default: the one beside it)")
      .value("FILE");
}

void ModelExtras::look_beside(const std::string& model) {
  vae_ = vae_of(vae_, model).string();
  text_encoder_ = text_encoder_of(text_encoder_, model).string();
}

LoadedVideo ModelExtras::load(const io::Checkpoint& checkpoint, const Config& config,
                              at::Device device, at::ScalarType products) const {
  auto codec = open_codec(config.codec, &checkpoint, vae_, device);
  if (codec->channels() != config.in_dim)
    throw Error(Exit::data, checkpoint.folder().string(), ": the model's latents have ",
                config.in_dim, " channels, and those of its codec, ", config.codec.type, ", ",
                codec->channels());
  auto model = VideoModel::load(config, checkpoint, device, products);
  return {std::move(model), std::move(codec)};
}

at::Tensor ModelExtras::embed(const Config& config, const VideoModel* model,
                              const std::vector<std::string>& prompts, at::Device device) const {
  const auto table = model != nullptr ? model->condition_table() : at::Tensor();
  return make_conditioner(config, table, text_encoder_, tokenizer_, device)
      ->embed(prompts)
      .detach();
}

void SamplingOptions::declare(cli::Options options) {
  options.add("--sampler", sampler_, "solver from noise to frames (default: unipc)")
      .words({"unipc", "euler"});
  options.add("--steps", steps_, "sampler steps per chunk (default: 20; Wan: 50)").range(1, 1000);
  options
      .add("--shift", shift_,
           "time shift, more steps at high noise; 0: by the number of tokens per chunk (default: "
           "the model's; Wan: 3)")
      .range(0.0, 1000.0);
  options
      .add("--guidance", guidance_, "classifier-free guidance scale; 1: off (default: 1; Wan: 5)")
      .range(-1000.0, 1000.0);
}

bool SamplingOptions::given() const {
  return sampler_ || steps_ || shift_ || guidance_;
}

double SamplingOptions::guidance(const Config& config) const {
  return guidance_.value_or(usual(config, /*tokens=*/1).guidance);
}

FilmOptions SamplingOptions::usual(const Config& config, int64_t tokens) {
  const bool wan = config.codec.type == "wan";
  FilmOptions options;
  options.steps = wan ? 50 : 20;
  options.guidance = wan && config.condition != "none" ? 5 : 1;
  options.shift = config.sample_shift > 0 ? config.sample_shift : auto_shift(tokens);
  return options;
}

FilmOptions SamplingOptions::over(FilmOptions base, const Config& config, int64_t tokens) const {
  if (guidance_ && *guidance_ != 1 && config.condition == "none")
    throw Error(Exit::usage, "--guidance: this model takes no prompts: there is nothing to guide");
  if (sampler_) base.sampler = *sampler_;
  if (steps_) base.steps = *steps_;
  if (shift_) base.shift = *shift_ > 0 ? *shift_ : auto_shift(tokens);
  if (guidance_) base.guidance = *guidance_;
  return base;
}

void check_negative(bool given, double guidance) {
  if (given && guidance == 1)
    throw Error(Exit::usage, "--negative: has no effect with a guidance of 1; give --guidance");
}

int64_t chunk_tokens(const LoadedVideo& loaded, int64_t width, int64_t height) {
  const auto shape = chunk_shape(loaded.model.config(), *loaded.codec, width, height);
  return loaded.model.chunk_tokens(shape[3], shape[4]);
}

}  // namespace lact::video
