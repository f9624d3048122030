#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/train/averages.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

using namespace lact;
using namespace lact::test;
using train::Averages;

namespace {

at::Tensor value(double a, double b) {
  return at::tensor({a, b}, at::kFloat);
}

}  // namespace

TEST_CASE("averages keep their weight of themselves and start at the parameters", "[averages]") {
  const auto parameter = value(1, -8);
  Averages averages({{"w", parameter}}, 0.75);
  CHECK(same_bytes(averages.values()[0], value(1, -8)));
  parameter.copy_(value(2, -8));
  averages.update();
  CHECK(same_bytes(averages.values()[0], value(1.25, -8)));  // 0.75 * 1 + 0.25 * 2
  parameter.copy_(value(4, 0));
  averages.update();
  CHECK(same_bytes(averages.values()[0], value(1.9375, -6)));
}

TEST_CASE("averages and parameters are exchanged in place, whatever their size", "[averages]") {
  const auto size = GENERATE(int64_t{1}, int64_t{1} << 18, (int64_t{1} << 18) + 3);
  const auto large = at::arange(size, at::kFloat), small = value(1, 2);
  const auto before = large.clone();
  const void* place = large.data_ptr();
  Averages averages({{"large", large}, {"small", small}}, 0.5);
  large.add_(1);
  {
    const train::AveragesGuard guard(&averages);
    CHECK(same_bytes(large, before));
    CHECK(same_bytes(averages.values()[0], before + 1));
    CHECK(same_bytes(averages.state()[0].second, before + 1));
  }
  CHECK(large.data_ptr() == place);
  CHECK(same_bytes(large, before + 1));
  CHECK(same_bytes(averages.values()[0], before));
}

TEST_CASE("parameters that belong to other averages are refused by name", "[averages]") {
  Averages averages({{"w", value(1, 2)}}, 0.5);
  const auto refusal = [&](const io::NamedTensors& state) {
    try {
      averages.load(state);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal({}) == "optimizer state: tensor parameter.w: missing");
  CHECK_THAT(refusal({{"parameter.w", at::arange(3, at::kFloat)}}),
             Catch::Contains("expected Float [2], found Float [3]"));
  CHECK_THAT(refusal({{"parameter.w", value(1, 2)}, {"parameter.v", value(1, 2)}}),
             Catch::Contains("expected 1 parameters, found 2"));
  CHECK(refusal({{"parameter.w", value(3, 4)}}).empty());
}
