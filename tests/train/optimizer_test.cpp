#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>
#include <lact/train/optimizer.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>
#include <optional>
#include <set>

using namespace lact;
using namespace lact::test;
using train::AdamW;
using train::AdamWOptions;
using train::Optimizer;
using train::Parameter;

namespace {

at::Tensor draw(at::IntArrayRef shape, uint64_t seed, double scale = 1) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator).mul_(scale);
}

Parameter parameter(const std::string& name, at::IntArrayRef shape, uint64_t seed) {
  return {name, draw(shape, seed).set_requires_grad(true)};
}

/// The paper's algorithm, element by element in float64.
struct Definition {
  std::vector<double> p, m, v;
  double decay, rate;

  Definition(const Parameter& parameter, double weight_decay)
      : decay(parameter.decay ? weight_decay : 0), rate(parameter.learning_rate) {
    const auto flat = parameter.tensor.detach().flatten();
    for (int64_t i = 0; i < flat.numel(); ++i) p.push_back(flat[i].item<double>());
    m.resize(p.size());
    v.resize(p.size());
  }

  void step(const at::Tensor& gradient, double lr, int t, const AdamWOptions& o) {
    const auto g = gradient.flatten();
    for (size_t i = 0; i < p.size(); ++i) {
      const double gi = g.defined() ? g[static_cast<int64_t>(i)].item<double>() : 0;
      p[i] -= lr * rate * decay * p[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * gi;
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * gi * gi;
      const double mean = m[i] / (1 - std::pow(o.beta1, t));
      const double square = v[i] / (1 - std::pow(o.beta2, t));
      p[i] -= lr * rate * mean / (std::sqrt(square) + o.epsilon);
    }
  }

  at::Tensor tensor(at::IntArrayRef shape) const {
    auto flat = at::zeros({static_cast<int64_t>(p.size())}, at::kDouble);
    for (size_t i = 0; i < p.size(); ++i) flat[static_cast<int64_t>(i)] = p[i];
    return flat.view(shape);
  }
};

}  // namespace

TEST_CASE("fifty steps of AdamW are those of the definition", "[train]") {
  const AdamWOptions options{0.9, 0.95, 1e-8, 0.1};
  // 37 and 5 x 7: no multiple of a vector register. One without decay, one at half the rate.
  std::vector<Parameter> parameters{parameter("a", {37}, 1), parameter("b", {5, 7}, 2),
                                    parameter("c", {64, 33}, 3)};
  parameters[1].decay = false;
  parameters[2].learning_rate = 0.5;
  std::vector<Definition> wants;
  for (const auto& each : parameters) wants.emplace_back(each, options.weight_decay);
  const auto start = parameters[1].tensor.detach().clone();
  AdamW optimizer(parameters, options);
  for (int t = 1; t <= 50; ++t) {
    const double lr = 0.01 / t;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const auto gradient = draw(parameters[i].tensor.sizes(), 100 * t + i, t % 3 ? 1.0 : 1e-3);
      parameters[i].tensor.mutable_grad() = gradient;
      wants[i].step(gradient, lr, t, options);
    }
    optimizer.step(lr);
  }
  CHECK(optimizer.steps() == 50);
  for (size_t i = 0; i < parameters.size(); ++i) {
    CAPTURE(parameters[i].name);
    const auto want = wants[i].tensor(parameters[i].tensor.sizes());
    // Fifty float32 roundings of values near 1.
    CHECK(scaled_error(parameters[i].tensor, want) < 1e-6);
  }
  CHECK(scaled_error(start, wants[1].tensor(start.sizes())) > 1e-3);  // the bound can fail
}

TEST_CASE("decay shrinks a parameter without a gradient, and only where it takes part", "[train]") {
  auto decays = parameter("decays", {9}, 4), stays = parameter("stays", {9}, 5);
  stays.decay = false;
  const auto before = decays.tensor.detach().clone(), untouched = stays.tensor.detach().clone();
  AdamW optimizer({decays, stays}, {0.9, 0.95, 1e-8, 0.5});
  optimizer.step(0.1);
  CHECK(scaled_error(decays.tensor, before * (1 - 0.1 * 0.5)) < 1e-7);
  CHECK(same_bytes(stays.tensor, untouched));
}

