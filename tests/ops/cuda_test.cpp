// CUDA's kernels, products and scans against the CPU's, and what only a device can show.
#include "support/test.hpp"

#include "../../libs/lact/src/ops/kernels.hpp"
#include "../../libs/lact/src/ops/products.hpp"

#include <lact/ops/scan.hpp>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <c10/core/StreamGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/autograd.h>

using namespace lact;
using at::Tensor;

namespace {

constexpr auto kTypes = {at::kFloat, at::kDouble, at::kBFloat16};

c10::ScalarType wide(c10::ScalarType type) {
  return type == at::kDouble ? type : at::kFloat;
}

/// The formulas are the same, exp is not: a few units in the last place; in bfloat16 one, where the
/// float32 results round to different sides.
double bound_of(c10::ScalarType type) {
  return type == at::kDouble ? 1e-13 : type == at::kFloat ? 5e-6 : 0x1p-7;
}
/// Sums of a row run in another order.
double sum_bound(c10::ScalarType type) {
  return type == at::kDouble ? 1e-12 : 2e-5;
}

/// The same numbers on the CPU and the device. Some rows of longer heads, if `strided`: where the
/// width is odd they then begin at any address.
struct Twin {
  Tensor host, device;
  int64_t begin, rows;
  Twin(const Tensor& numbers, c10::ScalarType type, bool strided)
      : host(numbers.to(type)),
        device(host.to(test::device(), type, false, /*copy=*/true)),
        begin(strided ? 1 : 0),
        rows(numbers.size(1) - 3 * begin) {}
  Tensor of(const Tensor& whole) const { return whole.narrow(1, begin, rows); }
  /// Over all rows: the others must have stayed as they were.
  double error() const { return test::scaled_error(device, host); }
};

struct Shape {
  int64_t heads, rows, width;
  bool strided;
};

/// Tokens' tensors and rates of one shape.
struct Passes {
  c10::ScalarType type;
  std::vector<Twin> x, rate, grad_rate;
  Passes(const Shape& s, c10::ScalarType type, size_t count) : type(type) {
    const int64_t rows = s.rows + (s.strided ? 3 : 0);
    for (size_t i = 0; i < count; ++i)
      x.emplace_back(at::randn({s.heads, rows, s.width}, at::kDouble) * 2, type, s.strided);
    for (int i = 0; i < 3; ++i) {
      rate.emplace_back(at::rand({s.heads, rows, 1}, at::kDouble), wide(type), s.strided);
      grad_rate.emplace_back(at::rand({s.heads, rows, 1}, at::kDouble), wide(type), s.strided);
    }
  }
  /// pass(x, rate, grad_rate) on both, then compares all tensors.
  template <class F>
  void run(const F& pass) const {
    for (const auto side : {&Twin::host, &Twin::device}) {
      std::vector<Tensor> views;
      for (const auto& twin : x) views.push_back(twin.of(twin.*side));
      const auto rates = [&](const std::vector<Twin>& r) {
        return ops::kernels::TileRates{r[0].of(r[0].*side), r[1].of(r[1].*side),
                                       r[2].of(r[2].*side)};
      };
      pass(views, rates(rate), rates(grad_rate));
    }
    for (size_t i = 0; i < x.size(); ++i) {
      CAPTURE(i);
      CHECK(x[i].error() <= bound_of(type));
    }
    for (size_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(rate[i].error() == 0);
      CHECK(grad_rate[i].error() <= sum_bound(type));
    }
  }
};

using Views = std::vector<Tensor>;
using ops::kernels::TileRates;

}  // namespace

TEST_CASE("every pass over tokens gives the CPU's numbers, and writes nowhere else") {
  at::manual_seed(1);
  const auto type = GENERATE(values<c10::ScalarType>(kTypes));
  const int64_t width = GENERATE(1, 7, 8, 100, 264, 1536);
  const int64_t heads = GENERATE(1, 3), rows = GENERATE(1, 37);
  const bool strided = GENERATE(false, true);
  CAPTURE(type, width, heads, rows, strided);
  const Shape shape{heads, rows, width, strided};
  namespace kernels = ops::kernels;
  Passes(shape, type, 3).run([](const Views& x, const TileRates&, const TileRates&) {
    kernels::swiglu(x[0], x[1], x[2]);
  });
  Passes(shape, type, 3).run([](const Views& x, const TileRates&, const TileRates&) {
    kernels::swiglu_backward(x[0], x[1], x[2]);
  });
  Passes(shape, type, 6).run([](const Views& x, const TileRates& rate, const TileRates&) {
    kernels::delta_factors(x[0], x[1], x[2], rate, x[3], x[4], x[5]);
  });
  Passes(shape, type, 3).run([](const Views& x, const TileRates& rate, const TileRates&) {
    kernels::delta_factors_last(x[0], x[1], rate, x[2]);
  });
  Passes(shape, type, 6).run([](const Views& x, const TileRates& rate, const TileRates& grad_rate) {
    kernels::delta_factors_backward(x[0], x[1], x[2], x[3], x[4], x[5], rate, grad_rate);
  });
  Passes(shape, type, 3).run([](const Views& x, const TileRates& rate, const TileRates& grad_rate) {
    kernels::delta_factors_last_backward(x[0], x[1], x[2], rate, grad_rate);
  });
}

