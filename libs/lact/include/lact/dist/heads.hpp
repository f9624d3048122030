#pragma once
// Sequences whose tokens are spread over processes: what tokens do alone is done where they are,
// what heads do alone is done where all tokens of a head are. Source: DeepSpeed Ulysses (Jacobs et
// al., arXiv 2309.14509).

#include <lact/dist/group.hpp>

#include <ATen/core/Tensor.h>

#include <vector>

namespace lact::dist {

/// Of each x [S, l, H, ...], this process's l tokens of S sequences: all tokens of this process's
/// part of the H heads or channels, [S, size l, H / size, ...], in the order of ranks. H is a
/// multiple of size. On any device, through the host's memory.
/// Differentiable, as is the way back: all members make the same calls, and so do their backward
/// passes, each of which leaves the gradients of its own tokens.
std::vector<at::Tensor> to_heads(const Group& group, const std::vector<at::Tensor>& xs);
/// Back: x [S, size l, H / size, ...] -> [S, l, H, ...].
at::Tensor to_tokens(const Group& group, const at::Tensor& x);

}  // namespace lact::dist
