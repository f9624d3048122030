#include <lact/nn/recompute.hpp>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lact::nn {
namespace {

using Block = std::function<at::Tensor(const at::Tensor&)>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Lets the graph own the block.
struct Holder : torch::CustomClassHolder {
  explicit Holder(Block block) : f(std::move(block)) {}
  Block f;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Block& f) {
    context->save_for_backward({x});
    context->saved_data["f"] = c10::IValue::make_capsule(c10::make_intrusive<Holder>(f));
    const at::NoGradGuard no_grad;
    return f(x);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto holder = context->saved_data["f"].toCapsule();
    const auto x = context->get_saved_variables()[0].detach().requires_grad_(true);
    const at::AutoGradMode grad(true);
    const auto y = static_cast<Holder&>(*holder).f(x);
    torch::autograd::backward({y}, gradients);  // leaves collect theirs, x too
    return {x.grad(), at::Tensor()};
  }
};

}  // namespace

at::Tensor recompute(const Block& f, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return f(x);
  return Recompute::apply(x, f);
}

}  // namespace lact::nn
