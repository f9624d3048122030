#include "training_options.hpp"

namespace lact::video {

PresetTraining::PresetTraining() {
  recipe.learning_rate = 5e-6;
  recipe.warmup_steps = 1000;
  recipe.steps = 5000;
  recipe.min_lr_ratio = 0;
  recipe.ema = 0.995;
  recipe.weight_decay = 0;
  recipe.skip_norm = 0;
  recipe.skip_above = 10;
  recipe.skip_above_from = 200;
  recipe.eval_batches = 4;
}

PresetTraining PresetTraining::of(const std::string& preset) {
  PresetTraining training;
  auto& recipe = training.recipe;
  if (preset != "tiny" && preset != "small") return training;
  const bool tiny = preset == "tiny";
  training.batch = tiny ? 4 : 16;
  training.chunks = tiny ? 8 : 6;
  recipe.learning_rate = tiny ? 2e-3 : 3e-4;
  recipe.warmup_steps = tiny ? 50 : 500;
  recipe.steps = tiny ? 1000 : 20000;
  recipe.ema = tiny ? 0.99 : 0.999;
  recipe.weight_decay = 0.01;
  recipe.skip_above = 0;
  recipe.skip_above_from = 0;
  return training;
}

PresetTraining PresetTraining::of_start(const std::string& train_only) {
  PresetTraining training;
  if (train_only != "attention") return training;
  training.recipe.learning_rate = 2e-5;
  training.recipe.steps = 10000;
  training.recipe.weight_decay = 0.01;
  training.drop_text = 0;
  return training;
}

void TrainingOptions::declare(cli::Options options) {
  options.group("Model")
      .add("--init-from", init_from,
           "model to take initial weights from: a directory or file of lact or of plain Wan 2.1 "
           "(.safetensors, .pth), which becomes the hybrid")
      .value("PATH");
  declare_data(options.group("Data"));
  auto group = options.group("Training");
  group.add("--repeats", repeats, "noisy copies of each chunk, each with its own noise and time")
      .range(1, 64);
  group
      .add("--drop-text", drop_text,
           "probability that the prompts of a micro-batch are dropped (default: 0.1; 0 with "
           "--init-from and --train-only attention)")
      .range(0.0, 1.0);
  group
      .add("--train-only", train_only,
           "parameters to train: all, or attention, the self attention of the blocks with fast "
           "weights, as published")
      .words({"attention", "all"});
  group
      .add("--new-lr", new_rate,
           "factor on the learning rate of tensors that a plain Wan lacks (default: 10 with "
           "--init-from, else 1)")
      .range(0.0, 1e6);
}

void TrainingOptions::declare_data(cli::Options options) {
  options
      .add("--data", data,
           "folder of lact-tokenize video: train.safetensors, validation.safetensors")
      .value("DIR");
  options
      .add(
          "--chunks", chunks,
          "chunks per training window (default: as many as every clip holds, at most the preset's)")
      .range(1, 1 << 20);
  options.add("--batch-size", batch, "clips per micro-batch (default: by the preset)")
      .range(1, 1 << 20);
  options.add("--grad-accum", micro_batches, "micro-batches per step").range(1, 1 << 20);
  options
      .add("--vae", vae,
           "Wan's VAE, a directory or file, where clips are pixels and the codec is wan (default: "
           "the one in the directory of --init-from)")
      .value("PATH");
  options
      .add("--text-encoder", text_encoder,
           "UMT5, a directory or file, or encoded prompts, where the condition is umt5 (default: "
           "the one in the directory of --init-from)")
      .value("PATH");
  options
      .add("--tokenizer", tokenizer,
           "SentencePiece model of the text encoder (default: the one beside it)")
      .value("FILE");
}

}  // namespace lact::video
