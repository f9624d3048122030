#pragma once
// What the trainer drives: a modality's data, model and loss.

#include <lact/cli/options.hpp>
#include <lact/dist/group.hpp>
#include <lact/dist/sharded.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/train/options.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::train {

/// The place of a micro-batch among all of a run, whichever process computes it.
inline int64_t place_of(int64_t step, int micro, int micro_batches) {
  return step * micro_batches + micro;
}

enum class Split { train, validation };

using Batch = std::map<std::string, at::Tensor>;
using Metrics = std::map<std::string, double>;
/// Sums over examples, which add up over batches.
using Tally = std::vector<double>;

/// Batches as a pure function of their place in the run, so that resuming is exact.
class Source {
 public:
  virtual ~Source();
  virtual Batch at(uint64_t seed, int64_t step, int micro) = 0;
};

/// A trained tensor. Gradients are in tensor.grad().
struct Parameter {
  std::string name;
  at::Tensor tensor;
  bool decay = true;           ///< takes part in weight decay
  double learning_rate = 1.0;  ///< factor on the schedule's
  /// So many matrices one above the other, which Muon may train; 0: vectors, embeddings, heads,
  /// small projections, which it never does.
  int64_t matrices = 0;
};

/// What a step costs, for the dry run and for utilisation.
struct Cost {
  int64_t parameters = 0;
  int64_t tokens = 0;           ///< per step, all micro-batches
  double flops = 0;             ///< per step, forward and backward, as spec/llm 13 counts
  double memory_bytes = 0;      ///< estimate: parameters, gradients, moments, activations
  double activation_bytes = 0;  ///< of these
  std::vector<int64_t> blocks;  ///< numbers in the parameters of each that shard() cuts
  double exchanged = 0;         ///< numbers that processes which share a micro-batch sum in it
  double regrouped = 0;         ///< that they spread in another way: each sends some of its part
  std::map<std::string, double> processes;  ///< of several: what one holds and sends a step
  std::optional<double> write_strength;     ///< of the fresh model: Task::write_strength
  std::vector<std::pair<std::string, std::string>> rows;  ///< sizes worth showing, in order
};

struct StepInfo {
  int64_t step = 0;
  int micro = 0;
};

struct Loss {
  at::Tensor value;   ///< scalar, in the graph: the mean over what is scored
  double weight = 1;  ///< how much is scored (tokens); micro-batches are averaged by it
  double whole = 1;   ///< how much would be if nothing were masked: the same for all of a run
};

/// How the trainer asks a task to be built.
struct TaskSetup {
  c10::Device device{c10::kCPU};
  c10::ScalarType dtype = c10::ScalarType::Float;  ///< of the products; parameters are float32
  uint64_t seed = 0;
  bool recompute = false;  ///< keep only block inputs, recompute the rest in the backward pass
  bool averages = false;   ///< averages of the parameters are kept (Recipe::ema)
  /// Processes that compute each micro-batch together; null: this one alone. Lives as long as the
  /// task is used.
  const dist::Group* sharing = nullptr;
};

class Task {
 public:
  virtual ~Task();
  /// Data, model and loss options; presets.
  virtual void declare(cli::Options options) = 0;
  /// Checks the options, so that cost() is known; allocates nothing large. Errors: 64, 65, 66, 78.
  virtual void configure() = 0;
  /// How the configured model is trained unless the command line says otherwise; before
  /// configure(), what help names as defaults.
  virtual Recipe defaults() const { return {}; }
  virtual Cost cost(const TaskSetup& setup) const = 0;
  /// How much of what the fast weights of a fresh model give one chunk changes
  /// (nn::write_strength); none if that cannot be known without data. For the dry run.
  virtual std::optional<double> write_strength(const TaskSetup& /*setup*/) const { return {}; }
  /// Builds the model with fresh parameters (from the seed, or --init-from) and opens the data.
  virtual void build(const TaskSetup& setup) = 0;
  virtual std::vector<Parameter> parameters() = 0;
  /// The data's content, wherever they lie: a run goes on only with the same. "": not known.
  virtual std::string data_identity() const { return {}; }
  virtual std::unique_ptr<Source> source(Split split) = 0;
  virtual Loss loss(const Batch& batch, const StepInfo& info) = 0;
  /// Micro-batches of one step.
  virtual int micro_batches() const = 0;
  /// Whether several processes can share a micro-batch (TaskSetup::sharing): loss() then gives each
  /// its part, whose weight is what of the micro-batch it scores, and after backward() its share
  /// of the gradients. Errors: 64 naming an option that leaves one of so many without any part
  virtual bool can_share(int /*processes*/) const { return false; }
  /// From here on this process keeps a part of each block's parameters (nn::shard), which stand for
  /// the whole ones in parameters(), and loss() and tally() gather blocks as they use them. Empty:
  /// the task cannot.
  virtual dist::Shards shard(const dist::Group& /*group*/) { return {}; }
  /// Of the validation split; 0: there is none.
  virtual int64_t validation_batches() const = 0;
  /// What one of them adds to the sums; equally many numbers for each. Whoever computes it.
  virtual Tally tally(int64_t batch) = 0;
  /// Mean loss and what else is worth logging, from the sums; empty if nothing was scored.
  /// Keys as in metrics.jsonl: "validation_metrics/loss".
  virtual Metrics conclude(const Tally& sums) const = 0;
  /// Published names in, and out with side files (config.json, tokenizer.model).
  virtual void load(const io::Checkpoint& checkpoint) = 0;
  virtual void save(io::CheckpointWriter& writer) const = 0;
};

}  // namespace lact::train
