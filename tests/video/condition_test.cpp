// Prompts: classes by name and number, bytes, nothing.

#include <lact/error.hpp>
#include <plugins/video/condition/condition.hpp>
#include <tests/support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>

namespace lact::video {
namespace {

using at::Tensor;

Config config(const std::string& condition) {
  Config config;
  config.text_dim = 3;
  config.text_len = 4;
  config.condition = condition;
  config.classes = {"bouncing", "turning"};
  return config;
}

TEST_CASE("a class is its name or its number, and the last row is none", "[condition]") {
  const auto c = config("class");
  CHECK(condition_shape(c) == std::vector<int64_t>{3, 4, 3});
  const auto table = at::randn({3, 4, 3});
  const auto prompts = make_conditioner(c, table);
  const auto got = prompts->embed({"turning", "1", "0", ""});
  CHECK(test::same_bytes(got[0], table[1]));
  CHECK(test::same_bytes(got[1], table[1]));
  CHECK(test::same_bytes(got[2], table[0]));
  CHECK(test::same_bytes(got[3], table[2]));
  CHECK_THROWS_WITH(prompts->embed({"turnign"}), Catch::Contains("turning"));
  CHECK_THROWS_AS(prompts->embed({"2"}), Error);  // "no class" has no number
}

TEST_CASE("bytes end with an end, are cut to text_len, and have no mean", "[condition]") {
  const auto c = config("bytes");
  CHECK(condition_shape(c) == std::vector<int64_t>{257, 3});
  const auto table = at::randn({257, 3}) + 5;
  const auto prompts = make_conditioner(c, table);
  const auto got = prompts->embed({"ab", "", "abcdefgh"});
  REQUIRE(got.sizes() == at::IntArrayRef({3, 4, 3}));
  const auto row = [&](int64_t i) { return table[i] - table.mean(0); };
  CHECK(test::scaled_error(got[0][0], row('a')) < 1e-6);
  CHECK(test::scaled_error(got[0][2], row(256)) < 1e-6);
  CHECK(got[0][3].abs().max().item<float>() == 0);
  CHECK(test::scaled_error(got[1][0], row(256)) < 1e-6);
  CHECK(got[1].slice(0, 1).abs().max().item<float>() == 0);
  CHECK(test::scaled_error(got[2][2], row('c')) < 1e-6);
  CHECK(test::scaled_error(got[2][3], row(256)) < 1e-6);
  CHECK(prompts->embed({""}).sizes() == at::IntArrayRef({1, 1, 3}));
}

TEST_CASE("a table of prompts learns what was looked up", "[condition]") {
  const auto table = at::randn({3, 4, 3}).requires_grad_();
  make_conditioner(config("class"), table)->embed({"1", "1"}).sum().backward();
  const auto& gradient = table.grad();
  CHECK(gradient[1].sum().item<float>() == 24);
  CHECK(gradient[0].abs().sum().item<float>() == 0);
  const auto bytes = at::randn({257, 3}).requires_grad_();
  make_conditioner(config("bytes"), bytes)->embed({"a"}).sum().backward();
  CHECK(bytes.grad()['a'][0].item<float>() == Approx(1 - 2.0 / 257));
}

TEST_CASE("without a condition a prompt is one row of zeros", "[condition]") {
  const auto got = make_conditioner(config("none"), {})->embed({"a", "b"});
  CHECK(got.sizes() == at::IntArrayRef({2, 1, 3}));
  CHECK(got.abs().sum().item<float>() == 0);
  CHECK(condition_shape(config("none")).empty());
  CHECK_THROWS_WITH(make_conditioner(config("smell"), {}), Catch::Contains("smell"));
}

}  // namespace
}  // namespace lact::video
