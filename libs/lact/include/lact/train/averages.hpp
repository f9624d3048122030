#pragma once
// Exponential moving averages of parameters: what a run publishes and measures, while the
// optimizer goes on with the parameters themselves.

#include <lact/io/safetensors.hpp>

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

namespace lact::train {

/// average <- weight average + (1 - weight) parameter, after every performed step. Starts at the
/// parameters as they are. Memory: one copy of them; no method allocates more than a small buffer.
class Averages {
 public:
  /// Errors   70 for a weight outside [0, 1)
  Averages(const io::NamedTensors& parameters, double weight);

  void update();
  /// Exchanges parameters and averages in place, bit by bit: twice is nothing.
  void swap();
  /// In the order of the parameters.
  const std::vector<at::Tensor>& values() const { return averages_; }

  /// The other half of a checkpoint that publishes the averages: "parameter.NAME".
  /// Call it while swapped.
  io::NamedTensors state() const;
  static bool is_parameter(const std::string& name);
  /// Of a run whose parameters were loaded from what it published: these are the averages, and
  /// the parameters themselves come from `state`.
  /// Errors   65 if one is missing, unknown, or has another shape or dtype
  void load(const io::NamedTensors& state);

 private:
  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, averages_;
  double weight_;
};

/// Parameters are the averages while this lives. Nothing if there are none.
class AveragesGuard {
 public:
  explicit AveragesGuard(Averages* averages) : averages_(averages) {
    if (averages_ != nullptr) averages_->swap();
  }
  ~AveragesGuard() {
    if (averages_ != nullptr) averages_->swap();
  }
  AveragesGuard(const AveragesGuard&) = delete;
  AveragesGuard& operator=(const AveragesGuard&) = delete;

 private:
  Averages* averages_;
};

}  // namespace lact::train
