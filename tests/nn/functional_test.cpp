#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <fstream>
#include <functional>

using namespace lact;
using at::Tensor;

namespace {

Tensor leaf(at::IntArrayRef sizes, at::ScalarType type = at::kDouble) {
  return at::randn(sizes, type).requires_grad_(true);
}

/// A middle part of wider rows, as projections are.
Tensor part(const Tensor& wide) {
  const int64_t width = wide.size(-1) / 3;
  return wide.slice(-1, width, 2 * width);
}

/// Result and gradients of `got` are those that autograd finds for `want`.
void check_equal(const std::vector<Tensor>& leaves, const std::function<Tensor()>& got,
                 const std::function<Tensor()>& want) {
  const auto one = got(), other = want();
  CHECK(test::scaled_error(one, other) < 1e-12);
  const auto probe = at::randn_like(other);
  std::vector<std::vector<Tensor>> gradients;
  for (const auto& out : {one, other}) {
    (out * probe).sum().backward();
    gradients.emplace_back();
    for (const auto& x : leaves) {
      gradients.back().push_back(x.grad().clone());
      x.mutable_grad() = Tensor();
    }
  }
  for (size_t i = 0; i < leaves.size(); ++i) {
    CAPTURE(i);
    CHECK(test::scaled_error(gradients[0][i], gradients[1][i]) < 1e-11);
  }
}

Tensor plain_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  return x / (x.square().mean({-1}, true) + epsilon).sqrt() * weight;
}

Tensor plain_turn(const Tensor& x, const nn::Rotary& table) {  // [B, L, A, a]
  const auto cos = table.cos.unsqueeze(-2), sin = table.sin.unsqueeze(-2);
  if (table.pairs) {
    const auto a = x.slice(-1, 0, {}, 2), b = x.slice(-1, 1, {}, 2);
    return at::stack({a * cos - b * sin, a * sin + b * cos}, -1).view(x.sizes());
  }
  const int64_t half = x.size(-1) / 2;
  const auto a = x.slice(-1, 0, half), b = x.slice(-1, half);
  return at::cat({a * cos - b * sin, a * sin + b * cos}, -1);
}

}  // namespace

TEST_CASE("rms_norm and its gradients are the definition's, for rows with gaps too") {
  at::manual_seed(1);
  const auto x = leaf({2, 7, 33}), weight = leaf({11});
  check_equal(
      {x, weight}, [&] { return nn::rms_norm(part(x), weight, 1e-3); },
      [&] { return plain_norm(part(x), weight, 1e-3); });
}

TEST_CASE("bfloat16 is rounded once, at the end of a norm") {
  at::manual_seed(2);
  const auto x = at::randn({5, 40}).to(at::kBFloat16);
  const auto weight = at::randn({40});
  const auto want = plain_norm(x.to(at::kDouble), weight.to(at::kDouble), 1e-5);
  // One rounding to 8 bits is at most 2^-8 of the value; what was computed before it is float32.
  const auto error = (nn::rms_norm(x, weight, 1e-5).to(at::kDouble) - want).abs();
  CHECK((error <= want.abs() * (std::ldexp(1, -8) + 1e-6)).all().item<bool>());
}

TEST_CASE("rotation and its gradient are the definition's, with positions for all rows or each") {
  at::manual_seed(3);
  const bool each = GENERATE(false, true);
  const auto positions = each ? at::randint(0, 99, {2, 7}, at::kLong) : at::arange(7, at::kLong);
  auto table = nn::rotary(positions, 6, 100, at::kDouble);
  table.pairs = GENERATE(false, true);
  const auto x = leaf({2, 7, 72});
  const auto heads = [&] { return part(x).unflatten(-1, {4, 6}); };
  check_equal(
      {x}, [&] { return nn::rotate(heads(), table); }, [&] { return plain_turn(heads(), table); });
}

TEST_CASE("fast inputs and their gradients are the definition's, each part of it on or off") {
  at::manual_seed(4);
  const bool affine = GENERATE(false, true), silu = GENERATE(false, true),
             unit = GENERATE(false, true);
  const int turned = GENERATE(0, 1, 2);  // not, in halves, in pairs
  const int64_t heads = GENERATE(1, 3);  // of 8 numbers: blocks of 6 that turn cross them
  CAPTURE(affine, silu, unit, turned, heads);
  const auto x = leaf({2, 7, 72}), scale = leaf({24}), offset = leaf({24});
  nn::FastInput how{.heads = heads, .silu = silu, .unit_epsilon = unit ? 1e-2 : -1};
  if (affine) how.scale = scale, how.offset = offset;
  if (turned > 0) how.table = nn::rotary(at::arange(7, at::kLong), 6, 100, at::kDouble);
  how.table.pairs = turned == 2;
  const auto want = [&] {
    auto y = part(x);
    if (affine) y = y * scale + offset;
    if (silu) y = at::silu(y);
    y = y.unflatten(-1, {heads, -1});
    if (unit) y = y / (y.norm(2, {-1}, true) + 1e-2);
    if (turned > 0) y = plain_turn(y.flatten(-2).unflatten(-1, {4, 6}), how.table).flatten(-2);
    return y.reshape({2, 7, heads, -1});
  };
  auto leaves = std::vector<Tensor>{x};
  if (affine) leaves.insert(leaves.end(), {scale, offset});
  check_equal(
      leaves, [&] { return nn::fast_input(part(x), how); }, want);
  CHECK(nn::fast_input(part(x), how).transpose(1, 2).is_contiguous());
}

TEST_CASE("a head of zeros has a fast key of zeros, and no gradient that is not a number") {
  auto x = at::zeros({1, 2, 8}, at::kDouble).requires_grad_(true);
  const auto y = nn::fast_input(x, {.heads = 2, .unit_epsilon = 1e-5});
  CHECK(y.abs().max().item<double>() == 0);
  y.sum().backward();
  CHECK(x.grad().isfinite().all().item<bool>());
}

