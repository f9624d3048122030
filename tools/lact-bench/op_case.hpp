#pragma once
// One way of running the operator, what it costs, and running it.

#include <lact/ops/scan.hpp>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>

namespace lact::bench {

struct OpCase {
  std::string rule = "momentum", function = "swiglu", learn = "all", schedule = "shifted",
              pass = "both", mode = "keep";
  int64_t heads = 4, width = 384, hidden = 384, chunk = 2048, length = 8192;

  bool linear() const { return function == "linear"; }
  bool backward() const { return pass == "both"; }
  bool recompute() const { return mode == "recompute"; }
  /// Numbers of the fast weights in squares of the model's width, heads * width.
  double state() const;
};

/// The hidden width F with which three matrices of `width` x F a head hold `state` squares of the
/// model's width. Errors: 64 if that is less than 1.
int64_t hidden_of(double state, int64_t heads, int64_t width);

/// "shifted", "bidirectional", "chunk-causal".
ops::Schedule schedule_of(const OpCase& one);
/// Products and orthogonalization in `dtype`, as the language model's.
ops::Rule rule_of(const OpCase& one, c10::ScalarType dtype);

/// Floating-point operations of a pass as ops::scan_cost counts them, three times the forward with
/// the backward pass; what is computed twice apart.
struct OpFlops {
  double products = 0, newton_schulz = 0, recomputed = 0;
};
OpFlops flops_of(const OpCase& one);

/// Random inputs of a case. The same seed gives the same numbers on every device.
class OpInputs {
 public:
  OpInputs(const OpCase& one, c10::Device device, c10::ScalarType dtype, uint64_t seed);

  struct Run {
    double seconds = 0;
    /// The most memory it took beyond inputs, output, final state and gradients; none if it was not
    /// counted, or the device does not say.
    std::optional<int64_t> extra_bytes;
  };
  /// The pass once; output and gradients are then dropped. Counting allocations costs a little time
  /// where chunks are small.
  Run run(bool count_memory);

 private:
  struct Results {
    at::Tensor out;
    ops::FastState state;
  };
  void pass(Results& results);
  std::vector<at::Tensor*> inputs();
  int64_t kept_bytes(const Results& results);

  OpCase case_;
  c10::Device device_;
  ops::Rule rule_;
  ops::Schedule schedule_;
  ops::FastWeights w_;
  at::Tensor q_, out_gradient_;
  ops::Tokens tokens_;
};

}  // namespace lact::bench
