#pragma once
// Where a launcher put this process among those of a run: torchrun, srun, mpirun (Open MPI),
// mpiexec (MPICH, Intel MPI), or plain variables.

#include <cstdint>
#include <functional>
#include <string>

namespace lact::dist {

struct Place {
  int rank = 0, world = 1;              ///< of all processes
  int local_rank = 0, local_world = 1;  ///< of those on this machine
  std::string host = "127.0.0.1";       ///< of the store where they meet
  uint16_t port = 29500;
  bool their_store = false;  ///< torchrun's agent serves it
  std::string launcher;      ///< "torchrun"; "" if nobody launched
  /// Run and restart: what one attempt writes into the store, no other may read.
  std::string attempt;
};

/// A variable of the environment, or null.
using Environment = std::function<const char*(const char*)>;

/// In this order: RANK and WORLD_SIZE, Open MPI's, Slurm's of a step, PMI's; none of them is one
/// process.
/// Errors   78 naming the variable that is missing, no number, or contradicts another
Place place(const Environment& environment);

}  // namespace lact::dist
