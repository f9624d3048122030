// The causal VAE against the reference's numbers, and what it must be whatever the weights.

#include "../io/pickles.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/pickle.hpp>
#include <lact/io/safetensors.hpp>
#include <lact/verify/golden.hpp>
#include <plugins/video/codec/wan_vae.hpp>
#include <plugins/video/verify/golden.hpp>
#include <tests/support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>

namespace lact::video {
namespace {

using at::Tensor;

const auto kFolder = test::source_root() / "tests/golden/video";
const auto kPort = kFolder / "vae_tiny_diffusers.safetensors";
const auto kOfficial = kFolder / "vae_tiny_official.pth";

std::unique_ptr<Codec> tiny() {
  return open_codec({"wan", 8}, nullptr, kPort, at::kCPU);
}

/// The tiny VAE's tensors, to be changed.
io::NamedTensors tensors() {
  const auto file = io::SafeTensors::open(kPort);
  io::NamedTensors all;
  for (const auto& entry : file.entries())
    all.emplace_back(entry.name, file.tensor(entry.name).clone());
  return all;
}

io::Metadata metadata() {
  return io::SafeTensors::open(kPort).metadata();
}

TEST_CASE("the VAE computes what the reference does, in both namings", "[wan]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  for (const auto* both : {"", "official alone"}) {
    const test::TemporaryFolder folder;
    const auto place = *both == 0 ? kFolder : folder.path();
    if (*both != 0)
      for (const auto* name : {"vae_tiny_io.safetensors", "vae_tiny_official.pth"})
        std::filesystem::copy(kFolder / name, folder / name);
    const auto result =
        verify::replay(place / "vae_tiny_io.safetensors", wan_kinds(), {test::device(), dtype, {}});
    CHECK(result.count(verify::Verdict::pass) == 4);
    CHECK(result.verdict() == verify::Verdict::pass);
  }
}

TEST_CASE("a film decoded in pieces has the bits of one decoded at once", "[wan]") {
  const auto codec = tiny();
  const auto latents = at::randn({2, 7, 4, 2, 3});
  DecoderMemory whole, memory;
  const auto want = codec->decode(latents, whole);
  CHECK(want.sizes() == at::IntArrayRef({2, 3, 25, 16, 24}));
  std::vector<Tensor> pieces;
  std::vector<int64_t> bytes;
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 3}, {3, 7}}) {
    pieces.push_back(codec->decode(latents.slice(1, begin, end), memory));
    int64_t total = 0;
    for (const auto& [name, tensor] : memory) total += static_cast<int64_t>(tensor.nbytes());
    bytes.push_back(total);
  }
  CHECK(pieces[0].size(2) == 1);
  CHECK(pieces[1].size(2) == 8);
  CHECK(pieces[2].size(2) == 16);
  CHECK(test::same_bytes(at::cat(pieces, 2), want));
  CHECK(bytes[2] == bytes[1]);
  CHECK(memory.size() == whole.size());
}

TEST_CASE("a film encoded in pieces has the bits of one encoded at once", "[wan]") {
  const auto codec = tiny();
  const auto video = at::rand({2, 3, 17, 16, 24});
  DecoderMemory memory;
  std::vector<Tensor> pieces;
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {5, 13}, {13, 17}})
    pieces.push_back(codec->encode_next(video.slice(2, begin, end), memory));
  CHECK(pieces[0].size(1) == 2);
  CHECK(pieces[1].size(1) == 2);
  CHECK(test::same_bytes(at::cat(pieces, 1), codec->encode(video)));
  CHECK_THROWS_AS(codec->encode_next(video.slice(2, 0, 5), memory), Error);  // no start
}

TEST_CASE("the encoder sees no later frame", "[wan]") {
  const auto codec = tiny();
  auto video = at::rand({1, 3, 9, 16, 16});
  const auto before = codec->encode(video);
  video.select(2, 5).zero_();
  const auto after = codec->encode(video);
  CHECK(test::same_bytes(before.slice(1, 0, 2), after.slice(1, 0, 2)));
  CHECK(!test::same_bytes(before.slice(1, 2, 3), after.slice(1, 2, 3)));
}

TEST_CASE("1 + 4 k frames are 1 + k latent frames, and nothing else is any", "[wan]") {
  const auto codec = tiny();
  CHECK(codec->channels() == 4);
  CHECK(codec->factor() == 8);
  CHECK(codec->frames(1) == 1);
  CHECK(codec->frames(21) == 81);
  CHECK(codec->latents(1) == 1);
  CHECK(codec->latents(81) == 21);
  CHECK_THROWS_WITH(codec->latents(16), Catch::Contains("1 + 4 k") && Catch::Contains("16"));
  CHECK_THROWS_AS(codec->latents(0), Error);
  CHECK_THROWS_AS(codec->encode(at::rand({1, 3, 4, 16, 16})), Error);
  CHECK_THROWS_WITH(codec->encode(at::rand({1, 3, 1, 20, 16})), Catch::Contains("16 x 20"));
}

