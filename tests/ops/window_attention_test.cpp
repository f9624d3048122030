#include "support/test.hpp"

#include <lact/ops/window_attention.hpp>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include <cmath>

using namespace lact;
using at::Tensor;

namespace {

/// The definition: a dense masked softmax.
Tensor dense(const Tensor& q, const Tensor& k, const Tensor& v, std::optional<int64_t> window,
             const Tensor& documents) {
  const int64_t before = k.size(2) - q.size(2);
  const auto gap = at::arange(before, k.size(2)).unsqueeze(1) - at::arange(k.size(2)).unsqueeze(0);
  auto hidden = gap.lt(0);
  if (window) hidden = hidden.logical_or(gap.ge(*window));
  if (documents.defined())
    hidden = hidden.logical_or(
        documents.slice(1, before).unsqueeze(2).ne(documents.unsqueeze(1)).unsqueeze(1));
  const auto scores =
      at::einsum("bhid,bhjd->bhij", {q, k}) / std::sqrt(static_cast<double>(q.size(3)));
  return at::einsum("bhij,bhjd->bhid", {scores.masked_fill(hidden, -INFINITY).softmax(-1), v});
}

}  // namespace

TEST_CASE("window attention is the dense masked softmax, gradients too") {
  at::manual_seed(1);
  const int64_t queries = GENERATE(1, 5, 300), before = GENERATE(0, 3, 150);
  const auto window = GENERATE(std::optional<int64_t>(), std::optional<int64_t>(1),
                               std::optional<int64_t>(7), std::optional<int64_t>(100));
  const bool cut = GENERATE(false, true);
  CAPTURE(queries, before, window.value_or(-1), cut);
  const int64_t keys = queries + before;
  const auto leaf = [&](int64_t length) {
    return at::randn({2, 3, length, 8}, at::kDouble).requires_grad_(true);
  };
  const auto q = leaf(queries), k = leaf(keys), v = leaf(keys);
  const auto documents = cut ? at::randint(0, 20, {2, keys}, at::kLong).lt(1).cumsum(1) : Tensor();
  const auto probe = at::randn({2, 3, queries, 8}, at::kDouble);
  const auto gradients = [&](const Tensor& out) {
    for (const auto& x : {q, k, v}) x.mutable_grad() = Tensor();
    (out * probe).sum().backward();
    return std::vector<Tensor>{q.grad(), k.grad(), v.grad()};
  };
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  const auto want = dense(q, k, v, window, documents);
  const auto got = ops::window_attention(q, k, v, window, documents);
  CHECK(test::scaled_error(got, want) < 1e-12);
  const auto want_gradients = gradients(want), got_gradients = gradients(got);
  for (size_t i = 0; i < 3; ++i)
    // With a window of 1 the gradients of q and k are zero: what is left is rounding over 1e-6.
    CHECK(test::scaled_error(got_gradients[i], want_gradients[i]) < 1e-8);
  at::set_num_threads(threads);
}
