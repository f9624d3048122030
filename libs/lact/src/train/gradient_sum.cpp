#include <lact/error.hpp>
#include <lact/train/gradient_sum.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>
#include <utility>

namespace lact::train {

using at::Tensor;

namespace {

using torch::autograd::Node;
using torch::autograd::variable_list;

/// Called whenever a parameter has its gradient of a backward pass.
struct Came final : torch::autograd::FunctionPostHook {
  explicit Came(std::function<void()> call) : call_(std::move(call)) {}
  variable_list operator()(const variable_list& outputs, const variable_list&) override {
    call_();
    return outputs;
  }
  std::function<void()> call_;
};

/// The part of `flat` that begins at `place` becomes the gradient, or zero. Returns where the next
/// begins.
int64_t take(const Parameter& parameter, const Tensor& flat, int64_t place) {
  const auto& gradient = parameter.tensor.grad();
  auto here = flat.narrow(0, place, parameter.tensor.numel());
  if (gradient.defined())
    here.copy_(gradient.view(-1));
  else
    here.zero_();
  return place + here.numel();
}

/// A gradient becomes the part of `flat` that begins at `place`. Returns where the next begins.
int64_t give(const Parameter& parameter, const Tensor& flat, int64_t place) {
  const auto& tensor = parameter.tensor;
  tensor.mutable_grad() = flat.narrow(0, place, tensor.numel())
                              .view(tensor.sizes())
                              .to(tensor.options().requires_grad(false));
  return place + tensor.numel();
}

}  // namespace

/// Sums that begin while the backward pass runs. They lie in the host's memory, whatever the
/// device. Source: PyTorch DDP (Li et al., arXiv 2006.15704), 3.2.
class GradientSum::Buckets {
 public:
  Buckets(const dist::Group& group, const std::vector<Parameter>& parameters, int64_t bytes)
      : group_(group), parameters_(parameters) {
    // The last parameters get their gradients first.
    for (size_t i = parameters.size(); i-- > 0;) {
      const int64_t numbers = parameters[i].tensor.numel();
      if (all_.empty() || (all_.back().numbers + numbers) * int64_t{sizeof(float)} > bytes)
        all_.emplace_back();
      all_.back().members.push_back(i);
      all_.back().numbers += numbers;
    }
    for (size_t b = 0; b < all_.size(); ++b) {
      all_[b].sum = at::empty({all_[b].numbers}, at::kFloat);
      for (const size_t i : all_[b].members) {
        watched_.push_back(torch::autograd::impl::grad_accumulator(parameters[i].tensor));
        watched_.back()->add_post_hook(std::make_unique<Came>([this, b] { came(all_[b]); }));
      }
    }
  }

  void begin() {
    for (auto& bucket : all_) bucket.missing = bucket.members.size();
    live_ = true;
    next_ = 0;
  }

  void finish() {
    if (!live_) begin();
    live_ = false;
    while (next_ < all_.size()) start(all_[next_++]);
    for (auto& bucket : all_) {
      std::exchange(bucket.work, nullptr)->wait();
      int64_t place = 0;
      for (const size_t i : bucket.members) place = give(parameters_[i], bucket.sum, place);
    }
  }

 private:
  struct Bucket {
    std::vector<size_t> members;  ///< places in parameters_
    int64_t numbers = 0;
    size_t missing = 0;  ///< members without this pass's gradient
    Tensor sum;
    dist::Work work;
  };

  void came(Bucket& bucket) {
    if (!live_) return;
    if (bucket.missing == 0)
      throw Error(Exit::internal, "a parameter got its gradient twice in one backward pass");
    --bucket.missing;
    // The same order on all ranks, whatever came first here.
    while (next_ < all_.size() && all_[next_].missing == 0) start(all_[next_++]);
  }

  void start(Bucket& bucket) {
    const at::NoGradGuard no_grad;
    int64_t place = 0;
    for (const size_t i : bucket.members) place = take(parameters_[i], bucket.sum, place);
    bucket.work = group_.all_reduce(bucket.sum);
  }

  const dist::Group& group_;
  const std::vector<Parameter>& parameters_;
  std::vector<Bucket> all_;
  std::vector<std::shared_ptr<Node>> watched_;
  size_t next_ = 0;  ///< the first whose sum has not begun
  bool live_ = false;
};

GradientSum::GradientSum(ReduceOrder order, const dist::Group& group,
                         std::vector<Parameter> parameters, int64_t bucket_bytes)
    : order_(order), group_(group), parameters_(std::move(parameters)) {
  for (const auto& parameter : parameters_) numbers_ += parameter.tensor.numel();
  if (order_ == ReduceOrder::fast && group_.size() > 1)
    buckets_ = std::make_unique<Buckets>(group_, parameters_, bucket_bytes);
}

GradientSum::~GradientSum() = default;

Tensor GradientSum::taken() {
  const at::NoGradGuard no_grad;
  Tensor flat = at::empty({numbers_}, at::kFloat);  // in the host's memory, as buckets
  int64_t place = 0;
  for (auto& parameter : parameters_) {
    place = take(parameter, flat, place);
    parameter.tensor.mutable_grad() = Tensor();
  }
  return flat;
}

void GradientSum::begin_last() {
  if (buckets_) buckets_->begin();
}

void GradientSum::micro_done() {
  if (order_ != ReduceOrder::fixed) return;
  Tensor sum = taken();
  size_t level = 0;
  for (; level < levels_.size() && levels_[level].defined(); ++level)
    sum = std::exchange(levels_[level], Tensor()).add_(sum);
  if (level == levels_.size()) levels_.emplace_back();
  levels_[level] = sum;
}

void GradientSum::finish() {
  if (buckets_) return buckets_->finish();
  if (order_ != ReduceOrder::fixed) return;
  const at::NoGradGuard no_grad;
  Tensor sum;
  for (auto& level : levels_)
    if (level.defined()) sum = sum.defined() ? level.add_(sum) : level;
  levels_.clear();
  group_.sum_in_order(sum);
  int64_t place = 0;
  for (const auto& parameter : parameters_) place = give(parameter, sum, place);
}

}  // namespace lact::train