TEST_CASE("latents are normalised by the file's constants, or by Wan's", "[wan]") {
  const auto net = Vae::load(io::Checkpoint::open(kPort), "tiny", at::kCPU);
  const auto video = at::rand({1, 3, 1, 8, 8});
  const auto mu = net.encode(video * 2 - 1).flatten();
  const auto mean = at::tensor({0.6944090, 0.2057163, 0.1954867, -1.1076671}),
             std = at::tensor({1.0114098, 1.1043890, 1.1476948, 1.4689503});
  CHECK(test::scaled_error(tiny()->encode(video).flatten(), (mu - mean) / std) < 1e-6);
  // The official file has none, and four channels are not Wan's.
  CHECK_THROWS_WITH(open_wan_codec(kOfficial, at::kCPU), Catch::Contains("latents_mean"));
  const test::TemporaryFolder folder;
  std::filesystem::copy(kOfficial, folder / "Wan2.1_VAE.pth");
  const auto config = [&](const std::string& text) {
    std::ofstream(folder / "config.json") << text;
    return open_wan_codec(folder.path(), at::kCPU);
  };
  const auto ones = config(R"({"latents_mean": [1, 1, 1, 1], "latents_std": [2, 2, 2, 2]})");
  CHECK(test::scaled_error(ones->encode(video).flatten(), (mu - 1) / 2) < 1e-6);
  for (const auto* text : {R"({"latents_mean": [1], "latents_std": [2, 2, 2, 2]})",
                           R"({"latents_mean": [1, 1, 1, 1]})",
                           R"({"latents_mean": [1, 1, 1, 1], "latents_std": [2, 2, 0, 2]})",
                           R"({"latents_mean": [1, 1, 1, "x"], "latents_std": [2, 2, 1, 2]})"})
    CHECK_THROWS_WITH(config(text), Catch::Contains("latents_") && Catch::Contains("4 numbers"));
  CHECK(LatentScale::wan().mean.size() == 16);
  CHECK(LatentScale::wan().std.size() == 16);
}

TEST_CASE("the two convolutions at the latent may have the released file's names", "[wan]") {
  const auto file = io::Checkpoint::open(kOfficial);
  io::NamedTensors renamed;
  for (auto name : file.names()) {
    const auto tensor = file.tensor(name).clone();
    if (name.starts_with("quant_conv.")) name.replace(0, 10, "conv1");
    if (name.starts_with("post_quant_conv.")) name.replace(0, 15, "conv2");
    renamed.emplace_back(name, tensor);
  }
  const test::TemporaryFolder folder;
  io::write_safetensors(folder / "vae.safetensors", renamed, metadata());
  const auto video = at::rand({1, 3, 1, 8, 8});
  const auto codec = open_wan_codec(folder / "vae.safetensors", at::kCPU);
  const auto latent = codec->encode(video);
  CHECK(test::same_bytes(latent, tiny()->encode(video)));
  DecoderMemory one, other;
  CHECK(test::same_bytes(codec->decode(latent, one), tiny()->decode(latent, other)));
}

TEST_CASE("a VAE is known by its numbers and its latents' scale, whatever they are called",
          "[wan]") {
  const test::TemporaryFolder folder;
  const auto changed = [&](const io::NamedTensors& all, const io::Metadata& words) {
    io::write_safetensors(folder / "vae.safetensors", all, words);
    return open_wan_codec(folder / "vae.safetensors", at::kCPU)->identity();
  };
  const auto own = tiny()->identity();
  CHECK(changed(tensors(), metadata()) == own);
  std::filesystem::copy(kOfficial, folder / "Wan2.1_VAE.pth");
  std::ofstream(folder / "config.json") << metadata().at("config");
  CHECK(open_wan_codec(folder.path(), at::kCPU)->identity() == own);
  std::filesystem::remove(folder / "config.json");
  for (const size_t i : {size_t{0}, tensors().size() - 1}) {
    auto other = tensors();
    other[i].second.view(-1)[0] += 1;
    CHECK(changed(other, metadata()) != own);
  }
  auto words = metadata();
  auto config = nlohmann::json::parse(words.at("config"));
  config["latents_std"][0] = 1.5;
  words["config"] = config.dump();
  CHECK(changed(tensors(), words) != own);
}

TEST_CASE("a directory as diffusers writes it is read", "[wan]") {
  const test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "vae");
  std::filesystem::copy(kPort, folder / "vae/diffusion_pytorch_model.safetensors");
  const auto video = at::rand({1, 3, 1, 8, 8});
  const auto codec = open_wan_codec(folder.path(), at::kCPU);
  CHECK(test::same_bytes(codec->encode(video), tiny()->encode(video)));
}

