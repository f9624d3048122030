// Golden kinds of flow matching: tables, samplers, teacher-forced batches, averages of parameters.
#include "golden.hpp"

#include <plugins/video/film/sampler.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/train/averages.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>

#include <cstdio>

namespace lact::video {
namespace {

using at::Tensor;
using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kMost = 4096;  // of a size that a case states

struct Setting {
  int64_t steps;
  double shift;
  std::string name;  ///< "50_3"
};

std::vector<Setting> settings_of(const Golden& file) {
  std::vector<Setting> all;
  for (const auto& pair : file.option("settings")) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() ||
        !pair[1].is_number())
      file.refuse("case: settings: expected [steps, shift], found ", pair.dump());
    const int64_t steps = pair[0];
    const double shift = pair[1];
    if (steps < 1 || steps > 1000 || !(shift > 0) || shift > 1000)
      file.refuse("case: settings: expected 1 to 1000 steps and a shift in (0, 1000], found ",
                  pair.dump());
    char name[64];
    std::snprintf(name, sizeof name, "%lld_%g", static_cast<long long>(steps), shift);
    all.push_back({steps, shift, name});
  }
  return all;
}

Tensor numbers(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble);
}

Computed schedules(Golden& file) {
  Dim U("U"), T("T"), N("N");
  const auto u = file.input("in.u", {U}), t = file.input("in.t", {T});
  const auto tokens = file.integers("in.tokens", {N}, 1, int64_t{1} << 40).cpu();
  std::vector<double> shifts;
  for (int64_t i = 0; i < N.size; ++i)
    shifts.push_back(auto_shift(tokens.const_data_ptr<int64_t>()[i]));
  Computed out{{"out.shifted_3", shift_time(u, 3)},
               {"out.shifted_2p1", shift_time(u, 2.1)},
               {"out.weight_sigma1", logit_normal_weight(t)},
               {"out.weight_sigma0p5", logit_normal_weight(t, 0.5)},
               {"out.auto_shift", numbers(shifts)}};
  for (const auto& [steps, shift, name] : settings_of(file)) {
    const auto unipc = unipc_schedule(steps, shift), euler = euler_schedule(steps, shift);
    out["out.unipc_" + name + ".sigmas"] = numbers(unipc.sigmas);
    out["out.unipc_" + name + ".timesteps"] = numbers(unipc.timesteps).to(at::kLong);
    out["out.euler_" + name + ".sigmas"] = numbers(euler.sigmas);
    out["out.euler_" + name + ".timesteps"] = numbers(euler.timesteps);
  }
  return out;
}

/// Samples after every step in the velocity field tanh(x M) + sigma x.
Computed samplers(Golden& file) {
  Dim N("N"), D("D");
  const auto start = file.input("in.x", {N, D}), matrix = file.input("in.matrix", {D, D});
  Computed out;
  for (const auto& [steps, shift, name] : settings_of(file))
    for (const std::string sampler : {"unipc", "euler"}) {
      const auto table =
          sampler == "unipc" ? unipc_schedule(steps, shift) : euler_schedule(steps, shift);
      Sampler way(sampler, steps, shift);
      auto x = start;
      std::vector<Tensor> path;
      for (int64_t i = 0; i < steps; ++i) {
        const auto field =
            at::tanh(at::matmul(x, matrix)) + table.sigmas[static_cast<size_t>(i)] * x;
        path.push_back(x = way.step(field, x));
      }
      out["out." + sampler + "_" + name] = at::stack(path);
    }
  return out;
}

Computed flow_batch(Golden& file) {
  const int64_t frames = file.integer("frames", 1, kMost), r = file.integer("repeats", 1, kMost);
  const double shift = auto_shift(file.integer("shift_tokens", 1, int64_t{1} << 40));
  Dim B("B"), R("repeats", r), C("chunks", file.integer("chunks", 1, kMost)), F("frames", frames),
      all("f", frames * C.size), c("c"), h("h"), w("w");
  const auto latent = file.input("in.latent", {B, all, c, h, w});
  const auto noise = file.input("in.noise", {B, R, C, F, c, h, w});
  const auto batch = make_flow_batch(latent, noise, file.input("in.u", {B, R, C}), shift, frames);
  const auto prediction = noisy_outputs(batch.entries * 0.5 + 0.1, batch.plan, B.size, r);
  std::vector<int64_t> chunk, clean;
  for (const auto& entry : batch.plan) {
    chunk.push_back(entry.chunk);
    clean.push_back(entry.clean);
  }
  return {{"out.shift", at::scalar_tensor(shift, at::kDouble)},
          {"out.entries", batch.entries},
          {"out.timesteps", batch.timesteps},
          {"out.target", batch.target},
          {"out.weight", batch.weight},
          {"out.pred", prediction},
          {"out.loss", flow_loss(prediction, batch.target, batch.weight)},
          {"out.plan_chunk", at::tensor(chunk, at::kLong)},
          {"out.plan_clean", at::tensor(clean, at::kLong)}};
}

Computed ema(Golden& file) {
  Dim steps("steps"), N("N");
  const auto path = file.input("in.param", {steps, N});
  if (steps.size < 2) file.refuse("in.param: expected two or more rows, found ", steps.size);
  const auto parameter = path[0].to(at::kFloat).clone();
  train::Averages averages({{"parameter", parameter}}, file.number("weight"));
  std::vector<Tensor> seen;
  for (int64_t i = 1; i < steps.size; ++i) {
    parameter.copy_(path[i]);
    averages.update();
    seen.push_back(averages.values().front().clone());
  }
  return {{"out.ema", at::stack(seen)}};
}

}  // namespace

std::vector<verify::GoldenKind> flow_kinds() {
  return {{"schedules", "in.tokens", schedules},
          {"samplers", "in.matrix", samplers},
          {"flow_batch", "in.noise", flow_batch},
          {"ema", "in.param", ema}};
}

}  // namespace lact::video
