#pragma once
// Which process of a run computes and keeps what.

#include <lact/train/options.hpp>
#include <lact/train/task.hpp>

#include <string>

namespace lact::train {

struct Mesh {
  int rank = 0, world = 1;
  int shards = 1;   ///< neighbours that cut the parameters of blocks among them
  int sharing = 1;  ///< neighbours that compute each micro-batch together
  int micro_batches = 1, first_micro = 0;  ///< of a step, this process's
};

/// `program`: whose options these are, for messages.
/// Errors   78 if degrees, processes and micro-batches do not divide each other, or the options
///          or the task do not allow it; as Task::can_share
Mesh mesh_of(int rank, int world, const TrainOptions& options, const Task& task,
             const std::string& program);

/// Adds to a dry run what this process holds and sends: the same for all but the numbers of their
/// micro-batches. `local`: processes of this machine.
void add_processes(Cost& cost, const Mesh& mesh, int local);

}  // namespace lact::train
