#pragma once
// From noise to a chunk in N steps: Euler, and UniPC of order 2. Source: spec/video 7.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lact::video {

struct SamplerSchedule {
  std::vector<double> sigmas;     ///< steps + 1, the last 0
  std::vector<double> timesteps;  ///< what the network is told: UniPC whole numbers
};
SamplerSchedule unipc_schedule(int64_t steps, double shift);
SamplerSchedule euler_schedule(int64_t steps, double shift);

/// One chunk's way from noise; a new one for every chunk.
class Sampler {
 public:
  /// "euler" or "unipc". Errors: 64 with the list
  Sampler(const std::string& name, int64_t steps, double shift);
  int64_t steps() const { return static_cast<int64_t>(schedule_.timesteps.size()); }
  double timestep(int64_t i) const { return schedule_.timesteps.at(static_cast<size_t>(i)); }
  /// x at step i and the velocity there -> x at step i + 1. Called for i = 0, 1, ... in order.
  at::Tensor step(const at::Tensor& velocity, const at::Tensor& x);

 private:
  at::Tensor unipc(const at::Tensor& velocity, const at::Tensor& x);
  at::Tensor move(const at::Tensor& x, int64_t i, const at::Tensor& data,
                  const at::Tensor& extra) const;

  SamplerSchedule schedule_;
  bool unipc_ = false;
  int64_t i_ = 0, order_ = 0;
  at::Tensor last_;               // the corrected sample of the step before
  std::vector<at::Tensor> data_;  // predictions of the last two steps
};

}  // namespace lact::video
