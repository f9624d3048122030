#include "training_options.hpp"

#include <CLI/CLI.hpp>

namespace lact::video {
namespace {

template <class Value>
CLI::Option* add(CLI::App& app, const char* group, const char* flag, Value& value,
                 const char* text) {
  return app.add_option(flag, value, text)->group(group);
}

}  // namespace

Recipe Recipe::of(const std::string& preset) {
  if (preset == "nano") return {4, 8, 2e-3, 50, 1000, 0.99, 0.01, 0, 0};
  if (preset == "small") return {16, 6, 3e-4, 500, 20000, 0.999, 0.01, 0, 0};
  return {};
}

Recipe Recipe::of_start(const std::string& train_only) {
  Recipe recipe;
  if (train_only != "attention") return recipe;
  recipe.learning_rate = 2e-5;
  recipe.steps = 10000;
  recipe.weight_decay = 0.01;
  recipe.drop_text = 0;
  return recipe;
}

void Recipe::put(train::TrainOptions& options) const {
  options.learning_rate = learning_rate;
  options.warmup_steps = warmup;
  options.steps = steps;
  options.ema = ema;
  options.weight_decay = weight_decay;
  options.skip_above = skip_above;
  options.skip_above_from = skip_above_from;
  options.skip_norm = 0;
}

void TrainingOptions::declare(CLI::App& app) {
  add(app, "Model", "--init-from", init_from,
      "model to start from: a directory or file, of ours or a plain Wan 2.1 (.safetensors, .pth), "
      "which becomes the hybrid")
      ->type_name("PATH");
  declare_data(app);
  add(app, "Training", "--repeats", repeats,
      "noisy copies of each chunk, each with noise and time of its own")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{64}));
  add(app, "Training", "--drop-text", drop_text,
      "how often the prompts of a micro-batch are dropped (default: 0.1; 0 with --init-from and "
      "--train-only attention)")
      ->check(CLI::Range(0.0, 1.0));
  add(app, "Training", "--train-only", train_only,
      "attention: self attention of the blocks with fast weights, as published; all")
      ->capture_default_str()
      ->check(CLI::IsMember({"attention", "all"}));
  add(app, "Training", "--new-lr", new_rate,
      "factor on the rate of tensors that a plain Wan lacks (default: 10 with --init-from, else 1)")
      ->check(CLI::Range(0.0, 1e6));
}

void TrainingOptions::declare_data(CLI::App& app) {
  const char* group = "Data";
  const CLI::Range count(int64_t{1}, int64_t{1} << 20, "POSITIVE");
  add(app, group, "--data", data,
      "folder of lact-tokenize video: train.safetensors, validation.safetensors")
      ->type_name("DIR");
  add(app, group, "--chunks", chunks,
      "chunks of a window (default: as many as every clip holds, at most the preset's)")
      ->check(count);
  add(app, group, "--batch-size", batch, "clips of a micro-batch (default: by the preset)")
      ->check(count);
  add(app, group, "--grad-accum", micro_batches, "micro-batches of a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20, "POSITIVE"));
  add(app, group, "--vae", vae,
      "the Wan VAE, a directory or file, where clips are pixels and the codec is wan")
      ->type_name("FILE");
  add(app, group, "--text-encoder", text_encoder,
      "UMT5, a directory or file, or prompts encoded before, where the condition is umt5")
      ->type_name("FILE");
  add(app, group, "--tokenizer", tokenizer,
      "SentencePiece model of the text encoder, if it does not lie beside it")
      ->type_name("FILE");
}

}  // namespace lact::video
