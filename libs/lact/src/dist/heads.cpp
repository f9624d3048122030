#include <lact/dist/heads.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace lact::dist {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Cuts x at `cut` into equal parts for the ranks, and joins what comes from them at `join`.
std::vector<Tensor> exchanged(const Group& group, const std::vector<Tensor>& xs, int64_t cut,
                              int64_t join) {
  std::vector<Tensor> sent, got;
  std::vector<Work> under_way;
  for (const auto& x : xs) {
    sent.push_back(x.detach().to(at::kCPU).unflatten(cut, {group.size(), -1}).movedim(cut, 0));
    sent.back() = sent.back().contiguous();
    got.push_back(at::empty_like(sent.back()));
    under_way.push_back(group.all_to_all(got.back(), sent.back()));
  }
  for (size_t i = 0; i < xs.size(); ++i) {
    under_way[i]->wait();
    got[i] = got[i].movedim(0, join).flatten(join, join + 1).to(xs[i].device());
  }
  return got;
}

constexpr int64_t kTokens = 1, kHeads = 2;

template <int64_t cut, int64_t join>
struct Exchange : torch::autograd::Function<Exchange<cut, join>> {
  static variable_list forward(AutogradContext* context, const Group* group, at::TensorList xs) {
    context->saved_data["group"] = reinterpret_cast<int64_t>(group);
    return exchanged(*group, xs.vec(), cut, join);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto* group = reinterpret_cast<const Group*>(context->saved_data["group"].toInt());
    variable_list found{{}};  // group
    for (auto& x : exchanged(*group, gradients, join, cut)) found.push_back(std::move(x));
    return found;
  }
};

}  // namespace

std::vector<Tensor> to_heads(const Group& group, const std::vector<Tensor>& xs) {
  return Exchange<kHeads, kTokens>::apply(&group, at::TensorList(xs));
}

Tensor to_tokens(const Group& group, const Tensor& x) {
  return Exchange<kTokens, kHeads>::apply(&group, at::TensorList({x}))[0];
}

}  // namespace lact::dist