/// How alike neighbours along a dimension of [B, a, b, h, w] are: the least correlation of two.
double least_alike(const Tensor& x, int64_t dim) {
  const auto rows = x.to(at::kDouble).transpose(0, dim).flatten(1);
  const auto centred = rows - rows.mean(1, true);
  const auto unit = centred / centred.norm(2, {1}, true);
  const int64_t n = unit.size(0);
  return (unit.slice(0, 0, n - 1) * unit.slice(0, 1, n)).sum(1).min().item<double>();
}

TEST_CASE("one bfloat16 tensor that torch.save wrote on a GPU is latents", "[wan]") {
  // As LACT_TEST_WAN_LATENTS (HACKING, Debugging) names one.
  const auto latents = at::randn({1, 4, 3, 2, 3}).to(at::kBFloat16);
  const std::string bytes(static_cast<const char*>(latents.const_data_ptr()), latents.nbytes());
  using namespace test::pickles;
  auto on_gpu = storage("BFloat16Storage", "0", latents.numel());
  on_gpu.replace(on_gpu.find(text("cpu")), text("cpu").size(), text("cuda:0"));
  const test::TemporaryFolder folder;
  io::write_text(
      folder / "latents.pth",
      zip(archive(tensor(on_gpu, 0, {1, 4, 3, 2, 3}, {72, 18, 6, 3, 1}), {{"0", bytes}})));
  const auto read = io::read_pickle(folder / "latents.pth").tensor().read();
  CHECK(test::same_bytes(read, latents));
  DecoderMemory memory;
  const auto video = tiny()->decode(read.transpose(1, 2), memory);
  CHECK(video.sizes() == at::IntArrayRef({1, 3, 9, 16, 24}));
  CHECK(video.isfinite().all().item<bool>());
}

TEST_CASE("real latents of Wan 2.1 are normalised, channels before time", "[wan]") {
  const char* file = std::getenv("LACT_TEST_WAN_LATENTS");
  if (file == nullptr) return;
  const auto latents = io::read_pickle(file).tensor().read().to(at::kFloat);
  REQUIRE(latents.sizes() == at::IntArrayRef({1, 16, 16, 40, 64}));
  // Of the two axes of length 16, neighbours are alike along time only.
  CHECK(least_alike(latents, 2) > 0.8);
  CHECK(least_alike(latents, 1) < 0.0);
  // mu itself has spreads from 1.1 to 3.3 per channel (LatentScale::wan()); one clip has less than
  // all clips together.
  const auto spread = latents.transpose(0, 1).flatten(1).std(1, true);
  CHECK(spread.max().item<double>() < 1.3);
  CHECK(spread.min().item<double>() > 0.5);
}

TEST_CASE("files that are no VAE, or whose tensors do not fit, are refused in one line", "[wan]") {
  const test::TemporaryFolder folder;
  const auto refusal = [&](const io::NamedTensors& all) -> std::string {
    io::write_safetensors(folder / "bad.safetensors", all, metadata());
    try {
      open_wan_codec(folder / "bad.safetensors", at::kCPU);
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      return error.what();
    }
    return "none";
  };
  CHECK(refusal(tensors()) == "none");
  CHECK_THAT(refusal({{"x", at::zeros({1})}}), Catch::Contains("no video VAE"));
  // Every tensor is needed, in its shape.
  const auto sound = tensors();
  for (size_t i = 0; i < sound.size(); i += 5) {
    auto bad = sound;
    CAPTURE(bad[i].first);
    bad[i].second = at::cat({bad[i].second, bad[i].second});
    const auto wide = refusal(bad);
    CHECK_THAT(wide, Catch::Contains("expected") && Catch::Contains("bad.safetensors"));
    CHECK(wide.find('\n') == std::string::npos);
    bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
    const auto gone = refusal(bad);
    CHECK(gone != "none");
    CHECK(gone.find('\n') == std::string::npos);
  }
}

TEST_CASE("what a decoder remembers is checked before it is used", "[wan]") {
  const auto codec = tiny();
  DecoderMemory memory;
  codec->decode(at::randn({1, 2, 4, 2, 2}), memory);
  const auto latent = at::randn({1, 1, 4, 2, 2});
  for (const auto& [name, tensor] : DecoderMemory(memory)) {
    auto bad = memory;
    bad[name] = at::zeros({1, 2, 3});
    CHECK_THROWS_WITH(codec->decode(latent, bad), Catch::Contains(name));
  }
  CHECK_THROWS_WITH(codec->decode(at::randn({1, 1, 4, 3, 2}), memory), Catch::Contains("expected"));
  CHECK_THROWS_WITH(codec->decode(at::randn({1, 1, 3, 2, 2}), memory),
                    Catch::Contains("4 channels"));
  DecoderMemory partial{{"vae.0", memory.begin()->second}};
  CHECK_THROWS_WITH(codec->decode(latent, partial), Catch::Contains("missing"));
}

}  // namespace
}  // namespace lact::video
