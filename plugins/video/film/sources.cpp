#include "sources.hpp"

#include <plugins/video/train/flow.hpp>

#include <lact/error.hpp>

#include <CLI/CLI.hpp>

namespace lact::video {

void Surroundings::declare(CLI::App& app) {
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group("Model");
  };
  add("--vae", vae_, "of a model with Wan's latents: its autoencoder")->type_name("DIR|FILE");
  add("--text-encoder", text_encoder_, "of a model with UMT5 prompts: the encoder")
      ->type_name("DIR|FILE");
  add("--tokenizer", tokenizer_, "the encoder's SentencePiece model; default: beside it")
      ->type_name("FILE");
}

LoadedVideo Surroundings::load(const io::Checkpoint& checkpoint, const Config& config,
                               at::Device device, at::ScalarType products) const {
  auto codec = open_codec(config.codec, &checkpoint, vae_, device);
  if (codec->channels() != config.in_dim)
    throw Error(Exit::data, checkpoint.folder().string(), ": the model's latents have ",
                config.in_dim, " channels, and those of its codec, ", config.codec.type, ", ",
                codec->channels());
  auto model = VideoModel::load(config, checkpoint, device, products);
  return {std::move(model), std::move(codec)};
}

at::Tensor Surroundings::embed(const Config& config, const VideoModel* model,
                               const std::vector<std::string>& prompts, at::Device device) const {
  const auto table = model != nullptr ? model->condition_table() : at::Tensor();
  return make_conditioner(config, table, text_encoder_, tokenizer_, device)
      ->embed(prompts)
      .detach();
}

void SamplingOptions::declare(CLI::App& app) {
  const char* group = "Sampling";
  app.add_option("--sampler", sampler_, "from noise to frames: unipc or euler")
      ->check(CLI::IsMember({"unipc", "euler"}))
      ->group(group);
  app.add_option("--steps", steps_, "of each chunk; default: 20, of Wan's models 50")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->group(group);
  app.add_option("--shift", shift_,
                 "more time at high noise; default: as the model says; 0: by the size of a chunk")
      ->check(CLI::Range(0.0, 1000.0))
      ->group(group);
  app.add_option("--guidance", guidance_,
                 "how far away from the negative prompt; 1: off; default: 1, of Wan's models 5")
      ->check(CLI::Range(-1000.0, 1000.0))
      ->group(group);
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
    throw Error(Exit::usage, "--negative: is not looked at with a guidance of 1; give --guidance");
}

int64_t chunk_tokens(const LoadedVideo& loaded, int64_t width, int64_t height) {
  const auto shape = chunk_shape(loaded.model.config(), *loaded.codec, width, height);
  return loaded.model.chunk_tokens(shape[3], shape[4]);
}

}  // namespace lact::video
