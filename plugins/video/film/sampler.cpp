#include "sampler.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

using at::Tensor;

double shifted(double u, double shift) {
  return u * shift / (1 + (shift - 1) * u);
}

void check_table(int64_t steps, double shift) {
  if (steps < 1 || steps > 1000)
    throw Error(Exit::usage, "sampler: ", steps, " steps: expected 1 to 1000");
  if (!(shift > 0) || shift > 1000)
    throw Error(Exit::usage, "sampler: a shift of ", shift, ": expected more than 0, at most 1000");
}

double part_left(int64_t i, int64_t steps) {
  return 1 - static_cast<double>(i) / static_cast<double>(steps);
}

/// Half the logarithm of the signal's power over the noise's, but for the factor.
double log_ratio(double sigma) {
  return std::log(1 - sigma) - std::log(sigma);
}

}  // namespace

SamplerSchedule unipc_schedule(int64_t steps, double shift) {
  check_table(steps, shift);
  // The published table shifts its largest value twice, the first time in float32.
  const auto s = static_cast<float>(shift);
  const float u = 0.999f;
  const float top = u * s / (1 + static_cast<float>(shift - 1) * u);
  SamplerSchedule table;
  for (int64_t i = 0; i < steps; ++i) {
    table.sigmas.push_back(shifted(static_cast<double>(top) * part_left(i, steps), shift));
    table.timesteps.push_back(std::floor(1000 * table.sigmas.back()));
  }
  table.sigmas.push_back(0);
  return table;
}

SamplerSchedule euler_schedule(int64_t steps, double shift) {
  check_table(steps, shift);
  SamplerSchedule table;
  for (int64_t i = 0; i <= steps; ++i) table.sigmas.push_back(shifted(part_left(i, steps), shift));
  for (int64_t i = 0; i < steps; ++i)
    table.timesteps.push_back(1000 * table.sigmas[static_cast<size_t>(i)]);
  return table;
}

Sampler::Sampler(const std::string& name, int64_t steps, double shift) : unipc_(name == "unipc") {
  if (!unipc_ && name != "euler")
    throw Error(Exit::usage, "sampler '", name, "': expected euler or unipc");
  schedule_ = unipc_ ? unipc_schedule(steps, shift) : euler_schedule(steps, shift);
}

Tensor Sampler::step(const Tensor& velocity, const Tensor& x) {
  if (i_ >= steps()) throw Error(Exit::internal, "sampler: no step after the last of ", steps());
  if (unipc_) return unipc(velocity, x);
  const auto& sigma = schedule_.sigmas;
  const auto i = static_cast<size_t>(i_++);
  return x + velocity * (sigma[i + 1] - sigma[i]);
}

Tensor Sampler::move(const Tensor& x, int64_t i, const Tensor& data, const Tensor& extra) const {
  const double from = schedule_.sigmas[static_cast<size_t>(i)];
  const double to = schedule_.sigmas[static_cast<size_t>(i + 1)];
  const double b = std::expm1(log_ratio(from) - log_ratio(to));
  const auto leading = to / from * x;
  return leading - (1 - to) * b * (extra.defined() ? data + extra : data);
}

/// As spec/video 7.2, in its letters.
Tensor Sampler::unipc(const Tensor& velocity, const Tensor& sample) {
  const auto lambda = [&](int64_t i) {
    return log_ratio(schedule_.sigmas[static_cast<size_t>(i)]);
  };
  const int64_t i = i_++, n = steps();
  const auto m = sample - schedule_.sigmas[static_cast<size_t>(i)] * velocity;
  auto x = sample;
  if (i > 0) {  // correct the sample with what was seen at its end
    const auto rise = m - data_.back();
    Tensor extra = 0.5 * rise;
    if (order_ == 2) {
      const double h = lambda(i) - lambda(i - 1), q = (lambda(i - 2) - lambda(i - 1)) / h;
      const double b = std::expm1(-h), phi1 = b / -h - 1, phi2 = phi1 / -h - 0.5;
      const double first = phi1 / b, second = 2 * phi2 / b;
      const double r0 = (first - second) / (1 - q);
      extra = r0 / q * (data_.front() - data_.back()) + (first - r0) * rise;
    }
    x = move(last_, i - 1, data_.back(), extra);
  }
  data_.push_back(m);
  if (data_.size() > 2) data_.erase(data_.begin());
  last_ = x;
  order_ = std::min<int64_t>({2, n - i, i + 1});
  if (i + 1 == n) return m;  // sigma 0: lambda is infinite
  if (order_ == 1) return move(x, i, m, {});
  const double q = (lambda(i - 1) - lambda(i)) / (lambda(i + 1) - lambda(i));
  return move(x, i, m, 0.5 / q * (data_.front() - m));
}

}  // namespace lact::video
