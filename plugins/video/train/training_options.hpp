#pragma once
// What training video can be told beside the model's shape, and what each preset makes of it.

#include <lact/cli/options.hpp>
#include <lact/train/options.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace lact::video {

/// How a preset is trained (spec/video 6.1, 10); as it stands, how a whole model is fine-tuned.
struct PresetTraining {
  int64_t batch = 1, chunks = 7;
  double drop_text = 0.1;
  train::Recipe recipe;

  PresetTraining();
  static PresetTraining of(const std::string& preset);
  /// The other published recipe: of a model that exists; `train_only` "attention" trains the layers
  /// with fast weights alone.
  static PresetTraining of_start(const std::string& train_only);
};

struct TrainingOptions {
  std::string data, init_from;
  std::string vae, text_encoder, tokenizer;
  std::optional<int64_t> chunks, batch;
  int micro_batches = 1;
  int64_t repeats = 1;
  std::optional<double> drop_text;
  std::string train_only = "all";
  std::optional<double> new_rate;  ///< factor on the rate of what a plain Wan lacks

  void declare(cli::Options options);
  double new_rate_factor() const { return new_rate.value_or(init_from.empty() ? 1.0 : 10.0); }

 private:
  void declare_data(cli::Options options);
};

}  // namespace lact::video
