#include "support/test.hpp"

#include <plugins/video/model/attention.hpp>
#include <plugins/video/model/layout.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <cmath>

using namespace lact::video;
using at::Tensor;

namespace {

Tensor waves(at::IntArrayRef shape, double frequency) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  return (at::arange(count, at::kDouble) * frequency + 0.2).sin().view(shape) * 2;
}

/// Softmax attention with a mask of all queries and keys.
Tensor dense(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
  const auto heads = [](const Tensor& x) { return x.transpose(1, 2); };
  const auto scores = at::matmul(heads(q), heads(k).mT()) / std::sqrt(q.size(3));
  return heads(at::matmul(scores.masked_fill(mask.logical_not(), -INFINITY).softmax(-1), heads(v)));
}

}  // namespace

TEST_CASE("noisy chunks come before the clean one, and the last clean one is left out", "[video]") {
  CHECK((make_plan(1, 2) == std::vector<Entry>{{0, false}, {0, false}}));
  CHECK((make_plan(3, 1) ==
         std::vector<Entry>{{0, false}, {0, true}, {1, false}, {1, true}, {2, false}}));
  CHECK(make_plan(7, 2).size() == 20);  // the published sequence: (r + 1) C - 1
  CHECK(plan_frames(make_plan(2, 1), 3).equal(at::tensor({0, 1, 2, 0, 1, 2, 3, 4, 5}, at::kLong)));
}

TEST_CASE("processes share the patches of an entry evenly, in the order of its tokens", "[video]") {
  // Two frames of 4 x 6 latents, patches of 2 x 2: rows of three tokens, four of them.
  const auto second = own_latents({1, 2, 2}, 2, 4, 6, 1, 4);
  CHECK(second[0].slice(0, 2).all().item<bool>());
  CHECK(second.sum().item<int64_t>() == 12);
  auto times = own_latents({1, 2, 2}, 2, 4, 6, 0, 3).to(at::kLong);
  CHECK(times[0][3][0].item<int64_t>() == 1);  // the fourth token, which begins the second row
  CHECK(times[0][3][2].item<int64_t>() == 0);
  for (const int64_t rank : {1, 2}) times += own_latents({1, 2, 2}, 2, 4, 6, rank, 3).to(at::kLong);
  CHECK((times == 1).all().item<bool>());
}

TEST_CASE("attention in groups equals attention under the whole mask", "[video]") {
  const int64_t chunks = GENERATE(1, 2, 4), repeats = GENERATE(1, 2), kv = GENERATE(0, 2, 5),
                batch = GENERATE(1, 2), n = 5;
  CAPTURE(chunks, repeats, kv, batch);
  const auto plan = make_plan(chunks, repeats);
  const auto length = static_cast<int64_t>(plan.size()) * n;
  const auto q = waves({batch, length, 3, 4}, 0.7), k = waves({batch, length, 3, 4}, 1.1),
             v = waves({batch, length, 3, 4}, 1.7);
  const auto want = dense(q, k, v, window_mask(plan, n, kv));
  const auto got = window_attention(q, k, v, {repeats, chunks - 1, repeats, n}, kv);
  CHECK((got - want).abs().max().item<double>() < 1e-12);
  if (kv == n) CHECK(window_attention(q, k, v, {repeats, chunks - 1, repeats, n}, -1).equal(got));
}

TEST_CASE("turning keeps lengths, and products of turned vectors depend on the way between them",
          "[video]") {
  const int64_t width = GENERATE(2, 12, 20, 128);
  CAPTURE(width);
  const auto at_frame = [&](const Tensor& x, int64_t frame) {
    return rotate_pairs(x, rotary_3d(width, at::tensor({frame}, at::kLong), 1, 1));
  };
  const auto a = waves({1, 1, 1, width}, 0.9), b = waves({1, 1, 1, width}, 1.3);
  const double near = (at_frame(a, 2) * at_frame(b, 5)).sum().item<double>();
  CHECK((at_frame(a, 102) * at_frame(b, 105)).sum().item<double>() == Approx(near).epsilon(1e-9));
  CHECK(at_frame(a, 7).norm().item<double>() == Approx(a.norm().item<double>()));
  CHECK(std::abs((at_frame(a, 2) * at_frame(b, 6)).sum().item<double>() - near) > 1e-3);
}

TEST_CASE("rows and columns turn channels of their own, a third of them each", "[video]") {
  // Width 128: 44 channels turn by time, 42 by row, 42 by column.
  const auto table = rotary_3d(128, at::tensor({0}, at::kLong), 2, 2);
  const auto moved = (table.sin != 0).to(at::kLong);  // [4, 64]
  CHECK(moved[0].sum().item<int64_t>() == 0);
  CHECK(moved[1].slice(0, 43).sum().item<int64_t>() == 21);
  CHECK(moved[1].sum().item<int64_t>() == 21);
  CHECK(moved[2].slice(0, 22, 43).sum().item<int64_t>() == 21);
  CHECK(table.sin[1][43].item<double>() == Approx(std::sin(1.0)));  // the first frequency is 1
}
