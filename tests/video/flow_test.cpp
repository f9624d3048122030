#include "support/golden.hpp"
#include "support/test.hpp"

#include <plugins/video/film/sampler.hpp>
#include <plugins/video/train/flow.hpp>
#include <plugins/video/verify/golden.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

using namespace lact;
using namespace lact::video;
using at::Tensor;
using test::count_kind;
using test::tensors_with;
using verify::Verdict;

namespace {

/// Distinct numbers in [-1, 1].
Tensor some(at::IntArrayRef shape, double frequency) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  return (at::arange(count, at::kDouble) * frequency + 0.3).sin().view(shape);
}

/// Walks from noise at sigma 1 along the field; returns where it ends.
Tensor walk(const std::string& name, int64_t steps, double shift, const Tensor& start,
            const std::function<Tensor(const Tensor&, double sigma)>& field) {
  const auto table = name == "unipc" ? unipc_schedule(steps, shift) : euler_schedule(steps, shift);
  Sampler sampler(name, steps, shift);
  auto x = start;
  for (int64_t i = 0; i < steps; ++i)
    x = sampler.step(field(x, table.sigmas[static_cast<size_t>(i)]), x);
  return x;
}

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace

TEST_CASE("schedules, samplers, batches and averages match the golden values, every tensor",
          "[golden]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto results = test::replay_golden("video", flow_kinds(), dtype);
  CHECK(tensors_with(Verdict::fail, results) == "");
  CHECK(tensors_with(Verdict::skipped, results) == "");
  CHECK(count_kind(results, "schedules") == 1);
  CHECK(count_kind(results, "samplers") == 1);
  CHECK(count_kind(results, "flow_batch") == 2);
  CHECK(count_kind(results, "ema") == 1);
}

TEST_CASE("the shift follows the published line", "[flow]") {
  CHECK(auto_shift(32760) == Approx(3));
  CHECK(auto_shift(73710) == Approx(5));
  CHECK(auto_shift(4680) == Approx(2.1135).epsilon(1e-4));
}

TEST_CASE("weights have mean 1 over all times, and none is worth less than the ends", "[flow]") {
  const auto tau = at::arange(1000, at::kDouble) + 0.5;
  for (const double sigma : {0.5, 1.0, 2.0}) {
    const auto weight = logit_normal_weight(tau, sigma);
    CHECK(weight.mean().item<double>() == Approx(1).epsilon(1e-6));
    CHECK(weight.min().item<double>() >= 0);
  }
  CHECK(logit_normal_weight(tau)[0].item<double>() < logit_normal_weight(tau)[500].item<double>());
}

TEST_CASE("videos of a batch do not meet, and repeats have their own noise and time", "[flow]") {
  const int64_t b = 2, r = 2, chunks = 3, frames = 2;
  const auto latent = some({b, chunks * frames, 3, 2, 4}, 0.7);
  const auto noise = some({b, r, chunks, frames, 3, 2, 4}, 1.3);
  const auto u = some({b, r, chunks}, 2.1).abs() * 0.99;
  const auto both = make_flow_batch(latent, noise, u, 2, frames);
  const auto entries = static_cast<int64_t>(both.plan.size());
  REQUIRE(entries == (r + 1) * chunks - 1);
  for (int64_t i = 0; i < b; ++i) {
    const auto one = make_flow_batch(latent.narrow(0, i, 1), noise.narrow(0, i, 1),
                                     u.narrow(0, i, 1), 2, frames);
    CHECK(distance(both.entries.narrow(0, i * entries, entries), one.entries) == 0);
    CHECK(distance(both.target.narrow(0, i, 1), one.target) == 0);
    CHECK(distance(both.weight.narrow(0, i, 1), one.weight) == 0);
  }
  // An entry's sample x_t is the clean chunk and t times the velocity.
  const auto noisy = noisy_outputs(both.entries, both.plan, b, r);
  const auto t = shift_time(u, 2).view({b, r, chunks, 1, 1, 1, 1});
  const auto clean = latent.unflatten(1, {chunks, frames}).unsqueeze(1);
  CHECK(distance(noisy, clean + t * both.target) < 1e-14);
  const auto times = both.timesteps.view({b, entries});
  for (int64_t e = 0; e < entries; ++e)
    CHECK((times.select(1, e).abs().sum().item<double>() == 0) ==
          both.plan[static_cast<size_t>(e)].clean);
}

