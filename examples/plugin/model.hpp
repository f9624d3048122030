#pragma once
// A model that predicts the next row of a series from all rows before it: blocks of window
// attention with fast weights, and a feed-forward network.

#include <lact/io/checkpoint.hpp>
#include <lact/nn/lact_layer.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace series {

struct Config {
  int64_t columns = 0, width = 64, layers = 2, heads = 2, chunk = 64, window = 32;
};

class Model {
 public:
  /// Random parameters. `mean` and `deviation` [columns] are those of the training data.
  static Model fresh(const Config& config, const at::Tensor& mean, const at::Tensor& deviation,
                     uint64_t seed);
  /// Errors   65 if config.json or a tensor is not what it should be
  static Model load(const lact::io::Checkpoint& checkpoint);
  void assign(const lact::io::Checkpoint& checkpoint);
  void save(lact::io::CheckpointWriter& writer) const;

  /// The type of the products; parameters stay float32.
  void set_compute_dtype(at::ScalarType dtype) { compute_ = dtype; }

  /// What is trained, by name.
  lact::io::NamedTensors parameters() const { return parameters_.all(); }
  const Config& config() const { return config_; }

  /// To the units the model works in, and back. rows [.., columns].
  at::Tensor standard(const at::Tensor& rows) const;
  at::Tensor original(const at::Tensor& rows) const;

  /// The prediction of the row that follows each. x [B, L, columns] -> the same shape, both in
  /// standard units.
  at::Tensor predict(const at::Tensor& x) const;
  /// The same for rows that continue what the streams have read. x [1, T, columns].
  using Streams = std::vector<lact::nn::LactLayerStream>;
  Streams start() const;
  at::Tensor predict(const at::Tensor& x, Streams& streams) const;

 private:
  struct Block {
    at::Tensor mix_norm, mlp_norm, gate, up, down;
    lact::nn::Parameters mix;
  };

  Model(const Config& config, const lact::nn::Parameters& parameters, const at::Tensor& mean,
        const at::Tensor& deviation);
  template <class Mix>
  at::Tensor run(const at::Tensor& x, const Mix& mix) const;

  Config config_;
  lact::nn::LactLayerOptions mixing_;
  at::ScalarType compute_ = at::kFloat;
  lact::nn::Parameters parameters_;
  at::Tensor mean_, deviation_;  // [columns]
  std::vector<Block> blocks_;
};

}  // namespace series
