#include <lact/error.hpp>
#include <lact/train/mesh.hpp>
#include <lact/units.hpp>

#include <algorithm>
#include <numeric>

namespace lact::train {

Mesh mesh_of(int rank, int world, const TrainOptions& options, const Task& task,
             const std::string& program) {
  Mesh mesh{rank, world, options.shard_degree, options.context_parallel};
  for (const auto& [name, degree] : {std::pair{"--context-parallel-degree", mesh.sharing},
                                     {"--data-parallel-shard-degree", mesh.shards}})
    if (world % degree != 0)
      throw Error(Exit::config, name, " ", degree, ": does not divide the ", world, " processes");
  if (mesh.sharing > 1 && !task.can_share(mesh.sharing))
    throw Error(Exit::config, "--context-parallel-degree ", mesh.sharing, ": ", program,
                " computes each micro-batch in one process");
  if (mesh.shards > 1 && options.optimizer != "adamw")
    throw Error(Exit::config, "--data-parallel-shard-degree ", mesh.shards, ": --optimizer ",
                options.optimizer, " needs whole matrices; adamw does not");
  if (mesh.shards > 1 && options.reduce_order != "fast")
    throw Error(Exit::config, "--data-parallel-shard-degree ", mesh.shards,
                ": has no --reduce-order ", options.reduce_order);
  const int groups = world / mesh.sharing;
  if (task.micro_batches() % groups != 0)
    throw Error(Exit::config, groups, mesh.sharing > 1 ? " groups of" : "",
                " processes do not divide the ", task.micro_batches(),
                " micro-batches of a step: --grad-accum must be a multiple");
  mesh.micro_batches = task.micro_batches() / groups;
  mesh.first_micro = rank / mesh.sharing * mesh.micro_batches;
  return mesh;
}

void add_processes(Cost& cost, const Mesh& mesh, int local) {
  constexpr double kNumber = 4;  // bytes of float32, which is what is kept and sent
  constexpr double kRate = 1e9;  // bytes a second
  const auto shards = static_cast<double>(mesh.shards), sharing = static_cast<double>(mesh.sharing),
             replicas = static_cast<double>(mesh.world) / shards,
             micros = static_cast<double>(mesh.micro_batches);
  const auto all = static_cast<double>(cost.parameters);
  const double in_blocks = std::accumulate(cost.blocks.begin(), cost.blocks.end(), 0.0);
  const double largest =
      cost.blocks.empty()
          ? 0
          : static_cast<double>(*std::max_element(cost.blocks.begin(), cost.blocks.end()));
  const double kept = all - in_blocks + in_blocks / shards;
  const double of_a_number = (cost.memory_bytes - cost.activation_bytes) / all;
  // A block and its gradient, while the block before it is still being freed.
  const double gathered = mesh.shards > 1 ? 4 * largest * kNumber : 0;
  const double memory = kept * of_a_number + gathered + cost.activation_bytes / sharing;
  // A ring's sum sends everything twice, each time without its own part.
  const auto sum = [](double numbers, double processes) {
    return 2 * numbers * kNumber * (processes - 1) / processes;
  };
  const double sent_whole = sum(all - in_blocks, mesh.world),
               sent_parts = sum(in_blocks / shards, replicas),
               moved = in_blocks * kNumber * (shards - 1) / shards * micros,
               regrouped = cost.regrouped / sharing * kNumber * (sharing - 1) / sharing,
               exchanged = micros * (sum(cost.exchanged, sharing) + regrouped);
  const double sent = sent_whole + sent_parts + 3 * moved + exchanged;

  cost.processes = {{"processes", mesh.world},
                    {"shards", shards},
                    {"sharing", sharing},
                    {"rank", mesh.rank},
                    {"first_micro_batch", mesh.first_micro},
                    {"micro_batches", micros},
                    {"parameters", kept},
                    {"memory_bytes", memory},
                    {"gathered_bytes", gathered},
                    {"sent_gathering_bytes", 2 * moved},
                    {"sent_scattering_bytes", moved},
                    {"sent_summing_bytes", sent_whole + sent_parts},
                    {"sent_exchange_bytes", exchanged}};
  const auto row = [&](const char* name, const auto&... parts) {
    cost.rows.emplace_back(name, concat(parts...));
  };
  row("processes", mesh.world, ": ", replicas, " x ", mesh.shards, " that cut the blocks, ", local,
      " a machine");
  row("rank", mesh.rank, ": micro-batches ", mesh.first_micro, " to ",
      mesh.first_micro + mesh.micro_batches - 1,
      mesh.sharing > 1 ? concat(", shared by ", mesh.sharing) : std::string());
  row("parameters a process", count_text(kept), " of ", count_text(all));
  if (mesh.shards > 1) row("gathered at once", bytes_text(gathered));
  row("memory a process (estimate)", bytes_text(memory));
  if (mesh.shards > 1) row("sent a step, gathering", bytes_text(2 * moved));
  if (mesh.shards > 1) row("sent a step, scattering", bytes_text(moved));
  row("sent a step, summing", bytes_text(sent_whole + sent_parts));
  if (exchanged > 0) row("sent a step, exchange", bytes_text(exchanged));
  // Linear in the rate, which lact-bench comm measures.
  row("time on the wire at 1 GB/s", concat(sent / kRate), " s");
}

}  // namespace lact::train
