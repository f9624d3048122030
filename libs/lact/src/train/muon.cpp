#include <lact/error.hpp>
#include <lact/ops/scan.hpp>
#include <lact/train/muon.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace lact::train {

using at::Tensor;

Muon::Muon(std::vector<Parameter> parameters, const MuonOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  const at::NoGradGuard no_grad;
  std::map<std::pair<int64_t, int64_t>, std::vector<size_t>> groups;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor, decay, rate, matrices] = parameters_[i];
    if (matrices < 1 || tensor.dim() < 2 || tensor.numel() % (matrices * tensor.size(-1)) != 0)
      throw Error(Exit::internal, "parameter ", name, ": not ", matrices, " matrices");
    const int64_t columns = tensor.size(-1), rows = tensor.numel() / matrices / columns;
    momentum_.push_back(
        at::zeros({matrices, rows, columns}, tensor.options().requires_grad(false)));
    groups[{rows, columns}].push_back(i);
  }
  for (auto& [shape, members] : groups)
    groups_.push_back({shape.first, shape.second, std::move(members)});
}

void Muon::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  ops::NewtonSchulz how;
  how.steps = ops::NewtonSchulz::keller_jordan();
  how.square_first = true;
  how.dtype = options_.iterate;
  for (const auto& group : groups_) {
    std::vector<Tensor> directions;
    for (const size_t i : group.members) {
      auto& momentum = momentum_[i];
      const auto& given = parameters_[i].tensor.grad();
      const auto gradient =
          given.defined() ? given.view(momentum.sizes()) : at::zeros_like(momentum);
      momentum.lerp_(gradient, 1 - options_.momentum);
      directions.push_back(gradient.lerp(momentum, options_.momentum));
    }
    const auto steps = ops::orthogonalize(at::cat(directions), how);
    const double size = std::sqrt(
        std::max(1.0, static_cast<double>(group.rows) / static_cast<double>(group.columns)));
    int64_t place = 0;
    for (const size_t i : group.members) {
      const auto& parameter = parameters_[i];
      const double rate = learning_rate * parameter.learning_rate;
      const int64_t count = momentum_[i].size(0);
      auto matrices = parameter.tensor.view(momentum_[i].sizes());
      if (parameter.decay) matrices.mul_(1 - rate * options_.weight_decay);
      matrices.sub_(steps.slice(0, place, place + count), rate * size);
      place += count;
    }
  }
}

io::NamedTensors Muon::state() const {
  io::NamedTensors state;
  for (size_t i = 0; i < parameters_.size(); ++i)
    state.emplace_back("momentum_buffer." + parameters_[i].name,
                       momentum_[i].view(parameters_[i].tensor.sizes()));
  return state;
}

}  // namespace lact::train
