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
  add("--lr", options.learning_rate, "peak learning rate of AdamW")->check(positive);
  add("--schedule", options.schedule, "learning rate after the warm-up")
      ->check(CLI::IsMember({"cosine", "linear", "constant"}));
  add("--warmup-steps", options.warmup_steps, "steps in which the learning rate rises from 0")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
  add("--warmup-from-zero", options.warmup_from_zero, "the first step has learning rate 0")
      ->type_name("true|false");
  add("--min-lr-ratio", options.min_lr_ratio, "learning rate at the end, as a part of the peak")
      ->check(share);
  add("--weight-decay", options.weight_decay, "decoupled weight decay")->check(not_negative);
  add("--beta1", options.beta1, "decay of the first moment")->check(below_one);
  add("--beta2", options.beta2, "decay of the second moment")->check(below_one);
  add("--adam-eps", options.adam_epsilon, "added to the root of the second moment")
      ->check(positive);
  add("--max-norm", options.max_norm, "clip gradients to this global norm; 0: do not")
      ->check(not_negative);
  add("--skip-norm", options.skip_norm,
      "skip a step whose gradient norm is this many times the median of the last ones; 0: do not")
      ->check(not_negative);
  add("--skip-above", options.skip_above,
      "skip a step whose gradient norm is more than this; 0: do not")
      ->check(not_negative);
  add("--skip-above-from", options.skip_above_from, "steps before --skip-above counts")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
  add("--norms-from", options.norms_from,
      "steps before norms count: until then nothing is clipped, and skipped only if not finite")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
  add("--max-skips", options.max_skips,
      "skipped steps in a row that a run survives; one more ends it with exit code 75")
      ->check(CLI::Range(int64_t{0}, kMost, "NONNEGATIVE"));
  add("--ema", options.ema,
      "save and evaluate averages of the parameters, which keep this part of themselves in each "
      "step; 0: the parameters")
      ->check(below_one);
}

void declare_run(CLI::App& app, TrainOptions& options) {
  const std::string group = "Run";
  const CLI::Range positive(int64_t{1}, kMost, "POSITIVE");
  const CLI::Range not_negative(int64_t{0}, kMost, "NONNEGATIVE");
  const auto add = [&](const char* flag, auto& value, const char* text) {
    return app.add_option(flag, value, text)->group(group);
  };
  add("-o,--output", options.output, "run directory: run.toml, metrics.jsonl, checkpoints, latest")
      ->type_name("DIR");
  add("--steps", options.steps, "steps to train")->capture_default_str()->check(positive);
  add("--log-every", options.log_every, "steps between lines of metrics.jsonl")
      ->capture_default_str()
      ->check(positive);
  add("--eval-every", options.eval_every, "steps between evaluations on held-out data; 0: never")
      ->capture_default_str()
      ->check(not_negative);
  add("--eval-batches", options.eval_batches, "batches of held-out data in an evaluation")
      ->capture_default_str()
      ->check(positive);
  add("--save-every", options.save_every, "steps between checkpoints; 0: only at the end")
      ->capture_default_str()
      ->check(not_negative);
  add("--keep", options.keep, "newest checkpoints that are kept")
      ->capture_default_str()
      ->check(CLI::Range(1, std::numeric_limits<int>::max(), "POSITIVE"));
  const auto flag = [&](const char* name, bool& value, const char* text) {
    app.add_flag(name, value, text)->group(group);
  };
  flag("--recompute", options.recompute,
       "keep only the input of each block for the backward pass: less memory, more time");
  flag("--resume", options.resume,
       "go on from the newest checkpoint of --output, with the options of its run.toml; only "
       "--steps and options of logging, evaluation, saving and skipping may differ");
  flag("--dry-run", options.dry_run, "print sizes, memory and FLOPs per step, and end");
}

}  // namespace

void declare(CLI::App& app, TrainOptions& options) {
  declare_run(app, options);
  declare_optimizer(app, options);
}

}  // namespace lact::train
