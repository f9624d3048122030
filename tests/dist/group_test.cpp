#include "support/ranks.hpp"
#include "support/test.hpp"

#include <lact/dist/group.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

using namespace lact;
using at::Tensor;
using test::on_ranks;

TEST_CASE("collectives give every rank what they promise") {
  const int count = GENERATE(1, 2, 3, 5);
  CAPTURE(count);
  const auto mine = [](const dist::Group& group) {
    return at::full({2}, group.rank() + 1.0, at::kDouble);
  };
  for (const auto& sum : on_ranks(count, [&](const dist::Group& group) {
         const auto x = mine(group);
         group.all_reduce(x)->wait();
         return x;
       }))
    CHECK(sum[1].item<double>() == count * (count + 1) / 2);
  for (const auto& most : on_ranks(count, [&](const dist::Group& group) {
         const auto x = mine(group);
         group.all_reduce(x, dist::Op::max)->wait();
         return x;
       }))
    CHECK(most[0].item<double>() == count);
  for (const auto& all : on_ranks(count, [&](const dist::Group& group) {
         const auto out = at::empty({group.size(), 2}, at::kDouble);
         group.all_gather(out, mine(group))->wait();
         return out;
       }))
    for (int64_t r = 0; r < count; ++r) CHECK(all[r][1].item<double>() == r + 1);
  const auto exchanged = on_ranks(count, [&](const dist::Group& group) {
    const auto in = at::arange(group.size(), at::kDouble) + 100 * group.rank();
    const auto out = at::empty({group.size()}, at::kDouble);
    group.all_to_all(out, in)->wait();
    return out;
  });
  for (int64_t to = 0; to < count; ++to)
    for (int64_t from = 0; from < count; ++from)
      CHECK(exchanged[static_cast<size_t>(to)][from].item<double>() == 100 * from + to);
  for (const auto& x : on_ranks(count, [&](const dist::Group& group) {
         const auto y = mine(group);
         group.broadcast(y, group.size() - 1)->wait();
         return y;
       }))
    CHECK(x[0].item<double>() == count);
}

TEST_CASE("a sum in order has the same bits for one, two, four and eight ranks") {
  at::manual_seed(3);
  const auto leaves = at::randn({8, 1001});  // an odd size: the last part is padded
  // Eight parts as a binary tree, whoever has them.
  const auto tree = [](std::vector<Tensor> parts) {
    while (parts.size() > 1) {
      std::vector<Tensor> above;
      for (size_t i = 0; i + 1 < parts.size(); i += 2) above.push_back(parts[i] + parts[i + 1]);
      parts = above;
    }
    return parts[0].clone();
  };
  std::vector<Tensor> all;
  for (int64_t i = 0; i < 8; ++i) all.push_back(leaves[i]);
  const auto want = tree(all);
  for (const int count : {1, 2, 4, 8}) {
    CAPTURE(count);
    for (const auto& got : on_ranks(count, [&](const dist::Group& group) {
           const int share = 8 / group.size();
           const auto first = all.begin() + group.rank() * share;
           auto x = tree({first, first + share});
           group.sum_in_order(x);
           return x;
         }))
      CHECK(got.equal(want));
  }
  // Others have the same value on all ranks, if not these bits.
  const auto odd = on_ranks(3, [&](const dist::Group& group) {
    auto x = leaves[group.rank()].clone();
    group.sum_in_order(x);
    return x;
  });
  CHECK(odd[0].equal(odd[2]));
  CHECK(odd[0].allclose(leaves.slice(0, 0, 3).sum(0)));
}

TEST_CASE("numbers and bytes of each rank reach all") {
  const auto checked = on_ranks(3, [](const dist::Group& group) {
    const auto numbers = group.gather(std::vector<double>{group.rank() * 2.0, 1e300});
    const auto words = group.gather(std::string(static_cast<size_t>(group.rank()), 'x'));
    const bool right = numbers.size() == 3 && numbers[2][0] == 4 && numbers[1][1] == 1e300 &&
                       words == std::vector<std::string>{"", "x", "xx"} &&
                       group.gather(std::string()) == std::vector<std::string>(3);
    return at::full({1}, right ? 1 : 0);
  });
  for (const auto& right : checked) CHECK(right.item<int64_t>() == 1);
}