TEST_CASE("more rows than one grid has warps are all worked on") {
  at::manual_seed(2);
  const Shape shape{3, 200000, 3, false};  // the grid ends at 524288
  Passes(shape, at::kFloat, 3)
      .run([](const Views& x, const TileRates& rate, const TileRates& grad_r) {
        ops::kernels::delta_factors_last_backward(x[0], x[1], x[2], rate, grad_r);
      });
}

TEST_CASE("rows are rescaled, and backward, as on the CPU") {
  at::manual_seed(3);
  const auto type = GENERATE(at::kFloat, at::kDouble);
  const int64_t width = GENERATE(1, 5, 64, 1000);
  const bool inside = GENERATE(false, true), keep = GENERATE(false, true);
  CAPTURE(type, width, inside, keep);
  const auto numbers = [&](int64_t columns) {
    return Twin(at::randn({2, 19, columns}, at::kDouble), type, false);
  };
  const Twin base = numbers(width), move = numbers(width), norm = numbers(1), norm_ = numbers(1);
  const Twin u = numbers(width), w = numbers(width), w_ = numbers(width);
  for (const auto side : {&Twin::host, &Twin::device}) {
    (base.*side).select(1, 4).zero_();
    (move.*side).select(1, 4).zero_();  // a row of zeros has no direction
    ops::kernels::rescale(base.*side, move.*side, norm.*side, 1e-5, inside,
                          keep ? u.*side : Tensor(), w.*side);
    ops::kernels::rescale_backward(base.*side, norm.*side, 1e-5, inside, w_.*side, norm_.*side);
  }
  for (const auto* twin : {&u, &w}) CHECK(twin->error() <= bound_of(type));
  for (const auto* twin : {&w_, &norm_}) CHECK(twin->error() <= sum_bound(type));
}

TEST_CASE("squares are mirrored at their diagonal, and added to their transposes") {
  at::manual_seed(4);
  const auto type = GENERATE(values<c10::ScalarType>(kTypes));
  const int64_t n = GENERATE(1, 31, 64, 100), block = GENERATE(16, 64);
  CAPTURE(type, n, block);
  if (type == at::kBFloat16 && !test::device().is_cuda()) return;  // the CPU has no such kernels
  const auto x = at::randn({3, n, n}, at::kDouble).to(type);
  auto got = x.to(test::device(), type, false, /*copy=*/true);
  ops::kernels::symmetrize(got);
  CHECK(test::same_bytes(got, x + x.mT()));
  got = x.to(test::device(), type, false, /*copy=*/true);
  ops::kernels::mirror(got, block);
  const auto blocks = at::arange(n, at::kLong).div(block, "floor");
  CHECK(test::same_bytes(got, at::where(blocks.unsqueeze(1) < blocks.unsqueeze(0), x.mT(), x)));
}

TEST_CASE("products of bfloat16 are summed in float32 where they are told to") {
  if (!test::device().is_cuda()) return;  // the CPU adds them by itself
  at::manual_seed(5);
  const auto a = at::randn({3, 40, 100}, at::kDouble).to(at::kBFloat16),
             b = at::randn({3, 100, 50}, at::kDouble).to(at::kBFloat16);
  const auto sum = at::randn({3, 40, 50}, at::kFloat);
  const auto want = at::matmul(a.to(at::kDouble), b.to(at::kDouble));
  const auto got = sum.to(test::device());
  // Tokens' matrices are transposed views of tiles.
  const auto left = a.mT().contiguous().to(test::device()).mT(), right = b.to(test::device());
  ops::multiply(got, left, right, /*add=*/true);
  CHECK(test::scaled_error(got, want + sum) < 1e-5);  // rounded to bfloat16 it would be 4e-3
  ops::multiply(got, left, right);
  CHECK(test::scaled_error(got, want) < 1e-5);
}

namespace {

/// A scan's inputs as leaves, on one device.
struct Case {
  ops::FastWeights w;
  ops::Tokens tokens;
  Tensor q;
  ops::Rule rule;
  std::vector<Tensor> leaves;

