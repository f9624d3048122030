#pragma once
// What every training run can be told, whatever it trains.

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace lact::train {

struct TrainOptions {
  std::string output;  ///< the run directory

  int64_t steps = 1000;
  double learning_rate = 1e-3;
  double min_lr_ratio = 0.1;
  int64_t warmup_steps = 100;
  std::string schedule = "cosine";
  bool warmup_from_zero = false;  ///< the first step has rate 0
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, adam_epsilon = 1e-8;
  double max_norm = 1.0;    ///< gradients are clipped to it; 0: not
  double skip_norm = 10.0;  ///< times the running median of norms: a larger one is skipped; 0: off
  double skip_above = 0;    ///< a larger norm is skipped; 0: off
  int64_t skip_above_from = 0;  ///< steps before that
  int64_t norms_from = 0;       ///< steps before gradients are clipped, and skipped by their norm
  int64_t max_skips = 10;       ///< in a row; one more ends the run
  double ema = 0;               ///< weight of the averages that are published and measured; 0: none

  int64_t log_every = 10;
  int64_t eval_every = 100;  ///< 0: never
  int64_t eval_batches = 16;
  int64_t save_every = 100;  ///< 0: at the end only
  int keep = 2;              ///< newest checkpoints

  /// What --dtype auto means; a task that knows its widths may say float32 in configure().
  std::string auto_dtype = "auto";
  bool recompute = false;
  bool resume = false;
  bool dry_run = false;
};

/// Adds the options, with ranges: CLI11 refuses values that cannot work.
void declare(CLI::App& app, TrainOptions& options);

}  // namespace lact::train
