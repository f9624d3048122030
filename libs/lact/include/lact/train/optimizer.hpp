#pragma once
// The outer optimizer. Its state goes by parameter name, so that a checkpoint outlives the order
// in which a model lists its parameters.

#include <lact/io/safetensors.hpp>
#include <lact/train/muon.hpp>
#include <lact/train/task.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace lact::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
};

/// AdamW with decoupled decay. Source: arXiv:1711.05101, algorithm 2, with the schedule's
/// multiplier in the learning rate, as torch.optim.AdamW has it:
///   p <- (1 - lr * decay) p;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
///   p <- p - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
/// where decay is 0 for parameters that do not take part, and lr is the step's rate times
/// Parameter::learning_rate.
class AdamW {
 public:
  /// Parameters are contiguous float32 leaves; moments start at zero.
  /// Errors   70 for another dtype, strides, or a name that comes twice
  AdamW(std::vector<Parameter> parameters, const AdamWOptions& options);

  /// One step from the gradients in place; a parameter without one has gradient zero.
  void step(double learning_rate);

  /// Steps taken so far: t above.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

  /// The moments, "exp_avg.NAME" and "exp_avg_sq.NAME", float32; tensors share memory with the
  /// optimizer.
  io::NamedTensors state() const;

 private:
  /// Parameters that share decay and learning-rate factor, for one fused call.
  struct Group {
    double weight_decay, learning_rate;
    std::vector<size_t> members;
  };

  std::vector<Parameter> parameters_;
  std::vector<at::Tensor> first_, second_;  // moments, in the order of parameters_
  std::vector<Group> groups_;
  AdamWOptions options_;
  int64_t steps_ = 0;
};

/// What a run steps with: AdamW, or Muon for matrices and AdamW for the rest.
class Optimizer {
 public:
  /// `muon`: none for AdamW alone. `muon_rate`: Muon's learning rate as a multiple of AdamW's.
  /// Errors   as AdamW()
  Optimizer(std::vector<Parameter> parameters, const AdamWOptions& adamw,
            const std::optional<MuonOptions>& muon = {}, double muon_rate = 1);

  /// One step from the gradients in place; `learning_rate` is AdamW's.
  void step(double learning_rate);
  /// Frees all gradients.
  void zero_grad();

  /// Steps taken so far.
  int64_t steps() const { return adamw_.steps(); }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// "adamw" or "muon".
  const char* name() const { return muon_ ? "muon" : "adamw"; }

  /// What both remember, by name.
  io::NamedTensors state() const;
  /// Copies it in. Errors: 65 if a tensor is missing, unknown, or has another shape or dtype.
  void load(const io::NamedTensors& state, int64_t steps);

 private:
  std::vector<Parameter> parameters_;
  AdamW adamw_;
  std::optional<Muon> muon_;
  double muon_rate_;
};

/// The norm of all gradients together (0 without any). Not finite if one element is not.
double global_norm(const std::vector<Parameter>& parameters);
/// Multiplies all gradients in place.
void scale_gradients(const std::vector<Parameter>& parameters, double factor);

}  // namespace lact::train
