#include "support/ranks.hpp"
#include "support/test.hpp"

#include <lact/dist/sharded.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>

using namespace lact;
using at::Tensor;
using dist::Sharded;
using test::on_ranks;

namespace {

/// Sizes that divide by nothing, and one smaller than the number of processes.
io::NamedTensors drawn() {
  io::NamedTensors all;
  for (const auto& [name, shape] : {std::pair<const char*, std::vector<int64_t>>{"weight", {7, 11}},
                                    {"one", {1}},
                                    {"cube", {2, 3, 5}},
                                    {"unused", {40}}})
    all.emplace_back(name, at::randn(shape));
  return all;
}

/// The same for each rank, whose thread must not draw: they share a generator.
io::NamedTensors block() {
  static const auto kDrawn = drawn();
  io::NamedTensors all;
  for (const auto& [name, tensor] : kDrawn)
    all.emplace_back(name, tensor.clone().requires_grad_(true));
  return all;
}

/// Each rank's own loss: gradients differ.
Tensor loss(const io::NamedTensors& p, int rank) {
  return (rank + 1.0) * (p[0].second.square().sum() * p[1].second.sum() + p[2].second.pow(3).sum());
}

}  // namespace

TEST_CASE("a block that is cut over processes is gathered whole, and its gradients are summed") {
  const int ranks = GENERATE(1, 2, 3, 4);
  CAPTURE(ranks);
  const auto want = block();
  for (int rank = 0; rank < ranks; ++rank) loss(want, rank).backward();
  struct Seen {
    io::NamedTensors gathered, gradients;
    int64_t kept = 0;
  };
  for (const auto& seen : on_ranks(ranks, [&](const dist::Group& group) {
         const Sharded cut(group, block());
         Seen seen;
         seen.gathered = cut.gathered();
         loss(seen.gathered, group.rank()).backward();
         for (size_t i = 0; i < cut.parts().size(); ++i) {
           const auto& [name, part] = cut.parts()[i];
           seen.kept += part.numel();
           seen.gradients.emplace_back(name, cut.whole(i, part.grad()));
         }
         return seen;
       })) {
    int64_t numbers = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      CAPTURE(want[i].first);
      numbers += want[i].second.numel();
      CHECK(seen.gathered[i].first == want[i].first);
      CHECK(test::same_bytes(seen.gathered[i].second.detach(), want[i].second.detach()));
      if (want[i].second.grad().defined())
        CHECK(test::scaled_error(seen.gradients[i].second, want[i].second.grad()) < 1e-6);
      else
        CHECK(seen.gradients[i].second.abs().max().item<double>() == 0);
    }
    CHECK(seen.kept <= numbers / ranks + 16 * static_cast<int64_t>(want.size()));
  }
}

TEST_CASE("a part of a whole tensor, put together with the others, is that tensor") {
  const auto moment = at::randn({7, 11});
  for (const auto& same : on_ranks(3, [&](const dist::Group& group) {
         const Sharded cut(group, block());
         return cut.whole(0, cut.part(0, moment));
       }))
    CHECK(test::same_bytes(same, moment));
}
