#include "flow.hpp"

#include <lact/error.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/logit.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/special_erf.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <map>

namespace lact::video {
namespace {

using at::Tensor;

/// A value per noisy entry beside the entry's elements: [B, r, chunks, 1, 1, 1, 1].
Tensor beside_elements(const Tensor& value) {
  return value.view({value.size(0), value.size(1), value.size(2), 1, 1, 1, 1});
}

/// Probability that a logit-normal variable is below s.
Tensor logit_normal_cdf(const Tensor& s, double sigma) {
  const auto normal = at::logit(s.clamp(1e-7, 1 - 1e-7)) / (std::sqrt(2.0) * sigma);
  return 0.5 * (1 + at::special_erf(normal));
}

void check_shapes(const Tensor& latent, const Tensor& noise, const Tensor& u, int64_t frames) {
  if (latent.dim() != 5 || u.dim() != 3 || frames < 1)
    throw Error(Exit::internal,
                "flow batch: expected latents [B, f, c, h, w] and times of three "
                "axes, found ",
                latent.sizes(), " and ", u.sizes());
  const auto want = std::vector<int64_t>{latent.size(0), u.size(1),      u.size(2),     frames,
                                         latent.size(2), latent.size(3), latent.size(4)};
  if (latent.size(1) != u.size(2) * frames || u.size(0) != latent.size(0) ||
      noise.sizes() != at::IntArrayRef(want))
    throw Error(Exit::internal, "flow batch: latents ", latent.sizes(), ", times ", u.sizes(),
                " and chunks of ", frames, " frames want noise ", at::IntArrayRef(want), ", found ",
                noise.sizes());
}

}  // namespace

Tensor shift_time(const Tensor& u, double shift) {
  return u * shift / (1 + (shift - 1) * u);
}

double auto_shift(int64_t tokens) {
  // The line between ln 3 at 32760 tokens and ln 5 at 73710.
  const double slope = (std::log(5.0) - std::log(3.0)) / (73710 - 32760);
  return std::exp(std::log(3.0) + slope * (static_cast<double>(tokens) - 32760));
}

Tensor logit_normal_weight(const Tensor& tau, double sigma) {
  // In float64: the difference of two neighbouring probabilities.
  const auto low = tau.to(at::kDouble).floor();
  const auto mass = logit_normal_cdf((low + 1) / 1000, sigma) - logit_normal_cdf(low / 1000, sigma);
  return (1000 * mass).to(tau.scalar_type());
}

FlowBatch make_flow_batch(const Tensor& latent, const Tensor& noise, const Tensor& u, double shift,
                          int64_t frames, double sigma) {
  check_shapes(latent, noise, u, frames);
  const int64_t repeats = u.size(1), chunks = u.size(2);
  const auto clean = latent.unflatten(1, {chunks, frames});  // [B, chunks, frames, c, h, w]
  const auto t = shift_time(u, shift);                       // [B, r, chunks]
  const auto s = beside_elements(t).to(latent.scalar_type());
  const auto noisy = (1 - s) * clean.unsqueeze(1) + s * noise;  // [B, r, chunks, frames, c, h, w]
  FlowBatch batch;
  batch.plan = make_plan(chunks, repeats);
  std::vector<Tensor> entries, times;
  std::vector<int64_t> seen(static_cast<size_t>(chunks), 0);
  for (const auto& entry : batch.plan) {
    if (entry.clean) {
      entries.push_back(clean.select(1, entry.chunk));
      times.push_back(at::zeros_like(t.select(1, 0).select(1, 0)));
      continue;
    }
    const int64_t repeat = seen[static_cast<size_t>(entry.chunk)]++;
    entries.push_back(noisy.select(1, repeat).select(1, entry.chunk));
    times.push_back(1000 * t.select(1, repeat).select(1, entry.chunk));
  }
  batch.entries = at::stack(entries, 1).flatten(0, 1).transpose(1, 2);  // [B E, c, frames, h, w]
  batch.timesteps = at::stack(times, 1).flatten();                      // [B E]
  batch.target = noise - clean.unsqueeze(1);
  batch.weight = logit_normal_weight(1000 * u.to(at::kDouble), sigma).to(u.scalar_type());
  return batch;
}

Tensor noisy_outputs(const Tensor& prediction, const std::vector<Entry>& plan, int64_t batch,
                     int64_t repeats) {
  std::vector<int64_t> noisy;
  for (size_t i = 0; i < plan.size(); ++i)
    if (!plan[i].clean) noisy.push_back(static_cast<int64_t>(i));
  const auto index = at::tensor(noisy, at::kLong).to(prediction.device());
  return prediction.unflatten(0, {batch, static_cast<int64_t>(plan.size())})
      .transpose(2, 3)
      .index_select(1, index)  // [B, chunks r, frames, c, h, w]
      .unflatten(1, {-1, repeats})
      .transpose(1, 2);  // [B, r, chunks, frames, c, h, w]
}

Tensor flow_loss(const Tensor& prediction, const Tensor& target, const Tensor& weight) {
  const auto each = beside_elements(weight).to(prediction.scalar_type());
  return ((prediction - target).square() * each).mean();
}

double write_strength(const VideoModel& model, const Tensor& latent, const Tensor& noise,
                      const Tensor& text) {
  const at::NoGradGuard no_grad;
  const auto times = at::full({latent.size(0), 1, noise.size(2)}, kVelocityTime, noise.options());
  const auto flow = make_flow_batch(latent, noise, times, /*shift=*/1, model.config().chunk_frames);
  std::map<std::string, Tensor> taps;
  model.forward(flow.entries, flow.timesteps, text, flow.plan, latent.size(0), &taps);
  const auto found = taps.find("write_strength");
  return found == taps.end() ? 0 : found->second.item<double>();
}

double write_strength(const VideoModel& model, int64_t h, int64_t w, uint64_t seed) {
  const auto& config = model.config();
  const int64_t f = config.chunk_frames;
  const auto generator = at::detail::createCPUGenerator(seed);
  const auto latent = at::randn({1, 2 * f, config.in_dim, h, w}, generator, at::kFloat);
  const auto noise = at::randn({1, 1, 2, f, config.in_dim, h, w}, generator, at::kFloat);
  return write_strength(model, latent.to(model.device()), noise.to(model.device()),
                        at::zeros({1, 1, config.text_dim}).to(model.device()));
}

double fresh_write_strength(Config config, int64_t h, int64_t w, uint64_t seed, at::Device device) {
  config.num_layers = 1;
  if (!config.has_fast(0)) return 0;
  return write_strength(VideoModel::fresh(config, seed, device), h, w, seed);
}

}  // namespace lact::video