TEST_CASE("the loss weighs every noisy entry by its own weight", "[flow]") {
  const auto target = at::zeros({1, 1, 2, 1, 1, 1, 2}, at::kDouble);
  const auto prediction = at::tensor({1.0, 3.0, 2.0, 0.0}, at::kDouble).view(target.sizes());
  const auto weight = at::tensor({2.0, 0.5}, at::kDouble).view({1, 1, 2});
  // (2 * (1 + 9) + 0.5 * 4) / 4
  CHECK(flow_loss(prediction, target, weight).item<double>() == Approx(5.5));
}

TEST_CASE("noise of another shape than the latents is refused", "[flow]") {
  CHECK_THROWS_AS(make_flow_batch(at::zeros({1, 6, 3, 2, 2}), at::zeros({1, 1, 3, 2, 3, 2, 3}),
                                  at::zeros({1, 1, 3}), 2, 2),
                  Error);
}

TEST_CASE("both samplers end at the clean value when the velocity is constant", "[sampler]") {
  const auto name = GENERATE(as<std::string>(), "euler", "unipc");
  const auto steps = GENERATE(1, 2, 3, 12);
  const auto clean = some({3, 4}, 0.9), noise = some({3, 4}, 2.3);
  // Starts on the line between them, at the largest sigma of the table.
  const auto table = name == "unipc" ? unipc_schedule(steps, 3) : euler_schedule(steps, 3);
  const auto start = clean + table.sigmas[0] * (noise - clean);
  const auto end =
      walk(name, steps, 3, start, [&](const Tensor&, double) { return noise - clean; });
  CHECK(distance(end, clean) < 1e-12);
}

TEST_CASE("UniPC is of the second order and Euler of the first", "[sampler]") {
  // Data N(0, s^2): x = sqrt((1 - t)^2 s^2 + t^2) z along the flow, exactly.
  const double s = 0.5;
  const auto field = [&](const Tensor& x, double t) {
    const double variance = (1 - t) * (1 - t) * s * s + t * t;
    return x * ((t - (1 - t) * s * s) / variance);
  };
  const auto z = some({5}, 1.1);
  const auto error = [&](const std::string& name, int64_t steps) {
    const auto table = name == "unipc" ? unipc_schedule(steps, 2) : euler_schedule(steps, 2);
    const double t = table.sigmas[0];
    const auto start = z * std::sqrt((1 - t) * (1 - t) * s * s + t * t);
    return distance(walk(name, steps, 2, start, field), s * z);
  };
  CHECK(error("unipc", 8) < 0.7 * error("euler", 8));
  // A quarter of the step size: a sixteenth of the error, or a quarter.
  CHECK(error("unipc", 32) < error("unipc", 8) / 12);
  CHECK(error("euler", 32) > error("euler", 8) / 6);
}

TEST_CASE("UniPC tells the network whole times and ends without noise", "[sampler]") {
  const auto table = unipc_schedule(50, 3);
  CHECK(table.timesteps[0] == 999);
  CHECK(table.timesteps[1] == 993);
  CHECK(table.timesteps[2] == 986);
  CHECK(table.timesteps[47] == 160);
  CHECK(table.timesteps[49] == 57);
  CHECK(table.sigmas[50] == 0);
}

TEST_CASE("a sampler that does not exist, no steps or no shift are refused", "[sampler]") {
  CHECK_THROWS_WITH(Sampler("heun", 4, 3), "sampler 'heun': expected euler or unipc");
  CHECK_THROWS_AS(Sampler("euler", 0, 3), Error);
  CHECK_THROWS_AS(Sampler("unipc", 4, 0), Error);
  CHECK_THROWS_AS(Sampler("unipc", 4, NAN), Error);
  Sampler sampler("euler", 1, 3);
  sampler.step(at::zeros({1}), at::zeros({1}));
  CHECK_THROWS_AS(sampler.step(at::zeros({1}), at::zeros({1})), Error);
}
