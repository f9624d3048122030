#pragma once
// Parameters of which each process keeps a part: gathered for use, their gradients summed and cut.
// Source: ZeRO, stage 3 (Rajbhandari et al., arXiv 1910.02054).

#include <lact/dist/group.hpp>
#include <lact/io/safetensors.hpp>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace lact::dist {

/// The parameters of one block, which are used together. All members gather the same blocks in the
/// same order, forward and backward, and each calls its own backward pass as often.
class Sharded {
 public:
  /// `whole`: the same on all members, float32; not used afterwards. The group outlives this, and
  /// this the graphs it is part of.
  Sharded(const Group& group, const io::NamedTensors& whole);

  /// This process's part of each, flat and padded with zeros: leaves for an optimizer that works on
  /// each number alone. They require gradients where the whole tensors did.
  const io::NamedTensors& parts() const { return parts_; }
  /// The whole tensors under their names. Differentiable: the backward pass leaves in each part the
  /// sum over members of its gradient.
  io::NamedTensors gathered() const;

  const std::vector<int64_t>& shape(size_t number) const { return shapes_.at(number); }
  /// What all members have of one parameter, or of its moments, put together.
  at::Tensor whole(size_t number, const at::Tensor& part) const;
  /// This process's part.
  at::Tensor part(size_t number, const at::Tensor& whole) const;

 private:
  struct Gather;
  int64_t length(size_t number) const { return parts_[number].second.numel(); }
  std::vector<at::Tensor> gather(const std::vector<at::Tensor>& parts) const;
  std::vector<at::Tensor> scatter(const std::vector<at::Tensor>& gradients) const;

  const Group& group_;
  io::NamedTensors parts_;
  std::vector<std::vector<int64_t>> shapes_;
  int64_t numbers_ = 0;  ///< of all parts
};

/// Of all blocks, in the order of their use.
using Shards = std::vector<std::shared_ptr<const Sharded>>;

}  // namespace lact::dist
