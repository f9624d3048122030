#include <lact/error.hpp>
#include <lact/train/averages.hpp>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <map>
#include <string>

namespace lact::train {
namespace {

constexpr const char* kPrefix = "parameter.";
constexpr int64_t kBuffer = 1 << 18;  // elements exchanged at a time: 1 MiB of float32

}  // namespace

Averages::Averages(const io::NamedTensors& parameters, double weight) : weight_(weight) {
  if (!(weight >= 0 && weight < 1))
    throw Error(Exit::internal, "averages: expected a weight in [0, 1), found ", weight);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : parameters) {
    if (!tensor.is_contiguous())
      throw Error(Exit::internal, "averages: parameter ", name, ": expected contiguous elements");
    names_.push_back(name);
    parameters_.push_back(tensor.detach());  // the same memory
    averages_.push_back(tensor.detach().clone());
  }
}

void Averages::update() {
  if (averages_.empty()) return;
  const at::NoGradGuard no_grad;
  at::_foreach_lerp_(averages_, parameters_, 1 - weight_);
}

void Averages::swap() {
  const at::NoGradGuard no_grad;
  at::Tensor buffer;
  for (size_t i = 0; i < averages_.size(); ++i) {
    const auto a = parameters_[i].view({-1}), b = averages_[i].view({-1});
    if (!buffer.defined()) buffer = at::empty({kBuffer}, a.options());
    for (int64_t begin = 0; begin < a.numel(); begin += kBuffer) {
      const int64_t count = std::min(kBuffer, a.numel() - begin);
      auto kept = buffer.narrow(0, 0, count);
      kept.copy_(a.narrow(0, begin, count));
      a.narrow(0, begin, count).copy_(b.narrow(0, begin, count));
      b.narrow(0, begin, count).copy_(kept);
    }
  }
}

io::NamedTensors Averages::state() const {
  io::NamedTensors state;
  for (size_t i = 0; i < names_.size(); ++i) state.emplace_back(kPrefix + names_[i], averages_[i]);
  return state;
}

bool Averages::is_parameter(const std::string& name) {
  return name.rfind(kPrefix, 0) == 0;
}

void Averages::load(const io::NamedTensors& state) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> given(state.begin(), state.end());
  for (size_t i = 0; i < names_.size(); ++i) {
    const auto found = given.find(kPrefix + names_[i]);
    if (found == given.end())
      throw Error(Exit::data, "optimizer state: tensor ", kPrefix, names_[i], ": missing");
    const auto& want = parameters_[i];
    if (found->second.scalar_type() != want.scalar_type() || found->second.sizes() != want.sizes())
      throw Error(Exit::data, "optimizer state: tensor ", kPrefix, names_[i], ": expected ",
                  want.scalar_type(), " ", want.sizes(), ", found ", found->second.scalar_type(),
                  " ", found->second.sizes());
  }
  if (given.size() != names_.size())
    throw Error(Exit::data, "optimizer state: expected ", names_.size(), " parameters, found ",
                given.size());
  for (size_t i = 0; i < names_.size(); ++i) {
    averages_[i].copy_(parameters_[i]);
    parameters_[i].copy_(given.at(kPrefix + names_[i]));
  }
}

}  // namespace lact::train