  /// The numbers depend on the seed alone.
  Case(const std::string& name, c10::ScalarType type, at::Device device) {
    at::manual_seed(6);
    rule = ops::Rule::from_name(name);
    constexpr int64_t kN = 3, kL = 45, kK = 24, kV = 40, kF = 32;
    const auto leaf = [&](const Tensor& x, c10::ScalarType as) {
      // bfloat16's inputs are everybody's, so that only its arithmetic differs
      leaves.push_back(x.to(at::kBFloat16).to(as).to(device).requires_grad_(true));
      return leaves.back();
    };
    const auto normal = [&](at::IntArrayRef sizes, c10::ScalarType as) {
      return leaf(at::randn(sizes, at::kDouble) / 4, as);
    };
    const auto rate = [&] { return leaf(at::rand({kN, kL, 1}, at::kDouble) * 0.1, wide(type)); };
    w = {normal({kN, kF, kK}, wide(type)), normal({kN, kF, kK}, wide(type)),
         normal({kN, kV, kF}, wide(type))};
    q = normal({kN, kL, kK}, type);
    tokens.k = normal({kN, kL, kK}, type);
    tokens.v = normal({kN, kL, kV}, type);
    tokens.rate = {rate(), rate(), rate()};
    if (rule.momentum) tokens.momentum = rate();
  }

  /// The output, and the gradients of all leaves.
  std::vector<Tensor> run(bool recompute = false) const {
    ops::ScanOptions options;
    options.recompute = recompute;
    options.tile = 10;
    const auto schedule = ops::shifted_block_causal(q.size(1), /*chunk=*/16);
    const auto done =
        ops::scan(ops::initial_state(w, rule), {}, q, tokens, schedule, rule, options);
    const auto loss = (done.out * done.out).sum() + done.state.w.down.sum();
    auto all = torch::autograd::grad({loss}, leaves);
    all.push_back(done.out.detach());
    return all;
  }
};

void compare(const std::vector<Tensor>& got, const std::vector<Tensor>& want, double bound) {
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(test::scaled_error(got[i], want[i]) < bound);
  }
}

}  // namespace

TEST_CASE("a scan and its gradients are the CPU's, for every rule") {
  const std::string name = GENERATE(from_range(ops::Rule::names()));
  const bool recompute = GENERATE(false, true);
  CAPTURE(name, recompute);
  compare(Case(name, at::kDouble, test::device()).run(recompute),
          Case(name, at::kDouble, at::kCPU).run(recompute), 1e-9);
}

TEST_CASE("a scan with products in bfloat16 is within bfloat16 of the exact one") {
  const std::string name = GENERATE("gd", "momentum");
  CAPTURE(name);
  compare(Case(name, at::kBFloat16, test::device()).run(), Case(name, at::kDouble, at::kCPU).run(),
          5e-2);
}

TEST_CASE("many large matrices are orthogonalized as one is, by blocks or not") {
  at::manual_seed(7);
  // On a device: 512 matrices of 2 x 2 blocks go by blocks, 3 do not.
  const int64_t count = test::device().is_cuda() ? GENERATE(3, 512) : 3;
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  CAPTURE(count, type);
  ops::NewtonSchulz how;
  const auto some = [](const Tensor& x) { return x.narrow(0, x.size(0) - 2, 2); };
  const auto g = at::randn({count, 256, 512}, test::device()), g_ = at::randn_like(g);
  const auto run = [&](const Tensor& x, const Tensor& x_) {
    const auto leaf = x.detach().clone().requires_grad_(true);
    const auto out = ops::orthogonalize(leaf, how);
    return std::vector<Tensor>{out.detach(), torch::autograd::grad({out}, {leaf}, {x_})[0]};
  };
  how.dtype = type;
  auto got = run(g, g_);
  how.dtype = at::kDouble;
  const auto want = run(some(g).to(at::kCPU, at::kDouble), some(g_).to(at::kCPU, at::kDouble));
  for (auto& x : got) x = some(x);
  compare(got, want, type == at::kFloat ? 1e-3 : 1e-1);
}

TEST_CASE("a scan and its gradients are captured in a graph that replays to the same bytes") {
  if (!test::device().is_cuda()) return;
  const std::string name = GENERATE("momentum", "muon");
  const auto type = GENERATE(at::kFloat, at::kBFloat16);
  CAPTURE(name, type);
  const c10::StreamGuard guard(c10::cuda::getStreamFromPool().unwrap());
  const Case scan(name, type, test::device());
  const auto before = scan.run();  // loads kernels and makes cuBLAS's workspace
  scan.run();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto captured = scan.run();
  graph.capture_end();
  {
    const at::NoGradGuard no_graph;
    for (const auto& leaf : scan.leaves) leaf.mul_(0.75);
  }
  graph.replay();
  const auto want = scan.run();
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(test::same_bytes(captured[i], want[i]));
    CHECK_FALSE(test::same_bytes(captured[i], before[i]));
  }
}
