#pragma once
// Tensors of a video VAE by their official names, whichever of its two namings a file has.

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace lact::video {

class VaeFile {
 public:
  /// `where` is what errors name.
  VaeFile(const io::Checkpoint& file, std::string where, at::Device device, at::ScalarType dtype);

  bool has(const std::string& official) const;
  /// A copy of the tensor; a size of -1 fits any above 0. Errors: 65 naming tensor, expected, found
  at::Tensor take(const std::string& official, const std::vector<int64_t>& shape) const;
  /// The gain of a norm, [width] and any number of ones.
  at::Tensor gain(const std::string& official, int64_t width) const;
  /// What the names of a side's list of samplers begin with, in order: encoder.downsamples.0 ... or
  /// encoder.down_blocks.0 ..., decoder.upsamples.0 ... or decoder.up_blocks.0.resnets.0 ...
  std::vector<std::string> samplers(const std::string& side) const;
  /// Errors   65 naming a tensor of encoder or decoder that nobody took: one before it is missing
  void check_all_taken() const;
  /// XXH3 of all that was taken, in the order of the network: the same in both namings.
  std::string identity() const { return hash_.digest(); }
  /// Of something that remembers frames: numbered, so that both namings agree.
  std::string next_key();

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw Error(Exit::data, where_, ": ", parts...);
  }

 private:
  std::string stored(std::string official) const;
  bool has_any(const std::string& prefix) const;

  const io::Checkpoint& file_;
  std::string where_;
  at::Device device_;
  at::ScalarType dtype_;
  bool port_;  // diffusers' AutoencoderKLWan
  mutable std::set<std::string> taken_;
  mutable io::Xxh3 hash_;
  int64_t keys_ = 0;
};

}  // namespace lact::video
