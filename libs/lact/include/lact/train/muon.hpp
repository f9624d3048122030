#pragma once
// The outer optimizer of matrices: steps of length one in every direction that gradients have.

#include <lact/io/safetensors.hpp>
#include <lact/train/task.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace lact::train {

struct MuonOptions {
  double momentum = 0.95;
  double weight_decay = 0.1;
  /// Of the Newton-Schulz iteration, none: the gradient's. torch.optim.Muon always takes bfloat16.
  std::optional<c10::ScalarType> iterate;
};

/// Muon with Nesterov momentum and decoupled decay, as torch.optim.Muon has it. Source:
/// https://kellerjordan.github.io/posts/muon
///   m <- b m + (1 - b) g;  u <- b m + (1 - b) g;  p <- (1 - lr * decay) p
///   p <- p - lr * sqrt(max(1, rows / columns)) * NewtonSchulz(u)
/// for each matrix of a parameter. lr is the step's rate times Parameter::learning_rate.
class Muon {
 public:
  /// Parameters have Parameter::matrices above 0. Errors: 70 if one has not
  Muon(std::vector<Parameter> parameters, const MuonOptions& options);

  /// One step from the gradients in place; a parameter without one has gradient zero.
  void step(double learning_rate);

  /// "momentum_buffer.NAME", float32; tensors share memory with the optimizer.
  io::NamedTensors state() const;

 private:
  /// Matrices of one shape, whose updates are orthogonalized together.
  struct Group {
    int64_t rows, columns;
    std::vector<size_t> members;
  };

  std::vector<Parameter> parameters_;
  std::vector<at::Tensor> momentum_;  // in the order of parameters_, [matrices, rows, columns]
  std::vector<Group> groups_;
  MuonOptions options_;
};

}  // namespace lact::train
