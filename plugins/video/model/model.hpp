#pragma once
// The autoregressive diffusion transformer: noisy and clean chunks under teacher forcing, or one
// chunk after another. Source: Wan 2.1, arXiv:2505.23884 and the authors' lact_ar_video;
// spec/video 4, 5.

#include "block.hpp"
#include "config.hpp"
#include "fast_layer.hpp"
#include "layout.hpp"

#include <lact/dist/sharded.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/state.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lact::video {

/// One guidance branch of a film. Nothing in it grows with the number of chunks.
struct Memory {
  int64_t chunks = 0;               ///< finished ones, appended
  std::vector<LayerMemory> layers;  ///< of blocks with fast weights; others stay empty
};

class VideoModel {
 public:
  /// `parameters`: those of parameter_shapes().
  VideoModel(const Config& config, Parameters parameters);
  /// Fresh parameters in float32 drawn from `seed` (spec/video 10): the same on every device.
  static VideoModel fresh(const Config& config, uint64_t seed, at::Device device);
  /// Official or diffusers' names, wrapped or not. A model with fast weights takes a plain Wan
  /// file: what that lacks keeps its initial values (from `seed`), which `fresh` lists if given.
  /// Errors   65 naming folder, tensor, expected, found
  static VideoModel load(const Config& config, const io::Checkpoint& checkpoint, at::Device device,
                         at::ScalarType products = at::kFloat,
                         std::vector<std::string>* fresh = nullptr, uint64_t seed = 42);

  const Config& config() const { return config_; }
  /// In the order of parameter_shapes(). Tensors share memory with the model.
  io::NamedTensors parameters() const { return parameters_.all(); }
  /// Copies values in. Errors: 65 if one is missing or has another shape.
  void assign(const io::Checkpoint& checkpoint);

  /// dtype of the matrix products; residual stream, modulation and fast weights stay float32 or
  /// better.
  void set_compute_dtype(at::ScalarType dtype) { compute_ = dtype; }
  at::ScalarType compute_dtype() const { return compute_; }
  void set_recompute(bool on) { recompute_ = on; }
  at::Device device() const;
  /// Tokens of a chunk of latents h x w.
  int64_t chunk_tokens(int64_t h, int64_t w) const;
  /// The learned table of prompts [rows, ...]; undefined with condition "none" or "umt5".
  at::Tensor condition_table() const;

  /// Teacher forcing: the velocity of every entry (of clean ones it means nothing).
  /// x [B * E, c, f, h, w], video-major; t [B * E] in [0, 1000]; text [B, <= text_len, text_dim],
  /// one prompt a video; plan has E entries. Returns [B * E, c, f, h, w].
  /// `taps`, if given, receives intermediates by the names of the golden files, and
  /// "write_strength": Pass::strengths, their mean; undefined if nothing is learned.
  /// `sharing`: processes that make the same call and share its tokens, of which they divide the
  /// number in an entry, and the model's heads. Each gets the velocity of its own_latents(), zeros
  /// elsewhere, and what its tokens contribute to all gradients.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& t, const at::Tensor& text,
                     const std::vector<Entry>& plan, int64_t batch = 1,
                     std::map<std::string, at::Tensor>* taps = nullptr,
                     const dist::Group* sharing = nullptr) const;

  /// From here on this process keeps its part of each block, parameters() has the parts, and blocks
  /// are gathered whenever forward() uses them. For training alone: there are no memories.
  dist::Shards shard(const dist::Group& group);

  // --- one chunk after another; no gradient ---

  /// Text [B, <= text_len, text_dim] as all layers want it: [B, rows, dim]. Computed once a film.
  /// The rows that fill it up to text_len are equal: one stands for all.
  at::Tensor context(const at::Tensor& text) const;
  /// A film of which nothing is finished.
  Memory start(int64_t batch) const;
  /// The memory after a finished chunk x [B, c, f, h, w]: constant cost, whatever came before.
  Memory append(const Memory& memory, const at::Tensor& x, const at::Tensor& context) const;
  /// Velocity of the next chunk at time t in [0, 1000]: [B, c, f, h, w] -> the same shape.
  at::Tensor velocity(const Memory& memory, const at::Tensor& x, double t,
                      const at::Tensor& context) const;
  /// The norm target of updates is taken from the weights before each, as officially
  /// (spec/video 5.5); for golden files.
  void set_running_norm(bool on) { running_norm_ = on; }

 private:
  at::ScalarType wide() const;  ///< of the residual stream
  Pass pass_of(const Sequence& sequence, const at::Tensor& frames, int64_t h, int64_t w) const;
  at::Tensor time_features(const at::Tensor& t) const;
  struct Output {
    at::Tensor velocity;              ///< undefined where only the memory counts
    std::vector<LayerMemory> layers;  ///< empty without a memory
  };
  /// x [B * E, c, f, h, w] through all layers, from a memory or (null) from the parameters.
  Output run(const at::Tensor& x, const at::Tensor& features, const at::Tensor& context,
             const Pass& pass, const Memory* memory, bool velocity) const;
  at::Tensor embed(const at::Tensor& x, const Pass& pass) const;
  at::Tensor head(const at::Tensor& x, const at::Tensor& e, at::IntArrayRef shape,
                  const Pass& pass) const;

  Config config_;
  Parameters parameters_;
  BlockParameters parameters_of(size_t number) const;  ///< of a block
  size_t depth() const { return std::max(blocks_.size(), shards_.size()); }

  std::vector<BlockParameters> blocks_;  // or:
  dist::Shards shards_;                  // of each block
  at::ScalarType compute_ = at::kFloat;
  bool recompute_ = false, running_norm_ = false;
};

/// "layer.I.w0", "w1", "w2" in the published orientation, "layer.I.norm0"..., momentum, "keys",
/// "values", each with `prefix` before it.
std::map<std::string, at::Tensor> to_tensors(const Memory& memory, const std::string& prefix);
/// Errors   65 naming the tensor that is missing, does not fit or is not finite
Memory memory_from(const io::State& state, const std::string& prefix, const VideoModel& model,
                   int64_t chunks, int64_t batch = 1);

}  // namespace lact::video