TEST_CASE("an optimizer that is saved and loaded goes on with the same bytes", "[train]") {
  const auto run = [](int stop_at) {
    auto list = std::vector{parameter("x", {40}, 6), parameter("y", {3, 5}, 7)};
    list[1].matrices = 1;
    const std::optional<train::MuonOptions> muon = train::MuonOptions{};
    auto optimizer = std::make_unique<Optimizer>(list, AdamWOptions{}, muon);
    for (int t = 0; t < 10; ++t) {
      if (t == stop_at) {
        io::NamedTensors saved;
        for (const auto& [name, tensor] : optimizer->state())
          saved.emplace_back(name, tensor.clone());
        const int64_t steps = optimizer->steps();
        std::swap(list[0], list[1]);  // found by name, not by place
        optimizer = std::make_unique<Optimizer>(list, AdamWOptions{}, muon);
        optimizer->load(saved, steps);
      }
      for (auto& each : list)
        each.tensor.mutable_grad() =
            draw(each.tensor.sizes(), 50 + t + (each.name == "x" ? 100 : 0));
      optimizer->step(0.01);
    }
    return list[0].name == "x" ? std::vector{list[0].tensor, list[1].tensor}
                               : std::vector{list[1].tensor, list[0].tensor};
  };
  const auto whole = run(-1), stopped = run(4);
  CHECK(same_bytes(whole[0], stopped[0]));
  CHECK(same_bytes(whole[1], stopped[1]));
}

TEST_CASE("optimizer state that does not fit is refused by name", "[train]") {
  Optimizer optimizer({parameter("x", {4}, 8)}, {});
  const auto refusal = [&](const io::NamedTensors& state) -> std::string {
    try {
      optimizer.load(state, 1);
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      return error.what();
    }
    return "";
  };
  const auto four = at::zeros({4}), five = at::zeros({5});
  CHECK_THAT(refusal({{"exp_avg.x", four}}), Catch::Contains("exp_avg_sq.x: missing"));
  CHECK_THAT(refusal({{"exp_avg.x", four}, {"exp_avg_sq.x", five}}),
             Catch::Contains("exp_avg_sq.x: expected float32 [4], found Float [5]"));
  CHECK_THAT(refusal({{"exp_avg.x", four}, {"exp_avg_sq.x", four}, {"exp_avg.y", four}}),
             Catch::Contains("expected 2 tensors, found 3"));
  CHECK(refusal({{"exp_avg.x", four}, {"exp_avg_sq.x", four}}).empty());
  CHECK(optimizer.steps() == 1);
}

TEST_CASE("a parameter that AdamW cannot step in place is refused", "[train]") {
  const auto refused = [](const Parameter& each) {
    try {
      AdamW({each}, {});
    } catch (const Error& error) {
      return error.code() == Exit::internal;
    }
    return false;
  };
  CHECK(refused({"half", draw({4}, 9).to(at::kBFloat16)}));
  CHECK(refused({"turned", draw({4, 3}, 9).t()}));
  CHECK_FALSE(refused({"plain", draw({4, 3}, 9)}));
}

TEST_CASE("the global norm is that of all gradients together, and shows what is not finite",
          "[train]") {
  auto a = parameter("a", {2}, 10), b = parameter("b", {1}, 11), none = parameter("c", {3}, 12);
  CHECK(train::global_norm({a, b, none}) == 0);
  a.tensor.mutable_grad() = at::zeros({2});
  a.tensor.mutable_grad()[0] = 2;
  a.tensor.mutable_grad()[1] = 3;
  b.tensor.mutable_grad() = at::zeros({1}).fill_(6);
  CHECK(train::global_norm({a, b, none}) == Approx(7).margin(1e-6));
  train::scale_gradients({a, b, none}, 0.5);
  CHECK(train::global_norm({a, b, none}) == Approx(3.5).margin(1e-6));
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    b.tensor.mutable_grad().fill_(bad);
    CHECK_FALSE(std::isfinite(train::global_norm({a, b, none})));
  }
}

