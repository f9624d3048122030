#pragma once
// The views model: posed images in, fast weights, new views out. Source: arXiv:2505.23884 and the
// authors' lact_nvs; spec/views 4, 5.

#include "config.hpp"
#include "rays.hpp"
#include "sublayers.hpp"

#include <lact/dist/sharded.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/ops/scan.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lact::views {

/// The fast weights of all layers after reading: what a scene has been compressed into.
using SceneWeights = std::vector<ops::FastWeights>;

class ViewModel {
 public:
  /// `parameters`: those of parameter_shapes().
  ViewModel(const Config& config, Parameters parameters);
  /// Fresh parameters in float32, drawn from `seed`: the same on every device (spec/views 4.5).
  static ViewModel fresh(const Config& config, uint64_t seed, at::Device device);
  /// Config (or what names and shapes tell of it) and parameters, for products in `products`.
  /// Errors: 65 naming folder, tensor, expected, found.
  static ViewModel load(const io::Checkpoint& checkpoint, at::Device device,
                        at::ScalarType products = at::kFloat);

  const Config& config() const { return config_; }
  /// In the order of parameter_shapes(). Tensors share memory with the model.
  io::NamedTensors parameters() const { return parameters_.all(); }
  /// Copies values in by published name. Errors: 65 if one is missing or has another shape.
  void assign(const io::Checkpoint& checkpoint);

  /// dtype of the matrix products (float32, bfloat16, float64 for tests).
  void set_compute_dtype(at::ScalarType dtype) { compute_ = dtype; }
  at::ScalarType compute_dtype() const { return compute_; }
  /// Config::muon_dtype, Config::normalize_poses: of a file that does not say.
  void set_muon_dtype(const std::string& word) { config_.muon_dtype = word; }
  /// Config::learn, whatever the model was trained with. Errors: 64
  void set_learn(const std::string& word);
  void set_normalize_poses(const std::string& word) { config_.normalize_poses = word; }
  /// Multiplies the first values of the input layer by (M + 1e-3)^-1/2 over the 12 channels of a
  /// pixel, where M are their second moments in `views`, averaged over patches: so origins,
  /// directions and colours reach the tokens with the same strength. For models that have not been
  /// trained.
  void whiten_input(const Posed& views);
  /// Keep only block inputs in the forward pass and recompute the rest in the backward pass.
  void set_recompute(bool on) { recompute_ = on; }
  at::Device device() const;

  /// From here on this process keeps its part of each block, parameters() has the parts, and blocks
  /// are gathered whenever forward() and write_strength() use them. For training alone.
  dist::Shards shard(const dist::Group& group);

  /// Updates the fast weights on the context views [B, V], then renders the target views [B, T]:
  /// [B, T, 3, h, w] in [0, 1]. Images of targets are not looked at. h and w are those of the input
  /// images and multiples of the patch. `taps`, if given, receives "tokens" and "block.I", [B,
  /// tokens, d].
  /// `options.exchange`: the views are split over processes, each of which calls it with some.
  at::Tensor forward(const Posed& context, const Posed& targets,
                     std::map<std::string, at::Tensor>* taps = nullptr,
                     const ops::ScanOptions& options = {}) const;

  /// The mean over the layers of write_strength(), for the views of forward() [1, V], [1, T].
  double write_strength(const Posed& context, const Posed& targets) const;

  /// A scene in which nothing has been read: the parameters.
  SceneWeights start() const;
  /// Reads views [V] of one scene; what the weights held before stays and is added to. One update a
  /// layer from all of them, tile by tile, so that beside the images memory grows by one residual
  /// stream (tokens * dim numbers). Records no gradient. `progress` hears, after every
  /// tile, of tokens * layers done.
  /// `options.exchange`: the views are split over processes, each of which calls it with some or
  /// none; all get the weights of all.
  SceneWeights reconstruct(const Posed& views, const SceneWeights& from,
                           const std::function<void(int64_t)>& progress = {},
                           const ops::ScanOptions& options = {}) const;
  /// Renders views [T] from a scene: [T, 3, h, w] in [0, 1]. Each is as if it were alone.
  at::Tensor render(const Posed& views, const SceneWeights& scene, int64_t height,
                    int64_t width) const;

  /// Tokens that are worked on at once outside of training; views stay whole.
  void set_tile(int64_t tokens) { tile_ = tokens; }

 private:
  int64_t tokens_per_view(int64_t height, int64_t width) const;
  at::Tensor embed(const Posed& views, int64_t height, int64_t width) const;  ///< [..., V * l, d]
  at::Tensor residual(const at::Tensor& x) const;  ///< in the residual stream's dtype
  at::Tensor decode(const at::Tensor& x, int64_t height, int64_t width) const;
  ops::FastState state_of(const Sublayer& s, const Parameters& p, const ops::FastWeights& w) const;
  /// A sublayer with fast weights over all of x [1, L, d], in place.
  void update_and_apply(const Sublayer& s, const Parameters& p, at::Tensor& x, int64_t step,
                        ops::FastWeights& w, const std::function<void(int64_t)>& passed,
                        const ops::ScanOptions& options) const;
  /// Another sublayer, in place.
  void add(const Sublayer& s, const Parameters& p, at::Tensor& x, int64_t step,
           int64_t tokens_per_view, const std::function<void(int64_t)>& passed) const;

  Config config_;
  Parameters parameters_;
  at::Tensor input_linear_, input_norm_, output_norm_, output_linear_;
  using Layer = std::vector<Parameters>;  ///< [sublayers]
  Layer layer_of(const Parameters& p) const;
  Layer layer(size_t number) const;
  size_t depth() const { return std::max(layers_.size(), shards_.size()); }

  std::vector<Layer> layers_;  // or:
  dist::Shards shards_;        // of each layer
  at::ScalarType compute_ = at::kFloat;
  bool recompute_ = false;
  int64_t tile_ = 16384;
};

}  // namespace lact::views
