#include "train/toy_task.hpp"

#include <lact/error.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>

#include <chrono>
#include <cmath>
#include <sstream>
#include <thread>

namespace lact::test {
namespace {

constexpr int64_t kIn = 8, kOut = 4;

at::Tensor draw(at::IntArrayRef shape, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator);
}

at::Tensor teacher(const at::Tensor& x) {
  static const auto a = draw({16, kIn}, 1), b = draw({kOut, 16}, 2);
  return at::linear(at::tanh(at::linear(x, a)), b);
}

class ToySource final : public train::Source {
 public:
  explicit ToySource(const ToyOptions& options)
      : rows_(options.rows), micro_(options.micro_batches) {}

  train::Batch at(uint64_t seed, int64_t step, int micro) override {
    const auto all = draw({rows_, kIn}, seed * 1000003 + static_cast<uint64_t>(step));
    const auto x = all.tensor_split(micro_).at(static_cast<size_t>(micro));
    return {{"x", x}, {"y", teacher(x)}};
  }

 private:
  int64_t rows_, micro_;
};

std::set<int64_t> numbers(const std::string& text) {
  std::set<int64_t> found;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) found.insert(std::stoll(word));
  return found;
}

}  // namespace

void ToyTask::declare(cli::Options options) {
  options.add("--width", options_.width, "hidden width");
  options.add("--rows", options_.rows, "examples per step");
  options.add("--micro-batches", options_.micro_batches, "micro-batches per step");
  options.add("--ballast", options_.ballast, "unused elements");
  options.add("--noise", options_.noise, "noise on the hidden layer");
  options.add("--flops", options_.flops, "FLOPs per step");
  options.add("--slow", options_.slow, "seconds that a step takes longer");
  options.add("--nan-loss", nan_loss_, "steps whose loss is NaN");
  options.add("--nan-gradient", nan_gradient_, "steps with a gradient that is NaN");
  options.add("--explosion", explosion_, "steps whose loss explodes");
}

void ToyTask::configure() {
  if (options_.width < 1) throw Error(Exit::usage, "--width: expected at least 1");
  options_.nan_loss = numbers(nan_loss_);
  options_.nan_gradient = numbers(nan_gradient_);
  options_.explosion = numbers(explosion_);
}

train::Cost ToyTask::cost(const train::TaskSetup&) const {
  train::Cost cost;
  cost.parameters = options_.width * (kIn + 1 + kOut) + options_.ballast;
  cost.tokens = options_.rows;
  cost.flops = options_.flops;
  cost.memory_bytes = static_cast<double>(16 * cost.parameters);
  cost.rows = {{"hidden width", std::to_string(options_.width)}};
  return cost;
}

void ToyTask::build(const train::TaskSetup& setup) {
  first_ = draw({options_.width, kIn}, setup.seed + 11).mul_(0.3);
  bias_ = at::zeros({options_.width});
  second_ = draw({kOut, options_.width}, setup.seed + 12).mul_(0.3);
  ballast_ = draw({options_.ballast}, setup.seed + 13);
  for (const auto& [name, tensor] : named()) tensor.set_requires_grad(true);
}

io::NamedTensors ToyTask::named() const {
  return {{"first.weight", first_},
          {"first.bias", bias_},
          {"second.weight", second_},
          {"ballast", ballast_}};
}

std::vector<train::Parameter> ToyTask::parameters() {
  std::vector<train::Parameter> list;
  for (const auto& [name, tensor] : named())
    list.push_back({name, tensor, /*decay=*/name != "first.bias",
                    /*learning_rate=*/name == "second.weight" ? 0.5 : 1.0});
  return list;
}

std::unique_ptr<train::Source> ToyTask::source(train::Split) {
  return std::make_unique<ToySource>(options_);
}

at::Tensor ToyTask::predict(const at::Tensor& x) const {
  auto hidden = at::tanh(at::linear(x, first_, bias_));
  if (options_.noise > 0) hidden = hidden + at::randn_like(hidden) * options_.noise;
  return at::linear(hidden, second_);
}

train::Loss ToyTask::loss(const train::Batch& batch, const train::StepInfo& info) {
  if (options_.slow > 0) std::this_thread::sleep_for(std::chrono::duration<double>(options_.slow));
  auto value = at::mse_loss(predict(batch.at("x")), batch.at("y"));
  if (options_.nan_loss.count(info.step)) value = value * NAN;
  // 0 * infinity in the backward pass, 0 in the forward pass.
  if (options_.nan_gradient.count(info.step)) value = value + (first_ * 0).sqrt().sum();
  if (options_.explosion.count(info.step)) value = value * 1e4;
  return {value, static_cast<double>(batch.at("x").size(0)),
          static_cast<double>(options_.rows) / options_.micro_batches};
}

int64_t ToyTask::validation_batches() const {
  return options_.validation ? 1000 : 0;
}

train::Tally ToyTask::tally(int64_t batch) {
  const at::NoGradGuard no_grad;
  if (while_evaluating) while_evaluating();
  const auto x = draw({64, kIn}, 900000 + static_cast<uint64_t>(batch));
  return {at::mse_loss(predict(x), teacher(x)).item<double>(), 1};
}

train::Metrics ToyTask::conclude(const train::Tally& sums) const {
  return {{"validation_metrics/loss", sums[0] / sums[1]}};
}

void ToyTask::load(const io::Checkpoint& checkpoint) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : named()) tensor.copy_(checkpoint.tensor(name));
}

void ToyTask::save(io::CheckpointWriter& writer) const {
  io::NamedTensors tensors;
  for (const auto& [name, tensor] : named()) tensors.emplace_back(name, tensor.detach());
  writer.tensors("model.safetensors", tensors, {{"format", "pt"}});
  writer.file("config.json", "{\"model_type\": \"toy\"}\n");
}

}  // namespace lact::test
