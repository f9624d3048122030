#include "support/ranks.hpp"
#include "support/test.hpp"

#include <lact/train/gradient_sum.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include <atomic>

using namespace lact;
using at::Tensor;
using test::on_ranks;
using train::GradientSum;
using train::ReduceOrder;

namespace {

/// Counts sums that were begun.
class Counting final : public dist::Group {
 public:
  explicit Counting(const dist::Group& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  dist::Work all_reduce(const Tensor& x, dist::Op op) const override {
    ++sums;
    return group_.all_reduce(x, op);
  }
  dist::Work all_gather(const Tensor& out, const Tensor& in) const override {
    return group_.all_gather(out, in);
  }
  dist::Work all_to_all(const Tensor& out, const Tensor& in) const override {
    return group_.all_to_all(out, in);
  }
  dist::Work broadcast(const Tensor& x, int from) const override {
    return group_.broadcast(x, from);
  }
  mutable int sums = 0;

 private:
  const dist::Group& group_;
};

constexpr int64_t kWidth = 4;

/// Four layers, the same on each rank, and a parameter that no loss uses.
std::vector<train::Parameter> layers() {
  std::vector<train::Parameter> all;
  for (int i = 0; i < 5; ++i) {
    auto tensor = at::full({kWidth}, 1.0 + 0.1 * i, at::kFloat).requires_grad_(true);
    all.push_back({concat("layer", i), tensor});
  }
  return all;
}

/// Of a micro-batch: its number, so that each gradient is known.
Tensor loss(const std::vector<train::Parameter>& layers, int micro) {
  Tensor x = at::full({kWidth}, static_cast<double>(micro + 1), at::kFloat);
  for (int i = 0; i < 4; ++i) x = x * layers[static_cast<size_t>(i)].tensor;
  return x.sum();
}

}  // namespace

TEST_CASE("gradients of all micro-batches of all ranks are added up, whatever the buckets",
          "[train]") {
  const int ranks = GENERATE(1, 2, 3), each = 2;
  const auto order = GENERATE(ReduceOrder::fast, ReduceOrder::fixed);
  const int64_t bytes = GENERATE(1, 2 * kWidth * 4, 1 << 20);
  CAPTURE(ranks, bytes);
  const double micros = ranks * each * (ranks * each + 1) / 2.0;  // 1 + 2 + ...
  std::atomic<int> wrong = 0;
  on_ranks(ranks, [&](const dist::Group& group) {
    const auto parameters = layers();
    GradientSum sum(order, group, parameters, bytes);
    for (int step = 0; step < 2; ++step) {
      for (int micro = group.rank() * each; micro < (group.rank() + 1) * each; ++micro) {
        if (micro + 1 == (group.rank() + 1) * each) sum.begin_last();
        loss(parameters, micro).backward();
        sum.micro_done();
      }
      sum.finish();
      for (size_t i = 0; i < 4; ++i) {
        double want = micros;
        for (size_t j = 0; j < 4; ++j)
          if (j != i) want *= 1.0 + 0.1 * static_cast<double>(j);
        const auto& gradient = parameters[i].tensor.grad();
        if (!gradient.defined() || std::abs(gradient[3].item<double>() / want - 1) > 1e-5) ++wrong;
        parameters[i].tensor.mutable_grad() = Tensor();
      }
      const auto& none = parameters[4].tensor.grad();
      if (none.defined() && none.abs().sum().item<double>() != 0) ++wrong;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("a rank whose last micro-batch scores nothing still takes part in every sum", "[train]") {
  std::atomic<int> wrong = 0;
  on_ranks(2, [&](const dist::Group& group) {
    const auto parameters = layers();
    GradientSum sum(ReduceOrder::fast, group, parameters, 1);
    if (group.rank() == 0) {
      sum.begin_last();
      loss(parameters, 0).backward();
    }
    sum.micro_done();
    sum.finish();
    if (std::abs(parameters[0].tensor.grad()[0].item<double>() - 1.1 * 1.2 * 1.3) > 1e-5) ++wrong;
  });
  CHECK(wrong == 0);
}

TEST_CASE("sums begin while the backward pass runs, but for what waits for a parameter without use",
          "[train]") {
  std::atomic<int> wrong = 0;
  on_ranks(2, [&](const dist::Group& group) {
    const Counting counted(group);
    const auto all = layers();
    const std::vector<train::Parameter> used(all.begin(), all.begin() + 4);
    GradientSum sum(ReduceOrder::fast, counted, used, 1);
    loss(used, 0).backward();  // not the last: nothing is sent
    if (counted.sums != 0) ++wrong;
    sum.micro_done();
    sum.begin_last();
    loss(used, 1).backward();
    if (counted.sums != 4) ++wrong;
    sum.finish();
    if (counted.sums != 4) ++wrong;
    // All ranks must begin sums in one order, and the last parameter's is the first.
    const Counting again(group);
    GradientSum waiting(ReduceOrder::fast, again, all, 1);
    waiting.begin_last();
    loss(all, 0).backward();
    if (again.sums != 0) ++wrong;
    waiting.finish();
    if (again.sums != 5) ++wrong;
  });
  CHECK(wrong == 0);
}
