#pragma once
// The training loop: accumulate, clip, step, log, evaluate, save; and go on where a run was left.
//
// A run directory holds
//   run.toml         every option, with device, dtype, threads and seed as they were resolved
//   metrics.jsonl    one line per logged step and per evaluation, with torchtitan's keys
//   checkpoints/     step-N: what Task::save writes, training/optimizer.safetensors and
//                    training/trainer.json
//   latest           link to the newest checkpoint
//   lock             held by the process that trains here
//
// With options.ema, Task::save and Task::evaluate meet averages of the parameters; the parameters
// themselves are then in optimizer.safetensors.
//
// trainer.json and optimizer.safetensors hold all else that the next step depends on: steps and
// tokens so far, skip counters, recent gradient norms, the optimizer's moments, the random
// generators' states. Data position is the step, for a Source is a pure function of it.

#include <lact/cli/run.hpp>
#include <lact/train/options.hpp>
#include <lact/train/task.hpp>

#include <functional>
#include <string>

namespace lact::train {

/// Whom the trainer tells, and asks; it prints nothing itself. Each may be empty.
struct Observer {
  std::function<void(const std::string&line)> info, warning;
  /// Steps done and to do in this process.
  std::function<void(double done, double total, const std::string& note)> progress;
  /// Not 0, but the signal that asks for it: finish the step, save, return.
  std::function<int()> stop;
  /// Another process of the run got this signal: all stop.
  std::function<void(int signal)> take_signal;
  /// Told from another thread that a process of the run is gone, while the others may hang; should
  /// end this one with 75.
  std::function<void(const std::string& line)> lost;
};

enum class Outcome { done, interrupted };

/// Trains a configured task in the run directory options.output.
///
/// A step whose loss or gradients are not finite, or whose gradient norm explodes
/// (options.skip_norm), changes no parameter and no moment; it is counted, and the schedule goes
/// on.
/// Where a launcher started several processes (dist::place) they are one run: each computes its
/// micro-batches of every step; rank 0 alone has the run directory and speaks.
/// Errors     64  no output; --resume with an option that contradicts the run
///            65  the run or its checkpoint is malformed; checkpoints exist but none is intact
///            73  the directory cannot be made, or holds a run and --resume is not given
///            75  another process trains there; too many skipped steps in a row (after saving);
///                a process of the run is gone or does not come
///            78  processes that have other options or data, or do not divide the micro-batches
Outcome run(Task& task, const TrainOptions& options, const cli::Context& context,
            const Observer& observer);

/// What a step costs, for people (lines of "name  value") or as a JSON object.
std::string describe(const Cost& cost, bool json);

}  // namespace lact::train
