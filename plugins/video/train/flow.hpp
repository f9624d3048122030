#pragma once
// Flow matching: times, weights, the teacher-forced batch and its loss. Source: spec/video 6.

#include <plugins/video/model/layout.hpp>
#include <plugins/video/model/model.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lact::video {

/// The time at which velocities tell what is remembered: the noisy chunk itself says little
/// (spec/video 10).
constexpr double kVelocityTime = 0.9;

/// s u / (1 + (s - 1) u)
at::Tensor shift_time(const at::Tensor& u, double shift);
/// The shift for chunks of `tokens` tokens.
double auto_shift(int64_t tokens);
/// 1000 times the probability that a logit-normal variable falls in [floor(tau), floor(tau) + 1) /
/// 1000; tau = 1000 u, not shifted.
at::Tensor logit_normal_weight(const at::Tensor& tau, double sigma = 1);

struct FlowBatch {
  at::Tensor entries;    ///< [B * E, c, frames, h, w], video-major
  at::Tensor timesteps;  ///< [B * E] in [0, 1000]; clean ones 0
  std::vector<Entry> plan;
  at::Tensor target;  ///< velocity of noisy entries [B, r, chunks, frames, c, h, w]
  at::Tensor weight;  ///< [B, r, chunks]
};
/// latent [B, f, c, h, w]; noise [B, r, chunks, frames, c, h, w]; u [B, r, chunks] in [0, 1).
FlowBatch make_flow_batch(const at::Tensor& latent, const at::Tensor& noise, const at::Tensor& u,
                          double shift, int64_t frames, double sigma = 1);
/// [B * E, c, frames, h, w] -> [B, r, chunks, frames, c, h, w]; clean entries are dropped.
at::Tensor noisy_outputs(const at::Tensor& prediction, const std::vector<Entry>& plan,
                         int64_t batch, int64_t repeats);
/// Mean over noisy entries and elements of w (prediction - target)^2.
at::Tensor flow_loss(const at::Tensor& prediction, const at::Tensor& target,
                     const at::Tensor& weight);

/// How much of what the fast weights give noisy chunks at `kVelocityTime` changes as clean ones
/// before them are read: Pass::strengths, their mean. latent and noise as make_flow_batch, text as
/// VideoModel::forward. 0 if nothing is learned.
double write_strength(const VideoModel& model, const at::Tensor& latent, const at::Tensor& noise,
                      const at::Tensor& text);
/// The same on two chunks of random latents h x w, where no clip is at hand.
double write_strength(const VideoModel& model, int64_t h, int64_t w, uint64_t seed);
/// That of fresh parameters: of one block, whatever the depth.
double fresh_write_strength(Config config, int64_t h, int64_t w, uint64_t seed, at::Device device);

}  // namespace lact::video
