#pragma once
// Who stands where in a sequence of noisy and clean chunks. Source: spec/video 3, 4.2.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

namespace lact::video {

/// One chunk-sized slot of the training sequence.
struct Entry {
  int64_t chunk = 0;
  bool clean = false;
  bool operator==(const Entry&) const = default;
};

/// noisy_0 x repeats, clean_0, noisy_1 x repeats, clean_1, ..., noisy_last x repeats.
std::vector<Entry> make_plan(int64_t chunks, int64_t repeats = 1);

/// Latent frame indices of all entries: [entries * frames], int64.
at::Tensor plan_frames(const std::vector<Entry>& plan, int64_t frames);

/// True at latents [frames, h, w] of an entry whose patches are rank `rank`'s of `size` processes:
/// of equally many tokens, in their order.
at::Tensor own_latents(const std::array<int64_t, 3>& patch, int64_t frames, int64_t h, int64_t w,
                       int64_t rank, int64_t size);

/// True where the query token (row) may look at the key token (column): what golden files hold
/// (kind window_masks), and what the layers' grouped attention, which needs no mask, is tested
/// against. [E n, E n]; kv: tokens of the finished chunk before.
at::Tensor window_mask(const std::vector<Entry>& plan, int64_t tokens, int64_t kv);

/// A token's angles (time, height, width) in float64: [frames * h * w, head_dim / 2].
at::Tensor rotary_angles(int64_t head_dim, const at::Tensor& frames, int64_t h, int64_t w);
/// Their cosines and sines.
struct Rotary3d {
  at::Tensor cos, sin;
};
Rotary3d rotary_3d(int64_t head_dim, const at::Tensor& frames, int64_t h, int64_t w);
/// x [B, L, heads, head_dim]: neighbouring channels turn as a pair; tokens past the table stay. For
/// golden files (kind rope3d) and tests; layers turn within nn's passes, by the same turns().
at::Tensor rotate_pairs(const at::Tensor& x, const Rotary3d& table);

}  // namespace lact::video
