#pragma once
// What training video can be told beside the model's shape, and what each preset makes of it.

#include <lact/train/options.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace lact::video {

/// Of a preset's training: spec video 6.1 and 10. As it stands: of fine-tuning all there is.
struct Recipe {
  int64_t batch = 1, chunks = 7;
  double learning_rate = 5e-6;
  int64_t warmup = 1000, steps = 5000;
  double ema = 0.995, weight_decay = 0;
  double skip_above = 10;  ///< norm of a gradient; 0: off
  int64_t skip_above_from = 200;
  double drop_text = 0.1;

  static Recipe of(const std::string& preset);
  /// The other published one: of a model that exists, with `train_only` "attention" the layers with
  /// fast weights alone.
  static Recipe of_start(const std::string& train_only);
  /// As defaults of a run.
  void put(train::TrainOptions& options) const;
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

  void declare(CLI::App& app);
  double new_rate_factor() const { return new_rate.value_or(init_from.empty() ? 1.0 : 10.0); }

 private:
  void declare_data(CLI::App& app);
};

}  // namespace lact::video
