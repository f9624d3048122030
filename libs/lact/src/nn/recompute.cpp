#include <lact/nn/recompute.hpp>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

namespace lact::nn {
namespace {

using at::Tensor;
using Block = std::function<Tensor(const std::vector<Tensor>&)>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Lets the graph own the block.
struct Holder : torch::CustomClassHolder {
  explicit Holder(Block block) : f(std::move(block)) {}
  Block f;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static Tensor forward(AutogradContext* context, const Block& f, at::TensorList inputs) {
    context->save_for_backward(inputs.vec());
    context->saved_data["f"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(f));
    const at::NoGradGuard no_grad;
    return f(inputs.vec());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto holder = context->saved_data["f"].toCapsule();
    variable_list inputs;
    for (const auto& x : context->get_saved_variables())
      inputs.push_back(x.detach().requires_grad_(x.requires_grad()));
    const at::AutoGradMode grad(true);
    const auto y = static_cast<Holder&>(*holder).f(inputs);
    torch::autograd::backward({y}, gradients);  // leaves collect theirs, inputs too
    variable_list found{{}};                    // f
    for (const auto& x : inputs) found.push_back(x.grad());
    return found;
  }
};

}  // namespace

Tensor recompute(const Block& f, const std::vector<Tensor>& inputs) {
  if (!at::GradMode::is_enabled()) return f(inputs);
  const auto wants = [](const Tensor& x) { return x.requires_grad(); };
  if (std::any_of(inputs.begin(), inputs.end(), wants))
    return Recompute::apply(f, at::TensorList(inputs));
  auto watched = inputs;  // or the graph would not come here, and parameters get no gradient
  watched[0] = inputs[0].detach().requires_grad_(true);
  return Recompute::apply(f, at::TensorList(watched));
}

Tensor recompute(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  return recompute(Block([f](const std::vector<Tensor>& in) { return f(in[0]); }), {x});
}

}  // namespace lact::nn
