#include <lact/train/options.hpp>

#include <CLI/CLI.hpp>

#include <limits>

namespace lact::train {
namespace {

constexpr double kMany = std::numeric_limits<double>::max();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

void declare_optimizer(CLI::App& app, TrainOptions& options) {
  const std::string group = "Optimizer";
  const CLI::Range positive(std::numeric_limits<double>::min(), kMany, "POSITIVE");
  const CLI::Range share(0.0, 1.0, "0..1"), below_one(0.0, 1 - 1e-12, "below 1");
  const CLI::Range not_negative(0.0, kMany, "NONNEGATIVE");
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->capture_default_str()->group(group);
  };
  add("--lr", options.learning_rate, "Peak learning rate of AdamW")->check(positive);
  add("--schedule", options.schedule, "Learning rate after the warm-up")
      ->check(CLI::IsMember({"cosine", "linear", "constant"}));
  add("--warmup-steps", options.warmup_steps, "Steps in which the learning rate rises from 0")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
  add("--min-lr-ratio", options.min_lr_ratio, "Learning rate at the end, as a part of the peak")
      ->check(share);
  add("--weight-decay", options.weight_decay, "Decoupled weight decay")->check(not_negative);
  add("--beta1", options.beta1, "Decay of the first moment")->check(below_one);
  add("--beta2", options.beta2, "Decay of the second moment")->check(below_one);
  add("--adam-eps", options.adam_epsilon, "Added to the root of the second moment")
      ->check(positive);
  add("--max-norm", options.max_norm, "Clip gradients to this global norm; 0: do not")
      ->check(not_negative);
  add("--skip-norm", options.skip_norm,
      "Skip a step whose gradient norm is this many times the median of the last ones; 0: do not")
      ->check(not_negative);
  add("--max-skips", options.max_skips,
      "Skipped steps in a row that a run survives; one more ends it with exit code 75")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
}

void declare_run(CLI::App& app, TrainOptions& options) {
  const std::string group = "Run";
  const CLI::Range positive(int64_t{1}, kMost, "POSITIVE");
  const CLI::Range not_negative(int64_t{0}, kMost, "NONNEGATIVE");
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group(group);
  };
  add("-o,--output", options.output, "Run directory: run.toml, metrics.jsonl, checkpoints, latest")
      ->type_name("DIR");
  add("--steps", options.steps, "Steps to train")->capture_default_str()->check(positive);
  add("--log-every", options.log_every, "Steps between lines of metrics.jsonl")
      ->capture_default_str()
      ->check(positive);
  add("--eval-every", options.eval_every, "Steps between evaluations on held-out data; 0: never")
      ->capture_default_str()
      ->check(not_negative);
  add("--eval-batches", options.eval_batches, "Batches of held-out data in an evaluation")
      ->capture_default_str()
      ->check(positive);
  add("--save-every", options.save_every, "Steps between checkpoints; 0: only at the end")
      ->capture_default_str()
      ->check(not_negative);
  add("--keep", options.keep, "Newest checkpoints that are kept")
      ->capture_default_str()
      ->check(CLI::Range(1, std::numeric_limits<int>::max(), "POSITIVE"));
  const auto flag = [&](const char* name, bool& value, const char* text) {
    app.add_flag(name, value, text)->group(group);
  };
  flag("--recompute", options.recompute,
       "Keep only the input of each block for the backward pass: less memory, more time");
  flag("--resume", options.resume,
       "Go on from the newest checkpoint of --output, with the options of its run.toml; only "
       "--steps and options of logging, evaluation, saving and skipping may differ");
  flag("--dry-run", options.dry_run, "Print sizes, memory and FLOPs per step, and end");
}

}  // namespace

void declare(CLI::App& app, TrainOptions& options) {
  declare_run(app, options);
  declare_optimizer(app, options);
}

}  // namespace lact::train
