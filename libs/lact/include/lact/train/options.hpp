#pragma once
// What every training run can be told, whatever it trains.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace lact::cli {
class Options;
}

namespace lact::train {

/// How a run is trained unless it is told otherwise: by modality and preset (Task::defaults).
struct Recipe {
  int64_t steps = 1000;
  double learning_rate = 1e-3;
  double min_lr_ratio = 0.1;
  int64_t warmup_steps = 100;
  std::string schedule = "cosine";
  double decay_ratio = 0.2;       ///< of schedule wsd
  bool warmup_from_zero = false;  ///< the first step has rate 0
  double weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, adam_epsilon = 1e-8;
  std::string optimizer = "adamw";  ///< "muon": for matrices; AdamW for the rest
  double muon_lr = 0.02, muon_momentum = 0.95;
  double max_norm = 1.0;    ///< gradients are clipped to it; 0: not
  double skip_norm = 10.0;  ///< times the running median of norms: a larger one is skipped; 0: off
  double skip_above = 0;    ///< a larger norm is skipped; 0: off
  int64_t skip_above_from = 0;  ///< steps before that
  int64_t norms_from = 0;       ///< steps before gradients are clipped, and skipped by their norm
  double ema = 0;               ///< weight of the averages that are published and measured; 0: none

  int64_t eval_every = 100;  ///< 0: never
  int64_t eval_batches = 16;
  int64_t save_every = 100;  ///< 0: at the end only

  std::string dtype = "auto";  ///< what --dtype auto means; narrow models may say float32
};

/// A recipe and what belongs to this run.
struct TrainOptions : Recipe {
  std::string output;      ///< the run directory
  int64_t log_every = 10;  ///< steps between lines of metrics.jsonl
  int64_t max_skips = 10;  ///< in a row; one more ends the run
  int keep = 2;            ///< newest checkpoints
  std::string export_to;   ///< a folder for the model alone, when all steps are done; empty: none
  std::string export_dtype = "bfloat16";  ///< of its matrices
  std::string async_mode = "disabled";    ///< how checkpoints are written: "disabled", "async"
  std::string reduce_order = "fast";      ///< how gradients are added up: "fast", "fixed"
  int shard_degree = 1;                   ///< processes that keep a part of each block
  int context_parallel = 1;               ///< processes that share each micro-batch
  int64_t comm_init_timeout = 300, comm_train_timeout = 600;  ///< seconds
  std::string comm_interface;                                 ///< network interface; "": the host's
  bool recompute = false;
  bool resume = false;
  bool dry_run = false;
};

/// The options as they are given.
class GivenOptions {
 public:
  /// `usual`: what help names as defaults.
  void declare(cli::Options options, const Recipe& usual);
  bool dry_run() const { return run_.dry_run; }
  /// What was given, and for the rest the recipe.
  TrainOptions resolve(const Recipe& recipe) const;
  /// Key and TOML literal of every option that was not given, as the recipe says: with them
  /// run.toml is whole, whatever later versions think of presets.
  std::map<std::string, std::string> filled(const Recipe& recipe) const;

 private:
  template <class Self, class Recipes, class Visit>
  static void each(Self& self, Recipes& recipe, const Visit& visit);

  TrainOptions run_;
  std::optional<int64_t> steps_, warmup_steps_, skip_above_from_, norms_from_;
  std::optional<int64_t> eval_every_, eval_batches_, save_every_;
  std::optional<double> learning_rate_, min_lr_ratio_, weight_decay_, beta1_, beta2_, adam_epsilon_;
  std::optional<double> max_norm_, skip_norm_, skip_above_, ema_;
  std::optional<double> decay_ratio_, muon_lr_, muon_momentum_;
  std::optional<std::string> schedule_, optimizer_;
  std::optional<bool> warmup_from_zero_;
};

}  // namespace lact::train
