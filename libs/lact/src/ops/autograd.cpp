#include "autograd.hpp"

#include "once.hpp"

#include <torch/csrc/autograd/custom_function.h>

namespace lact::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Lets the graph own a value.
template <class T>
struct Holder : torch::CustomClassHolder {
  template <class... Args>
  explicit Holder(Args&&... args) : value(std::forward<Args>(args)...) {}
  T value;
};

// Outputs are new tensors over the memory of what was computed: what a node keeps, or the base of a
// view it keeps, must not lead back to the node, or a graph that is never run backward is never
// freed.

template <class T>
T& held(AutogradContext* context) {
  return static_cast<Holder<T>&>(*context->saved_data["held"].toCapsule()).value;
}

struct Transformed {
  const Transform& transform;
  Rule rule;
  std::vector<Tensor> saved;
};

struct TransformFunction : torch::autograd::Function<TransformFunction> {
  static variable_list forward(AutogradContext* context, const Transform* transform,
                               const Rule& rule, at::TensorList g) {
    auto holder = c10::make_intrusive<Holder<Transformed>>(Transformed{*transform, rule, {}});
    auto out = transform->forward(g.vec(), rule, &holder->value.saved);
    context->saved_data["held"] = c10::IValue::make_capsule(std::move(holder));
    for (auto& x : out) x = x.detach();
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    once("a scan");
    const auto& [transform, rule, saved] = held<Transformed>(context);
    variable_list dense;
    for (const auto& x : gradients) dense.push_back(x.contiguous());
    variable_list result{{}, {}};  // the transform and the rule
    for (auto& x : transform.backward(dense, saved, rule)) result.push_back(std::move(x));
    return result;
  }
};

/// A scan's engine with the places of its tensors in the lists that autograd sees.
struct Scanned {
  Scanned(const Schedule& schedule, const Rule& rule, const ScanOptions& options)
      : engine(schedule, rule, options) {}
  Engine engine;
  std::vector<size_t> inputs, outputs;
};

/// The output's tensors, of which those that the scan made are functions of its inputs.
std::vector<Tensor*> fields(ScanOutput& output) {
  auto all = ops::fields(output.state);
  all.push_back(&output.out);
  return all;
}

using ScanHolder = Holder<Scanned>;

struct ScanFunction : torch::autograd::Function<ScanFunction> {
  static variable_list forward(AutogradContext* context,
                               const c10::intrusive_ptr<ScanHolder>& holder, const ScanInput& input,
                               const Rule& rule, at::TensorList) {
    auto& scan = holder->value;
    auto result = scan.engine.forward(input, {}, /*record=*/true);
    ScanInput given = input;
    const auto before = ops::fields(given.state), after = fields(result);
    variable_list out;
    const auto updated = learning(input.state.w, rule);
    const auto add = [&](Tensor& x) {
      for (size_t i = 0; i < after.size(); ++i)
        if (after[i] == &x) scan.outputs.push_back(i);
      out.push_back(x.detach());
    };
    for (const auto which : updated) {
      add(result.state.w.*which);
      if (rule.prenorm) add(result.state.main.*which);
      if (rule.momentum) add(result.state.momentum.*which);
    }
    if (result.out.defined()) add(result.out);
    context->set_materialize_grads(false);
    context->saved_data["held"] = c10::IValue::make_capsule(holder);
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    once("a scan");
    auto& scan = held<Scanned>(context);
    ScanOutput gradient;
    const auto places = fields(gradient);
    for (size_t i = 0; i < gradients.size(); ++i) *places[scan.outputs[i]] = gradients[i];
    auto all = scan.engine.backward(gradient);
    const auto found = ops::fields(all);
    variable_list result{{}, {}, {}};  // the engine, the input as a whole, the rule
    for (const size_t i : scan.inputs) result.push_back(*found[i]);
    return result;
  }
};

}  // namespace

std::vector<Tensor> transform(const Transform& transform, const std::vector<Tensor>& g,
                              const Rule& rule) {
  return TransformFunction::apply(&transform, rule, at::TensorList(g));
}

ScanOutput scan_function(const ScanInput& input, const Schedule& schedule, const Rule& rule,
                         const ScanOptions& options) {
  auto holder = c10::make_intrusive<ScanHolder>(schedule, rule, options);
  ScanInput given = input;
  const auto all = ops::fields(given);
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i]->defined()) continue;
    holder->value.inputs.push_back(i);
    tensors.push_back(*all[i]);
  }
  const auto& scan = holder->value;
  const auto outputs = ScanFunction::apply(holder, input, rule, at::TensorList(tensors));
  ScanOutput result{{}, input.state};
  const auto places = fields(result);
  for (size_t i = 0; i < outputs.size(); ++i) *places[scan.outputs[i]] = outputs[i];
  if (!rule.prenorm) result.state.main = result.state.w;
  return result;
}

}  // namespace lact::ops
