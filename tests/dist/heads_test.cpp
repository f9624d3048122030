#include "support/ranks.hpp"
#include "support/test.hpp"

#include <lact/dist/heads.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

using namespace lact;
using at::Tensor;

TEST_CASE("tokens of all for some heads are all tokens of them, and gradients go back alike") {
  const int count = GENERATE(1, 2, 4);
  CAPTURE(count);
  const int64_t l = 3, heads = 8;
  // Two sequences, heads of five channels; and one number a head, of another type.
  const auto wide =
      at::arange(2 * l * count * heads * 5, at::kDouble).sin().view({2, l * count, heads, 5});
  const auto narrow = at::arange(l * count * heads, at::kFloat).cos().view({1, l * count, heads});
  const auto part = [&](const Tensor& x, int64_t dim, const dist::Group& group) {
    return x.chunk(group.size(), dim)[static_cast<size_t>(group.rank())];
  };
  const auto results = test::on_ranks(count, [&](const dist::Group& group) {
    const auto a = part(wide, 1, group).clone().requires_grad_(true),
               b = part(narrow, 1, group).clone().requires_grad_(true);
    const auto there = dist::to_heads(group, {a, b});
    const auto back = dist::to_tokens(group, there[0].square() * there[1].unsqueeze(3));
    (back * part(wide, 1, group)).sum().backward();
    return std::vector<Tensor>{there[0].detach(), there[1].detach(), back.detach(), a.grad(),
                               b.grad()};
  });
  std::vector<Tensor> joined;
  for (size_t i = 0; i < 5; ++i) {
    std::vector<Tensor> parts;
    for (const auto& rank : results) parts.push_back(rank[i]);
    joined.push_back(at::cat(parts, i < 2 ? 2 : 1));
  }
  CHECK(joined[0].equal(wide));
  CHECK(joined[1].equal(narrow));
  const auto n = narrow.unsqueeze(3);
  CHECK((joined[2] - wide.square() * n).abs().max().item<double>() < 1e-12);
  // d/da sum a^2 b w = 2 a b w, d/db = sum of a^2 w over channels and sequences; here w = a.
  CHECK((joined[3] - 2 * wide.square() * n).abs().max().item<double>() < 1e-12);
  const auto sums = wide.pow(3).sum(at::IntArrayRef({0, 3})).unsqueeze(0);
  CHECK((joined[4] - sums).abs().max().item<double>() < 1e-5);
}
