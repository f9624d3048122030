#include <lact/nn/parameters.hpp>
#include <support/test.hpp>

#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

using namespace lact;
using at::Tensor;

namespace {

const nn::Shapes shapes = {{"b.weight", {2, 3}}, {"a.weight", {4}}, {"b.bias", {2}}};

nn::Parameters numbered() {
  double next = 0;
  return {shapes,
          [&](const std::string&, const nn::Shape& shape) { return at::full(shape, ++next); }};
}

}  // namespace

TEST_CASE(
    "parameters keep the order of their shapes, and a part of them has the rest of the names") {
  const auto all = numbered();
  REQUIRE(all.all().size() == 3);
  CHECK(all.all()[0].first == "b.weight");
  CHECK(all.all()[1].first == "a.weight");
  CHECK(nn::count(shapes) == 6 + 4 + 2);

  const auto b = all.under("b.");
  REQUIRE(b.all().size() == 2);
  CHECK(b("bias").is_same(all("b.bias")));
  CHECK(!b.find("a.weight").defined());
}

TEST_CASE("a parameter that is not there is named") {
  CHECK_THROWS_WITH(numbered()("c.weight"), Catch::Contains("c.weight"));
  CHECK(!numbered().find("c.weight").defined());
}

TEST_CASE("a seed draws the same parameters again, and another seed others") {
  const nn::InitialValue normal = [](const std::string&, const nn::Shape& shape,
                                     const at::Generator& generator) {
    return at::zeros(shape).normal_(0, 1, generator);
  };
  const auto draw = [&](uint64_t seed) { return nn::fresh(shapes, seed, at::kCPU, normal); };
  CHECK(at::equal(draw(1)("b.weight"), draw(1)("b.weight")));
  CHECK(!at::equal(draw(1)("b.weight"), draw(2)("b.weight")));
}
