#include <lact/error.hpp>
#include <lact/train/optimizer.hpp>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace lact::train {
namespace {

constexpr const char* kFirst = "exp_avg.";
constexpr const char* kSecond = "exp_avg_sq.";

std::vector<at::Tensor> gradients(const std::vector<Parameter>& parameters) {
  std::vector<at::Tensor> found;
  for (const auto& parameter : parameters)
    if (parameter.tensor.grad().defined()) found.push_back(parameter.tensor.grad());
  return found;
}

void check(const std::vector<Parameter>& parameters) {
  std::set<std::string> names;
  for (const auto& [name, tensor, decay, rate, matrices] : parameters) {
    if (!names.insert(name).second)
      throw Error(Exit::internal, "parameter ", name, ": named twice");
    if (tensor.scalar_type() != at::kFloat || !tensor.is_contiguous() || !tensor.is_leaf())
      throw Error(Exit::internal, "parameter ", name, ": expected a contiguous float32 leaf");
  }
}

}  // namespace

AdamW::AdamW(std::vector<Parameter> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  check(parameters_);
  const at::NoGradGuard no_grad;
  std::map<std::pair<double, double>, std::vector<size_t>> groups;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& parameter = parameters_[i];
    first_.push_back(at::zeros_like(parameter.tensor));
    second_.push_back(at::zeros_like(parameter.tensor));
    groups[{parameter.decay ? options.weight_decay : 0, parameter.learning_rate}].push_back(i);
  }
  for (auto& [key, members] : groups)
    groups_.push_back({key.first, key.second, std::move(members)});
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  ++steps_;
  for (const auto& group : groups_) {
    std::vector<at::Tensor> tensors, grads, first, second, steps;
    for (const size_t i : group.members) {
      const auto& tensor = parameters_[i].tensor;
      tensors.push_back(tensor);
      grads.push_back(tensor.grad().defined() ? tensor.grad().contiguous()
                                              : at::zeros_like(tensor));
      first.push_back(first_[i]);
      second.push_back(second_[i]);
    }
    steps.assign(group.members.size(),
                 at::full({}, static_cast<double>(steps_), tensors.front().options()));
    at::_fused_adamw_(tensors, grads, first, second, {}, steps, learning_rate * group.learning_rate,
                      options_.beta1, options_.beta2, group.weight_decay, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
}

io::NamedTensors AdamW::state() const {
  io::NamedTensors state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back(kFirst + parameters_[i].name, first_[i]);
    state.emplace_back(kSecond + parameters_[i].name, second_[i]);
  }
  return state;
}

namespace {

/// Those that Muon trains, or the others.
std::vector<Parameter> some(const std::vector<Parameter>& all, bool muon, bool matrices) {
  std::vector<Parameter> chosen;
  for (const auto& parameter : all)
    if ((muon && parameter.matrices > 0) == matrices) chosen.push_back(parameter);
  return chosen;
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter> parameters, const AdamWOptions& adamw,
                     const std::optional<MuonOptions>& muon, double muon_rate)
    : parameters_(std::move(parameters)),
      adamw_(some(parameters_, muon.has_value(), false), adamw),
      muon_rate_(muon_rate) {
  check(parameters_);  // names of both together
  if (muon) muon_.emplace(some(parameters_, true, true), *muon);
}

void Optimizer::step(double learning_rate) {
  adamw_.step(learning_rate);
  if (muon_) muon_->step(learning_rate * muon_rate_);
}

void Optimizer::zero_grad() {
  for (const auto& parameter : parameters_) parameter.tensor.mutable_grad().reset();
}

io::NamedTensors Optimizer::state() const {
  auto state = adamw_.state();
  if (muon_)
    for (auto& one : muon_->state()) state.push_back(std::move(one));
  return state;
}

void Optimizer::load(const io::NamedTensors& state, int64_t steps) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> given(state.begin(), state.end());
  const auto own = this->state();
  for (const auto& [name, tensor] : own) {
    const auto found = given.find(name);
    if (found == given.end())
      throw Error(Exit::data, "optimizer state: tensor ", name, ": missing");
    if (found->second.scalar_type() != at::kFloat || found->second.sizes() != tensor.sizes())
      throw Error(Exit::data, "optimizer state: tensor ", name, ": expected float32 ",
                  tensor.sizes(), ", found ", found->second.scalar_type(), " ",
                  found->second.sizes());
  }
  if (given.size() != own.size())
    throw Error(Exit::data, "optimizer state: expected ", own.size(), " tensors, found ",
                given.size());
  for (const auto& [name, tensor] : own) tensor.copy_(given.at(name));
  adamw_.set_steps(steps);
}

double global_norm(const std::vector<Parameter>& parameters) {
  const at::NoGradGuard no_grad;
  const auto grads = gradients(parameters);
  if (grads.empty()) return 0;
  const auto norms = at::stack(at::_foreach_norm(grads, 2));
  return at::linalg_vector_norm(norms, 2, {}, false, at::kDouble).item<double>();
}

void scale_gradients(const std::vector<Parameter>& parameters, double factor) {
  const at::NoGradGuard no_grad;
  const auto grads = gradients(parameters);
  if (!grads.empty()) at::_foreach_mul_(grads, factor);
}

}  // namespace lact::train