TEST_CASE("the sum of attention and fast weights is the definition's, gradients too") {
  at::manual_seed(5);
  const bool scaled = GENERATE(false, true);
  const auto attention = leaf({2, 7, 4, 6}), fast = leaf({2, 3, 7, 8}), weight = leaf({8}),
             z = leaf({2, 7, 3});
  const auto read = [&] { return fast.transpose(1, 2); };
  auto leaves = std::vector<Tensor>{attention, fast, weight};
  if (scaled) leaves.push_back(z);
  check_equal(
      leaves, [&] { return nn::mix(attention, read(), weight, 1e-3, scaled ? z : Tensor()); },
      [&] {
        auto y = plain_norm(read(), weight, 1e-3);
        if (scaled) y = y * at::silu(z).unsqueeze(-1);
        return attention.flatten(-2) + y.flatten(-2);
      });
}

TEST_CASE("the feed-forward network and its gradients are the definition's") {
  at::manual_seed(6);
  const auto x = leaf({2, 7, 12}), gate = leaf({10, 12}), up = leaf({10, 12}),
             down = leaf({12, 10});
  check_equal(
      {x, gate, up, down}, [&] { return nn::swiglu(x, gate, up, down); },
      [&] { return at::linear(at::silu(at::linear(x, gate)) * at::linear(x, up), down); });
}

TEST_CASE("cross entropy by tiles is LibTorch's of all logits, gradients too") {
  at::manual_seed(7);
  const int64_t tokens = 700, classes = 50000;  // tiles of 167 tokens
  const auto x = leaf({tokens, 3}), weight = leaf({classes, 3});
  const auto labels = at::randint(0, classes, {tokens}, at::kLong);
  labels.slice(0, 100, 400).fill_(-100);
  const auto got = [&] { return nn::linear_cross_entropy(x, weight, labels); };
  check_equal({x, weight}, got,
              [&] { return at::cross_entropy_loss(at::linear(x, weight), labels); });
  const at::NoGradGuard no_grad;
  CHECK(test::scaled_error(got(), at::cross_entropy_loss(at::linear(x, weight), labels)) < 1e-12);
}

TEST_CASE("cross entropy of no labels is not a number, and a label that is no class is refused") {
  const auto x = at::randn({2, 3}), weight = at::randn({5, 3});
  CHECK(std::isnan(
      nn::linear_cross_entropy(x, weight, at::full({2}, -100, at::kLong)).item<float>()));
  CHECK_THROWS_WITH(nn::linear_cross_entropy(x, weight, at::full({2}, 5, at::kLong)),
                    Catch::Contains("label 5 is none of 5 classes"));
}

namespace {

/// From now on, peak_memory() is of what follows.
void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

/// The most memory this process had, in bytes.
double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::stod(line.substr(6));
  return 0;
}

}  // namespace

TEST_CASE("gradients of parameters have the same bits on one core and on two") {
  at::manual_seed(8);
  const auto x = leaf({3, 500, 96}, at::kFloat), weight = leaf({32}, at::kFloat),
             scale = leaf({32}, at::kFloat), offset = leaf({32}, at::kFloat);
  const int threads = at::get_num_threads();
  std::vector<std::vector<Tensor>> gradients;
  for (const int count : {1, 2}) {
    at::set_num_threads(count);
    const auto y = nn::rms_norm(part(x), weight, 1e-5);
    nn::fast_input(y, {.heads = 2, .scale = scale, .offset = offset, .unit_epsilon = 1e-5})
        .square()
        .sum()
        .backward();
    gradients.emplace_back();
    for (const auto& one : {x, weight, scale, offset}) {
      gradients.back().push_back(one.grad().clone());
      one.mutable_grad() = Tensor();
    }
  }
  at::set_num_threads(threads);
  for (size_t i = 0; i < 4; ++i) CHECK(at::equal(gradients[0][i], gradients[1][i]));
}

TEST_CASE("a second derivative is refused, not wrong") {
  const auto x = leaf({2, 8}), weight = leaf({8});
  const auto y = nn::rms_norm(x, weight, 1e-5).square().sum();
  CHECK_THROWS_WITH(y.backward({}, /*retain_graph=*/true, /*create_graph=*/true),
                    Catch::Contains("differentiable once"));
}

TEST_CASE("what does not fit is refused before memory is read") {
  const auto x = at::randn({2, 7, 12}), weight = at::randn({1});
  CHECK_THROWS_WITH(nn::rms_norm(x, weight, 1e-5), Catch::Contains("weight of rms_norm"));
  const auto labels = at::zeros({5}, at::kLong);
  CHECK_THROWS_WITH(nn::linear_cross_entropy(at::randn({6, 3}), at::randn({9, 3}), labels),
                    Catch::Contains("labels does not fit: [5]"));
  const auto table = nn::rotary(at::arange(6, at::kLong), 4, 100, at::kFloat);
  CHECK_THROWS_WITH(nn::rotate(x.unflatten(-1, {3, 4}), table), Catch::Contains("rotary table"));
}

TEST_CASE("the logits of a long text never exist") {
  if (test::instrumented()) return;
  const int64_t tokens = 16384, classes = 16384;  // 1 GiB of them
  const auto x = leaf({tokens, 4}, at::kFloat), weight = leaf({classes, 4}, at::kFloat);
  const auto labels = at::randint(0, classes, {tokens}, at::kLong);
  forget_peak();
  const double before = peak_memory();
  nn::linear_cross_entropy(x, weight, labels).backward();
  CHECK(before > 0);
  CHECK(peak_memory() - before < 200e6);
}
