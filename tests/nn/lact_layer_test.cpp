#include "support/test.hpp"

#include <lact/nn/lact_layer.hpp>
#include <lact/nn/recompute.hpp>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

using namespace lact;
using at::Tensor;

namespace {

nn::Parameters random_parameters(const nn::LactLayerOptions& o, at::ScalarType type) {
  return {nn::lact_layer_shapes(o), [&](const std::string& name, const nn::Shape& shape) {
            const bool around_one = name.find("norm") != std::string::npos || name == "qk_scale";
            return at::randn(shape, type) * 0.3 + (around_one ? 1 : 0);
          }};
}

nn::LactLayerOptions small_options() {
  nn::LactLayerOptions o;
  o.width = 24;
  o.attention_heads = 2;
  o.fast_heads = 3;
  o.fast_hidden = 10;
  o.chunk = 8;
  o.window = 6;
  o.low_rank = 2;
  o.rule = ops::Rule::from_name("momentum");
  return o;
}

}  // namespace

TEST_CASE("a row with documents equals each document alone, gradients too") {
  at::manual_seed(2);
  const auto options = small_options();
  const auto parameters = random_parameters(options, at::kDouble);
  // Lengths around the chunk: one token, a chunk, ragged, several chunks; boundaries differ by row.
  const std::vector<std::vector<int64_t>> lengths = {{1, 8, 13, 18}, {25, 7, 8}};
  std::vector<Tensor> numbers;
  for (const auto& row : lengths) {
    std::vector<int64_t> flat;
    for (size_t d = 0; d < row.size(); ++d)
      flat.insert(flat.end(), static_cast<size_t>(row[d]), static_cast<int64_t>(d));
    numbers.push_back(at::tensor(flat, at::kLong));
  }
  const auto documents = at::stack(numbers);
  const auto x = at::randn({2, 40, options.width}, at::kDouble).requires_grad_(true);
  const auto probe = at::randn({2, 40, options.width}, at::kDouble);
  const auto out =
      nn::lact_layer(options, parameters, x, nn::cut_rows(documents, options.chunk, true));
  (out * probe).sum().backward();
  for (size_t row = 0; row < lengths.size(); ++row) {
    int64_t begin = 0;
    for (const int64_t length : lengths[row]) {
      CAPTURE(row, begin, length);
      const auto part = [&](const Tensor& t) {
        return t[static_cast<int64_t>(row)].slice(0, begin, begin + length).unsqueeze(0);
      };
      const auto alone = part(x).detach().clone().requires_grad_(true);
      const auto want =
          nn::lact_layer(options, parameters, alone, nn::whole_rows(1, length, at::kCPU));
      (want * part(probe)).sum().backward();
      CHECK(test::scaled_error(part(out), want) < 1e-11);
      CHECK(test::scaled_error(part(x.grad()), alone.grad()) < 1e-11);
      begin += length;
    }
  }
}

TEST_CASE("nothing of one document reaches the next, unless it is asked for") {
  at::manual_seed(4);
  const auto options = small_options();
  const auto parameters = random_parameters(options, at::kFloat);
  const int64_t length = 40, boundary = 21;
  auto numbers = at::zeros({1, length}, at::kLong);
  numbers.slice(1, boundary).fill_(1);
  const auto x = at::randn({1, length, options.width});
  auto other = x.clone();
  other.slice(1, 0, boundary).mul_(-2);
  const auto second = [&](const Tensor& in, const nn::Rows& rows) {
    return nn::lact_layer(options, parameters, in, rows).slice(1, boundary);
  };
  const auto reset_all = nn::cut_rows(numbers, options.chunk, true);
  CHECK(test::same_bytes(second(x, reset_all), second(other, reset_all)));
  // Attention alone starts anew: beyond the window, the fast weights still carry the first
  // document.
  const auto reset_attention = nn::cut_rows(numbers, options.chunk, false);
  CHECK_FALSE(test::same_bytes(second(x, reset_attention), second(other, reset_attention)));
  const auto none = nn::whole_rows(1, length, at::kCPU);
  CHECK_FALSE(test::same_bytes(second(x, none), second(other, none)));
}

TEST_CASE("a recomputed block gives the same gradients, bit for bit") {
  at::manual_seed(5);
  const auto in = at::randn({8, 8}).requires_grad_(true),
             out = at::randn({8, 8}).requires_grad_(true);
  const auto x = at::randn({4, 8}).requires_grad_(true);
  const auto block = [&](const Tensor& y) { return y.matmul(in).tanh().matmul(out); };
  const auto gradients = [&](const Tensor& y) {
    for (const auto& leaf : {in, out, x}) leaf.mutable_grad() = Tensor();
    y.square().sum().backward();
    return std::vector<Tensor>{in.grad(), out.grad(), x.grad()};
  };
  const auto plain = gradients(block(x)), again = gradients(nn::recompute(block, x));
  for (size_t i = 0; i < plain.size(); ++i) CHECK(test::same_bytes(plain[i], again[i]));
}

TEST_CASE("streams at different places in their chunks read on together as each would alone") {
  at::manual_seed(6);
  const at::NoGradGuard no_grad;
  auto options = small_options();
  options.rule = ops::Rule::from_name(GENERATE("gd", "muon_momentum"));
  options.rule.prenorm = GENERATE(false, true);
  options.fast_weights = GENERATE(true, false);
  const auto parameters = random_parameters(options, at::kDouble);
  // Before a chunk's end, at it, after it; and one that has read nothing.
  const std::vector<int64_t> read{7, 16, 3, 0};
  const auto x = at::randn({4, 60, options.width}, at::kDouble);
  std::vector<nn::LactLayerStream> alone, together;
  for (size_t i = 0; i < read.size(); ++i)
    for (auto* streams : {&alone, &together}) {
      streams->push_back(nn::start_stream(options, parameters, 1));
      if (read[i] > 0)
        nn::lact_layer(options, parameters,
                       x.slice(0, static_cast<int64_t>(i)).slice(0, 0, 1).slice(1, 0, read[i]),
                       streams->back());
    }
  for (int64_t step = 0; step < 30; ++step) {
    // One leaves for a while, in which it reads nothing; the others close ranks.
    std::vector<size_t> going{0, 1, 2, 3};
    if (step >= 10 && step < 15) going.erase(going.begin() + 1);
    std::vector<nn::LactLayerStream*> streams;
    std::vector<Tensor> tokens, want;
    for (const size_t i : going) {
      const auto row = static_cast<int64_t>(i);
      const int64_t at = alone[i].position;
      CHECK(together[i].position == at);
      tokens.push_back(x.slice(0, row, row + 1).slice(1, at, at + 1));
      want.push_back(nn::lact_layer(options, parameters, tokens.back(), alone[i]));
      streams.push_back(&together[i]);
    }
    const auto got = nn::lact_layer(options, parameters, at::cat(tokens), streams);
    CAPTURE(step, options.rule.prenorm, options.fast_weights);
    CHECK(test::scaled_error(got, at::cat(want)) < 1e-11);
  }
  // Each is still a stream of its own.
  for (size_t i = 0; i < read.size(); ++i) {
    const auto more = x.slice(0, 0, 1).slice(1, 0, 20);
    CHECK(test::scaled_error(nn::lact_layer(options, parameters, more, together[i]),
                             nn::lact_layer(options, parameters, more, alone[i])) < 1e-11);
  }
}
