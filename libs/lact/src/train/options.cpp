#include <lact/train/options.hpp>

#include <lact/cli/options.hpp>
#include <lact/cli/processes.hpp>

#include <charconv>

namespace lact::train {
namespace {

/// As TOML and help write it: the shortest text that is read as the same number.
std::string literal(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}
std::string literal(int64_t value) {
  return std::to_string(value);
}
std::string literal(bool value) {
  return value ? "true" : "false";
}
std::string literal(const std::string& value) {
  return value;
}

}  // namespace

/// Calls visit(name, given, recipe's) for every option that a recipe sets.
template <class Self, class Recipes, class Visit>
void GivenOptions::each(Self& self, Recipes& recipe, const Visit& visit) {
  visit("steps", self.steps_, recipe.steps);
  visit("eval-every", self.eval_every_, recipe.eval_every);
  visit("eval-batches", self.eval_batches_, recipe.eval_batches);
  visit("save-every", self.save_every_, recipe.save_every);
  visit("lr", self.learning_rate_, recipe.learning_rate);
  visit("schedule", self.schedule_, recipe.schedule);
  visit("decay-ratio", self.decay_ratio_, recipe.decay_ratio);
  visit("warmup-steps", self.warmup_steps_, recipe.warmup_steps);
  visit("warmup-from-zero", self.warmup_from_zero_, recipe.warmup_from_zero);
  visit("min-lr-ratio", self.min_lr_ratio_, recipe.min_lr_ratio);
  visit("weight-decay", self.weight_decay_, recipe.weight_decay);
  visit("beta1", self.beta1_, recipe.beta1);
  visit("beta2", self.beta2_, recipe.beta2);
  visit("adam-eps", self.adam_epsilon_, recipe.adam_epsilon);
  visit("optimizer", self.optimizer_, recipe.optimizer);
  visit("muon-lr", self.muon_lr_, recipe.muon_lr);
  visit("muon-momentum", self.muon_momentum_, recipe.muon_momentum);
  visit("max-norm", self.max_norm_, recipe.max_norm);
  visit("skip-norm", self.skip_norm_, recipe.skip_norm);
  visit("skip-above", self.skip_above_, recipe.skip_above);
  visit("skip-above-from", self.skip_above_from_, recipe.skip_above_from);
  visit("norms-from", self.norms_from_, recipe.norms_from);
  visit("ema", self.ema_, recipe.ema);
}

void GivenOptions::declare(cli::Options options, const Recipe& usual) {
  std::map<std::string, std::string> defaults;
  each(*this, usual,
       [&](const char* name, const auto&, const auto& value) { defaults[name] = literal(value); });
  auto group = options.group("Run");
  const auto add = [&](const char* name, auto& variable, const char* help) {
    return group.add(std::string("--") + name, variable, help).initially(defaults.at(name));
  };
  group
      .add("-o,--output", run_.output,
           "run directory: run.toml, metrics.jsonl, checkpoints/, latest")
      .value("DIR");
  add("steps", steps_, "steps to train").at_least(1);
  group.add("--log-every", run_.log_every, "steps between lines of metrics.jsonl").at_least(1);
  add("eval-every", eval_every_, "steps between evaluations on the validation split; 0: never")
      .at_least(0);
  add("eval-batches", eval_batches_, "batches in an evaluation").at_least(1);
  add("save-every", save_every_, "steps between checkpoints; 0: only at the end").at_least(0);
  group.add("--keep", run_.keep, "number of newest checkpoints to keep").at_least(1);
  group
      .add("--async-mode", run_.async_mode,
           "disabled: training waits while a checkpoint is written; async: it goes on, beside a "
           "copy in the host's memory")
      .words({"disabled", "async"});
  group
      .add("--export", run_.export_to,
           "write the model alone into this folder when all steps are done: what others need to "
           "use it, without the state of the optimizer")
      .value("DIR");
  group.add("--export-dtype", run_.export_dtype, "number type of the matrices in --export")
      .words({"bfloat16", "float32"});
  group
      .add("--reduce-order", run_.reduce_order,
           "order in which the gradients of micro-batches are added up: fast, or fixed: as a tree, "
           "which gives the same bytes for 1, 2, 4, 8, ... processes")
      .words({"fast", "fixed"});
  group
      .add("--data-parallel-shard-degree", run_.shard_degree,
           "with several processes: over how many the parameters of blocks, their gradients and "
           "moments are cut; implies --recompute")
      .at_least(1);
  group
      .add("--context-parallel-degree", run_.context_parallel,
           "with several processes: how many share each micro-batch; views: the views of its "
           "scenes; video: the tokens of its films, by heads")
      .at_least(1);
  cli::declare_comm(group, run_.comm_init_timeout, run_.comm_train_timeout, run_.comm_interface);
  group.flag("--recompute", run_.recompute,
             "keep only the input of each block for the backward pass: less memory, more time");
  group.flag("--resume", run_.resume,
             "continue from the newest checkpoint in --output with the options in its run.toml; "
             "only --steps, where the data lie, and the options of logging, evaluation, saving and "
             "skipping may differ");
  group.flag("--dry-run", run_.dry_run, "print sizes, memory and FLOPs of a step, and exit");

  group = options.group("Optimizer");
  add("optimizer", optimizer_,
      "adamw, or muon: Muon for the matrices between embedding and output, AdamW for the rest")
      .words({"adamw", "muon"});
  add("lr", learning_rate_, "peak learning rate of AdamW").positive();
  add("muon-lr", muon_lr_, "peak learning rate of Muon; it follows the same schedule").positive();
  add("schedule", schedule_, "learning rate after the warm-up")
      .words({"cosine", "linear", "constant", "wsd"});
  add("decay-ratio", decay_ratio_,
      "with --schedule wsd (warm-up, stable, decay): share of the steps, at the end, over which "
      "the learning rate falls linearly")
      .range(1e-6, 1.0);
  add("warmup-steps", warmup_steps_, "steps in which the learning rate rises from 0").at_least(0);
  add("warmup-from-zero", warmup_from_zero_, "give the first step the learning rate 0");
  add("min-lr-ratio", min_lr_ratio_, "final learning rate as a fraction of the peak")
      .range(0.0, 1.0);
  add("weight-decay", weight_decay_, "decoupled weight decay").at_least(0.0);
  const double below_one = 1 - 1e-12;
  add("beta1", beta1_, "decay rate of the first moment").range(0.0, below_one);
  add("beta2", beta2_, "decay rate of the second moment").range(0.0, below_one);
  add("adam-eps", adam_epsilon_, "epsilon of AdamW").positive();
  add("muon-momentum", muon_momentum_, "momentum of Muon").range(0.0, below_one);
  add("max-norm", max_norm_, "clip gradients to this global norm; 0: no clipping").at_least(0.0);
  add("skip-norm", skip_norm_,
      "skip a step whose gradient norm exceeds this many times the median of the last ones, up to "
      "three in a row: then the norms have changed, and the run goes on, clipped; 0: never")
      .at_least(0.0);
  add("skip-above", skip_above_, "skip a step whose gradient norm exceeds this; 0: never")
      .at_least(0.0);
  add("skip-above-from", skip_above_from_, "first step at which --skip-above applies").at_least(0);
  add("norms-from", norms_from_,
      "first step that is clipped, or skipped by its norm; earlier ones are skipped only if not "
      "finite")
      .at_least(0);
  group
      .add("--max-skips", run_.max_skips,
           "consecutive skipped steps that a run survives; one more ends it with exit code 75")
      .at_least(0);
  add("ema", ema_,
      "decay of an exponential moving average of the parameters, which is what is saved and "
      "evaluated; 0: none")
      .range(0.0, below_one);
}

TrainOptions GivenOptions::resolve(const Recipe& recipe) const {
  TrainOptions all = run_;
  static_cast<Recipe&>(all) = recipe;
  each(*this, all, [](const char*, const auto& given, auto& value) {
    if (given) value = *given;
  });
  return all;
}

std::map<std::string, std::string> GivenOptions::filled(const Recipe& recipe) const {
  std::map<std::string, std::string> values;
  each(*this, recipe, [&](const std::string& name, const auto& given, const auto& value) {
    const auto text = literal(value);
    const bool word = name == "schedule" || name == "optimizer";
    if (!given) values[name] = word ? "\"" + text + "\"" : text;
  });
  return values;
}

}  // namespace lact::train
