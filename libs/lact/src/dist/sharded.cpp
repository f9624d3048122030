#include <lact/dist/sharded.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <utility>

namespace lact::dist {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

/// Vector code ends in another rounding where a slice ends in the middle of a vector.
constexpr int64_t kMultiple = 16;

/// The part at `place` of each row, as one tensor: rows are members.
Tensor joined(const Tensor& rows, int64_t place, int64_t length, at::IntArrayRef shape) {
  int64_t numbers = 1;
  for (const int64_t size : shape) numbers *= size;
  return rows.narrow(1, place, length).reshape(-1).narrow(0, 0, numbers).view(shape);
}

}  // namespace

struct Sharded::Gather : torch::autograd::Function<Gather> {
  static variable_list forward(AutogradContext* context, const Sharded* block,
                               at::TensorList parts) {
    context->saved_data["block"] = reinterpret_cast<int64_t>(block);
    context->set_materialize_grads(false);
    return block->gather(parts.vec());
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto* block = reinterpret_cast<const Sharded*>(context->saved_data["block"].toInt());
    variable_list found{{}};
    for (auto& part : block->scatter(gradients)) found.push_back(std::move(part));
    return found;
  }
};

Sharded::Sharded(const Group& group, const io::NamedTensors& whole) : group_(group) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : whole) {
    const int64_t each = group.size() * kMultiple;
    const int64_t length = (tensor.numel() + each - 1) / each * kMultiple;
    shapes_.emplace_back(tensor.sizes().begin(), tensor.sizes().end());
    parts_.emplace_back(name, at::zeros({length}, tensor.options().requires_grad(false)));
    parts_.back().second = part(parts_.size() - 1, tensor);
    parts_.back().second.requires_grad_(tensor.requires_grad());
    numbers_ += length;
  }
}

io::NamedTensors Sharded::gathered() const {
  std::vector<Tensor> parts;
  for (const auto& [name, part] : parts_) parts.push_back(part);
  const auto tensors = Gather::apply(this, at::TensorList(parts));
  io::NamedTensors named;
  for (size_t i = 0; i < parts_.size(); ++i) named.emplace_back(parts_[i].first, tensors[i]);
  return named;
}

/// Through the host's memory, whatever the device.
std::vector<Tensor> Sharded::gather(const std::vector<Tensor>& parts) const {
  const auto host = parts.at(0).options().device(at::kCPU).requires_grad(false);
  const auto mine = at::empty({numbers_}, host), all = at::empty({group_.size(), numbers_}, host);
  int64_t place = 0;
  for (const auto& part : parts) {
    mine.narrow(0, place, part.numel()).copy_(part);
    place += part.numel();
  }
  group_.all_gather(all, mine)->wait();
  std::vector<Tensor> whole;
  place = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    whole.push_back(joined(all, place, length(i), shapes_[i]).to(parts[i].device()));
    place += length(i);
  }
  return whole;
}

/// On Gloo an exchange and own sums are faster than its reduce-scatter, and their order is known.
std::vector<Tensor> Sharded::scatter(const std::vector<Tensor>& gradients) const {
  const auto& first = parts_.at(0).second;
  const auto host = first.options().device(at::kCPU).requires_grad(false);
  const auto mine = at::zeros({group_.size(), numbers_}, host), all = at::empty_like(mine);
  int64_t place = 0;
  for (size_t i = 0; i < gradients.size(); place += length(i), ++i) {
    if (!gradients[i].defined()) continue;
    const auto padded = at::zeros({group_.size() * length(i)}, host);
    padded.narrow(0, 0, gradients[i].numel()).copy_(gradients[i].reshape(-1));
    mine.narrow(1, place, length(i)).copy_(padded.view({group_.size(), length(i)}));
  }
  group_.all_to_all(all, mine)->wait();
  for (int64_t rank = 1; rank < group_.size(); ++rank) all[0].add_(all[rank]);
  std::vector<Tensor> sums;
  place = 0;
  for (size_t i = 0; i < gradients.size(); place += length(i), ++i)
    sums.push_back(all[0].narrow(0, place, length(i)).clone().to(first.device()));
  return sums;
}

Tensor Sharded::whole(size_t number, const Tensor& part) const {
  const at::NoGradGuard no_grad;
  const auto host = part.options().device(at::kCPU).requires_grad(false);
  const auto all = at::empty({group_.size(), part.numel()}, host);
  group_.all_gather(all, part.to(at::kCPU).contiguous())->wait();
  return joined(all, 0, part.numel(), shapes_.at(number));
}

Tensor Sharded::part(size_t number, const Tensor& whole) const {
  const int64_t size = length(number), begin = std::min(group_.rank() * size, whole.numel()),
                end = std::min(begin + size, whole.numel());
  auto part = at::zeros({size}, whole.options().requires_grad(false));
  part.narrow(0, 0, end - begin).copy_(whole.reshape(-1).slice(0, begin, end));
  return part;
}

}  // namespace lact::dist
