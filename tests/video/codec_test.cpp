// Frames to latents and back: nothing is lost where nothing may be, and principal components are
// those of a set whose components are known.

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/video/codec/codec.hpp>
#include <plugins/video/model/model_options.hpp>
#include <tests/support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <cmath>

namespace lact::video {
namespace {

using at::Tensor;

std::unique_ptr<Codec> plain(const std::string& type, int64_t factor) {
  return open_codec({type, factor}, nullptr, {}, at::kCPU);
}

double largest(const Tensor& x) {
  return x.abs().max().item<double>();
}

/// One frame of four pixels, of factor 1: +-0.6 along (1, 1, 1), +-0.2 along (2, -1, -1), about
/// (0.1, 0, -0.1), all in [-1, 1].
Tensor known_set() {
  const double u = 1 / std::sqrt(3), v = 1 / std::sqrt(6);
  const auto first = at::tensor({u, u, u}, at::kDouble),
             second = at::tensor({2 * v, -v, -v}, at::kDouble),
             mean = at::tensor({0.1, 0.0, -0.1}, at::kDouble);
  const auto pixels =
      at::cat({mean + 0.6 * first, mean - 0.6 * first, mean + 0.2 * second, mean - 0.2 * second});
  return ((pixels.view({4, 3}).t() + 1) / 2).reshape({1, 3, 1, 2, 2}).to(at::kFloat);
}

TEST_CASE("pixels and unshuffled pixels come back, and keep their frames", "[codec]") {
  const auto video = at::rand({2, 3, 5, 8, 12});
  const int64_t factor = GENERATE(1, 2, 4);
  const auto codec = factor == 1 ? plain("pixels", 7) : plain("unshuffle", factor);
  CHECK(codec->factor() == factor);
  CHECK(codec->channels() == 3 * factor * factor);
  CHECK(codec->frames(5) == 5);
  CHECK(codec->latents(5) == 5);
  const auto latent = codec->encode(video);
  CHECK(latent.sizes() == at::IntArrayRef({2, 5, 3 * factor * factor, 8 / factor, 12 / factor}));
  DecoderMemory memory;
  CHECK(largest(codec->decode(latent, memory) - video) < 1e-6);  // 2 x - 1 rounds
  CHECK(memory.empty());
  CHECK(codec->tensors().empty());
}

TEST_CASE("an unshuffled latent holds red's four pixels, then green's, then blue's", "[codec]") {
  const auto video = at::arange(48, at::kFloat).view({1, 3, 1, 4, 4}) / 48;
  const auto latent = plain("unshuffle", 2)->encode(video);
  const auto want = at::tensor({0, 1, 4, 5, 16, 17, 20, 21, 32, 33, 36, 37}, at::kFloat);
  CHECK(largest((latent[0][0].select(1, 0).select(1, 0) + 1) / 2 * 48 - want) < 1e-4);
}

TEST_CASE("decoded values outside [0, 1] are clamped", "[codec]") {
  DecoderMemory memory;
  const auto video =
      plain("pixels", 1)->decode(at::tensor({-3.f, 0.f, 3.f}).view({1, 1, 3, 1, 1}), memory);
  CHECK(test::same_bytes(video.flatten(), at::tensor({0.f, 0.5f, 1.f})));
}

TEST_CASE("principal components are those the pixels were made of", "[codec]") {
  PcaFit fit(1, 2);
  fit.add(known_set());
  fit.add(known_set());  // twice the same changes nothing
  const auto codec = fit.finish();
  const auto tensors = codec->tensors();
  const auto near = [](const Tensor& got, const Tensor& want) { return largest(got - want); };
  CHECK(near(tensors[0].second, at::tensor({0.1f, 0.0f, -0.1f})) < 1e-6);
  const float u = 1 / std::sqrt(3.f), v = 1 / std::sqrt(6.f);
  CHECK(near(tensors[1].second, at::tensor({u, u, u, 2 * v, -v, -v}).view({2, 3})) < 1e-5);
  // variances 2 * 0.36 / 4 and 2 * 0.04 / 4
  CHECK(near(tensors[2].second, at::tensor({std::sqrt(0.18f), std::sqrt(0.02f)})) < 1e-6);
  const auto latent = codec->encode(known_set());  // +-0.6 / sqrt(0.18) and +-0.2 / sqrt(0.02)
  const float r = std::sqrt(2.f);
  CHECK(near(latent.flatten(), at::tensor({r, -r, 0.f, 0.f, 0.f, 0.f, r, -r})) < 1e-5);
  DecoderMemory memory;
  CHECK(near(codec->decode(latent, memory), known_set()) < 1e-6);
}

TEST_CASE("films in the span of the components come back, others lose what lies outside",
          "[codec]") {
  const auto directions = at::randn({5, 48}), weights = at::randn({5, 6 * 4, 5}) * 0.1;
  const auto patches = at::matmul(weights.flatten(0, 1), directions).clamp(-1, 1) * 0.2;
  const auto video = (patches.view({1, 5, 4, 6, 3, 4, 4}).permute({0, 4, 1, 2, 5, 3, 6}) + 1) / 2;
  const auto film = video.reshape({1, 3, 5, 16, 24}).contiguous();
  DecoderMemory memory;
  const auto error = [&](int64_t channels) {
    PcaFit fit(4, channels);
    fit.add(film);
    const auto codec = fit.finish();
    return largest(codec->decode(codec->encode(film), memory) - film);
  };
  CHECK(error(48) < 1e-5);
  CHECK(error(2) > 1e-3);
}

TEST_CASE("a set that never changes has finite latents", "[codec]") {
  PcaFit fit(2, 12);
  const auto still = at::rand({1, 3, 1, 2, 2}).expand({1, 3, 3, 2, 2});
  fit.add(still);
  const auto codec = fit.finish();
  CHECK(largest(codec->encode(still)) < 1e-2);
}

TEST_CASE("principal components written to a model's file are read from it", "[codec]") {
  PcaFit fit(2, 5);
  fit.add(at::rand({1, 3, 2, 8, 8}));
  const auto codec = fit.finish();
  const test::TemporaryFolder folder;
  const auto file = folder / "model.safetensors";
  io::write_safetensors(file, codec->tensors());
  const auto open = [&] {
    const auto model = io::Checkpoint::open(file);
    return open_codec({"pca", 2}, &model, {}, at::kCPU);
  };
  const auto video = at::rand({1, 3, 2, 4, 4});
  CHECK(test::same_bytes(open()->encode(video), codec->encode(video)));
  SECTION("not if one is missing") {
    io::write_safetensors(file, {codec->tensors()[0], codec->tensors()[1]});
    CHECK_THROWS_WITH(open(), Catch::Contains("codec.scale") && Catch::Contains("missing"));
  }
  SECTION("not if one is of another factor") {
    auto tensors = codec->tensors();
    tensors[1].second = at::rand({5, 27});
    io::write_safetensors(file, tensors);
    CHECK_THROWS_WITH(open(), Catch::Contains("codec.basis: expected") && Catch::Contains("12"));
  }
  SECTION("not if a spread is zero") {
    auto tensors = codec->tensors();
    tensors[2].second = tensors[2].second * 0;
    io::write_safetensors(file, tensors);
    CHECK_THROWS_WITH(open(), Catch::Contains("above 0"));
  }
}

TEST_CASE("what no codec can do is refused", "[codec]") {
  CHECK_THROWS_WITH(plain("jpeg", 1), Catch::Contains("unshuffle") && Catch::Contains("jpeg"));
  CHECK_THROWS_WITH(plain("unshuffle", 0), Catch::Contains("factor"));
  CHECK_THROWS_WITH(plain("pca", 4), Catch::Contains("belongs to a model"));
  CHECK_THROWS_WITH(plain("unshuffle", 4)->encode(at::rand({1, 3, 1, 8, 10})),
                    Catch::Contains("10 x 8") && Catch::Contains("multiples of 4"));
  CHECK_THROWS_AS(PcaFit(2, 13), Error);
  CHECK_THROWS_WITH(PcaFit(2, 12).finish(), Catch::Contains("no frames"));
}

TEST_CASE("the largest factor is the same wherever one is told", "[codec]") {
  const auto option = [](int64_t factor) {
    cli::CommandLine line;
    ModelOptions options;
    options.declare(line.options());
    line.parse({"--codec", "unshuffle", "--codec-factor", std::to_string(factor)});
  };
  auto config = Config::preset("tiny");
  config.codec = {"unshuffle", kMostFactor};
  CHECK_NOTHROW(plain("unshuffle", kMostFactor));
  CHECK_NOTHROW(config.check("config"));
  CHECK_NOTHROW(option(kMostFactor));
  config.codec.factor += 1;
  CHECK_THROWS_WITH(plain("unshuffle", kMostFactor + 1), Catch::Contains("1 to 32"));
  CHECK_THROWS_WITH(config.check("config"), Catch::Contains("1 to 32"));
  CHECK_THROWS_AS(option(kMostFactor + 1), Error);
}

}  // namespace
}  // namespace lact::video
