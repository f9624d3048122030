#pragma once
// The LaCT language model: published parameter names, training forward, exact streaming.
// Source: arXiv:2505.23884 and the authors' lact_swiglu; spec/llm 5 to 7, 12.

#include "config.hpp"

#include <lact/dist/sharded.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/state.hpp>
#include <lact/nn/lact_layer.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace lact::text {

/// What at a document boundary starts anew.
enum class Reset { none, attention, all };

/// Published names and shapes of all parameters, in the order of the specification's table.
nn::Shapes parameter_shapes(const Config& config);

/// How the fast weights are updated, in full precision.
ops::Rule rule(const Config& config);
/// What a layer is made of, for products in `compute`.
nn::LactLayerOptions layer_options(const Config& config, at::ScalarType compute);

class LanguageModel {
 public:
  /// `parameters`: those of parameter_shapes().
  LanguageModel(const Config& config, nn::Parameters parameters);
  /// Fresh parameters in float32, drawn from `seed`: the same on every device (spec/llm 8).
  static LanguageModel fresh(const Config& config, uint64_t seed, at::Device device);
  /// Config and parameters of a model directory, for products in `products`: large matrices are
  /// stored in that dtype. Errors: 65 naming folder, tensor, expected, found.
  static LanguageModel load(const io::Checkpoint& checkpoint, at::Device device,
                            at::ScalarType products = at::kFloat);

  const Config& config() const { return config_; }
  /// In the order of parameter_shapes(). Tensors share memory with the model.
  io::NamedTensors parameters() const { return parameters_.all(); }
  /// Copies values in by published name. Errors: 65 if one is missing or has another shape.
  void assign(const io::Checkpoint& checkpoint);

  /// dtype of the matrix products (float32, bfloat16, float64 for tests).
  void set_compute_dtype(at::ScalarType dtype) { compute_ = dtype; }
  at::ScalarType compute_dtype() const { return compute_; }
  /// Tokens that share one update, whatever the model was trained with. Streams begun before do not
  /// go on.
  void set_chunk_size(int64_t tokens) { config_.lact_chunk_size = tokens; }
  /// Config::learn, whatever the model was trained with: "none" is the model that has stopped
  /// learning while it reads. Streams begun before do not go on. Errors: 64
  void set_learn(const std::string& word);
  /// Keep only block inputs in the forward pass and recompute the rest in the backward pass.
  void set_recompute(bool on) { recompute_ = on; }

  /// From here on this process keeps its part of each layer, parameters() has the parts, and
  /// layers are gathered whenever forward(), loss() and write_strength() use them. For training
  /// alone: there are no streams.
  dist::Shards shard(const dist::Group& group);

  /// ids [B, L] int64 -> logits [B, L, vocab_size].
  /// `documents`, [B, L] int64 or undefined: a token starts a document where its number differs
  /// from the one before it; `reset` says what that means.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& documents = {},
                     Reset reset = Reset::all) const;

  /// Mean next-token cross entropy, labels aligned with ids and shifted here, -100 skipped.
  at::Tensor loss(const at::Tensor& ids, const at::Tensor& labels, const at::Tensor& documents = {},
                  Reset reset = Reset::all) const;

  /// nn::write_strength of the layers, on the first row of ids [B, L]: their mean. 0 if the row is
  /// not longer than a chunk, or nothing is learned.
  double write_strength(const at::Tensor& ids) const;
  /// The same on random tokens that are as unequal as words, where no text is at hand.
  double write_strength(uint64_t seed) const;
  /// That of fresh parameters: of one layer, whatever the depth.
  static double fresh_write_strength(Config config, uint64_t seed, at::Device device);

  /// One sequence (or a batch of equal lengths) being read: constant memory, however long.
  struct Stream {
    int64_t position = 0;  ///< tokens read so far
    std::vector<nn::LactLayerStream> layers;
  };
  Stream start(int64_t batch) const;
  /// Reads ids [B, T], in one group. Returns the logits of all T positions, or (all = false) of the
  /// last one, [B, 1, vocab_size]. Equal to forward() over the whole sequence (spec/llm 12).
  at::Tensor feed(Stream& stream, const at::Tensor& ids, bool all = false) const;
  /// The next token of each of several sequences (streams of batch 1), wherever they stand: ids
  /// [B, 1] -> logits [B, 1, vocab_size]. Equal to B calls but for rounding (nn::lact_layer).
  at::Tensor feed(const std::vector<Stream*>& streams, const at::Tensor& ids) const;

  /// The stream as named tensors and back; exact. Restoring checks shapes (Errors: 65).
  void save(const Stream& stream, io::State& state) const;
  Stream restore(const io::State& state) const;

 private:
  struct Layer {
    at::Tensor attn_norm, mlp_norm, gate_proj, up_proj, down_proj;
    nn::Parameters mixing;
  };
  static Layer layer_of(const nn::Parameters& p);
  Layer layer(size_t number) const;
  size_t depth() const { return std::max(layers_.size(), shards_.size()); }
  at::Tensor embed(const at::Tensor& ids) const;  // [B, L] -> [B, L, d]
  const at::Tensor& output_embeddings() const {
    return config_.tie_word_embeddings ? embeddings_ : lm_head_;
  }
  at::Tensor head(const at::Tensor& x) const;  // [B, L, d] -> [B, L, vocab_size]
  template <class Mix>
  at::Tensor block(const Layer& layer, const at::Tensor& x, const Mix& mix) const;
  at::Tensor hidden(const at::Tensor& ids, const at::Tensor& documents, Reset reset) const;

  Config config_;
  nn::Parameters parameters_;
  at::Tensor embeddings_, norm_, lm_head_;  // lm_head_ undefined when tied
  std::vector<Layer> layers_;               // or:
  dist::Shards shards_;                     // of each layer
  at::ScalarType compute_ = at::kFloat;
  bool recompute_ = false;
};

}  // namespace lact::text