TEST_CASE("Muon takes the steps of torch.optim.Muon", "[train]") {
  const auto python = peers("torch");
  if (!python) return;
  const TemporaryFolder folder;
  const auto in = (folder / "in.safetensors").string(), out = (folder / "out.safetensors").string();
  io::NamedTensors given;
  std::vector<Parameter> matrices;
  const std::pair<int64_t, int64_t> shapes[] = {{8, 5}, {5, 8}, {16, 16}, {64, 3}};
  for (const auto& [rows, columns] : shapes) {
    const auto name = concat("m", rows, "x", columns);
    matrices.push_back(parameter(name, {rows, columns}, 7 * rows));
    matrices.back().matrices = 1;
    given.emplace_back(name, matrices.back().tensor.detach().clone());
    for (int step = 0; step < 5; ++step)
      given.emplace_back(concat(name, ".", step), draw({rows, columns}, 100 * rows + step));
  }
  io::write_safetensors(in, given, {});
  // In float32 the same to rounding; bfloat16 rounds to 8 bits, six times a step, and where both
  // do, both err.
  struct Kind {
    std::optional<c10::ScalarType> iterate;
    const char* torch;
    double tolerance;
  };
  for (const auto& [iterate, torch, tolerance] :
       {Kind{{}, "--float32", 2e-6}, Kind{{}, "", 5e-3}, Kind{at::kBFloat16, "", 1e-2}}) {
    auto mine = matrices;
    for (auto& matrix : mine) matrix.tensor = matrix.tensor.detach().clone();
    Optimizer optimizer(mine, {}, train::MuonOptions{0.95, 0.1, iterate}, /*muon_rate=*/1);
    const auto gradients = io::SafeTensors::open(in);
    for (int step = 0; step < 5; ++step) {
      for (auto& matrix : mine)
        matrix.tensor.mutable_grad() = gradients.tensor(concat(matrix.name, ".", step)).clone();
      optimizer.step(0.02);
    }
    const auto result = run({*python, (source_root() / "tests/train/muon_check.py").string(), in,
                             out, "0.02", "0.95", "0.1", torch});
    CAPTURE(result.err, torch);
    REQUIRE(result.exit == 0);
    const auto want = io::SafeTensors::open(out);
    for (const auto& matrix : mine) {
      CAPTURE(matrix.name);
      CHECK((matrix.tensor - want.tensor(matrix.name)).abs().max().item<double>() < tolerance);
    }
  }
}

TEST_CASE("Muon takes steps of length one in every direction, matrix by matrix", "[train]") {
  // 2 x 3 matrices of 8 x 5 in one parameter, one of 5 x 8, and a vector, which AdamW has.
  auto many = parameter("many", {6, 8, 5}, 1), wide = parameter("wide", {5, 8}, 2),
       vector = parameter("vector", {9}, 3);
  many.matrices = 6;
  wide.matrices = 1;
  vector.decay = false;
  const auto many_before = many.tensor.detach().clone(), wide_before = wide.tensor.detach().clone();
  const train::MuonOptions muon{0.9, 0.5, {}};
  Optimizer optimizer({many, wide, vector}, {}, muon, /*muon_rate=*/10);
  std::vector<at::Tensor> momentum = {at::zeros({6, 8, 5}), at::zeros({5, 8})};
  for (int t = 1; t <= 3; ++t) {
    std::vector<at::Tensor> gradients = {draw({6, 8, 5}, 10 * t, 1),
                                         draw({5, 8}, 10 * t + 1, 1e-4)};
    many.tensor.mutable_grad() = gradients[0].clone();
    wide.tensor.mutable_grad() = gradients[1].clone();
    vector.tensor.mutable_grad() = draw({9}, t, 1);
    const auto was = std::vector{many.tensor.detach().clone(), wide.tensor.detach().clone()};
    optimizer.step(0.01);
    for (size_t i = 0; i < 2; ++i) {
      momentum[i] = 0.9 * momentum[i] + 0.1 * gradients[i];
      const auto direction = 0.9 * momentum[i] + 0.1 * gradients[i];
      const auto& now = i == 0 ? many.tensor : wide.tensor;
      const auto step =
          (was[i] * (1 - 0.1 * 0.5) - now.detach()) / (0.1 * (i == 0 ? std::sqrt(1.6) : 1));
      const auto [u, sizes, v] = at::linalg_svd(step.to(at::kDouble), /*full_matrices=*/false);
      // Five steps of Newton-Schulz end between 0.6 and 1.3.
      CHECK(sizes.min().item<double>() > 0.6);
      CHECK(sizes.max().item<double>() < 1.3);
      const auto [left, all, right] = at::linalg_svd(direction.to(at::kDouble), false);
      const auto polar = at::matmul(left, right);
      CHECK((step - polar).abs().max().item<double>() < 0.4);
    }
  }
  CHECK(optimizer.steps() == 3);
  std::set<std::string> names;
  for (const auto& [name, tensor] : optimizer.state()) names.insert(name);
  CHECK(names == std::set<std::string>{"exp_avg.vector", "exp_avg_sq.vector",
                                       "momentum_buffer.many", "momentum_buffer.wide"});
  CHECK(scaled_error(many.tensor, many_before) > 1e-2);
  CHECK(scaled_error(wide.tensor, wide_before) > 1e-2);
}
