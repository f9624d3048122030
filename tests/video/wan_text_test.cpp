// Prompts on their way to Wan: cleaned, cut into pieces, encoded.

#include "../text/models.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>
#include <lact/verify/golden.hpp>
#include <plugins/common/spm/model_file.hpp>
#include <plugins/common/spm/tokenizer.hpp>
#include <plugins/video/condition/clean_text.hpp>
#include <plugins/video/condition/umt5.hpp>
#include <plugins/video/condition/wan_text_encoder.hpp>
#include <plugins/video/verify/golden.hpp>
#include <tests/support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace lact::video {
namespace {

using at::Tensor;

const auto kFolder = test::source_root() / "tests/golden/video";

Umt5 load(const std::filesystem::path& file) {
  return Umt5::load(io::Checkpoint::open(file), file.filename().string(), at::kCPU);
}

Tensor golden(const std::string& name) {
  return io::SafeTensors::open(kFolder / "umt5_tiny_io.safetensors").tensor(name);
}

Tensor embedded(const std::filesystem::path& file) {
  return load(file).encode(golden("in.ids"), golden("in.mask"));
}

TEST_CASE("the text encoder computes what the reference does, in both namings", "[wan]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto result = verify::replay(kFolder / "umt5_tiny_io.safetensors", wan_kinds(),
                                     {test::device(), dtype, {}});
  CHECK(result.count(verify::Verdict::pass) == 3);
  CHECK(result.verdict() == verify::Verdict::pass);
}

TEST_CASE("bfloat16 files give what their rounded weights give, in both layouts", "[wan]") {
  const auto file = io::SafeTensors::open(kFolder / "umt5_tiny_official.safetensors");
  io::NamedTensors rounded;
  for (const auto& entry : file.entries())
    rounded.emplace_back(entry.name, file.tensor(entry.name).to(at::kBFloat16).to(at::kFloat));
  const test::TemporaryFolder folder;
  io::write_safetensors(folder / "rounded.safetensors", rounded);
  const auto want = embedded(folder / "rounded.safetensors");
  CHECK(test::same_bytes(embedded(kFolder / "umt5_tiny_official_bf16.pth"), want));
  CHECK(test::same_bytes(embedded(kFolder / "umt5_tiny_official_bf16_legacy.pth"), want));
  const double error = test::scaled_error(want, golden("out.embedding"));
  CHECK(error < 0.1);
  CHECK(error > 1e-4);
}

TEST_CASE("what is padded changes nothing and comes out as zeros", "[wan]") {
  const auto encoder = load(kFolder / "umt5_tiny_hf.safetensors");
  const auto ids = golden("in.ids").slice(0, 1, 2);
  const auto length = golden("in.mask")[1].sum().item<int64_t>();
  const auto padded = encoder.encode(ids, golden("in.mask").slice(0, 1, 2));
  const auto alone = encoder.encode(ids.slice(1, 0, length), at::ones({1, length}, at::kLong));
  CHECK(test::scaled_error(padded.slice(1, 0, length), alone) < 1e-5);
  CHECK(padded.slice(1, length).abs().max().item<float>() == 0);
}

TEST_CASE("encoders whose tensors do not fit are refused in one line", "[wan]") {
  const auto file = io::SafeTensors::open(kFolder / "umt5_tiny_hf.safetensors");
  io::NamedTensors sound;
  for (const auto& entry : file.entries())
    sound.emplace_back(entry.name, file.tensor(entry.name).clone());
  const test::TemporaryFolder folder;
  const auto refusal = [&](const io::NamedTensors& tensors) -> std::string {
    io::write_safetensors(folder / "bad.safetensors", tensors);
    try {
      load(folder / "bad.safetensors");
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  CHECK(refusal(sound) == "none");
  CHECK_THAT(refusal({{"x", at::zeros({1})}}), Catch::Contains("no UMT5 encoder"));
  CHECK_THAT(refusal({{"shared.weight", at::zeros({4, 4})},
                      {"encoder.final_layer_norm.weight", at::zeros({4})}}),
             Catch::Contains("no layers"));
  for (size_t i = 0; i < sound.size(); ++i) {
    CAPTURE(sound[i].first);
    auto bad = sound;
    bad[i].second = at::cat({bad[i].second, bad[i].second, bad[i].second}, -1);
    // Three times the heads divide the width no longer; else a shape disagrees.
    const auto wide = refusal(bad);
    CHECK_THAT(wide, Catch::Contains("expected"));
    CHECK(wide.find('\n') == std::string::npos);
  }
}

TEST_CASE("prompts are cleaned as the encoder's training text was", "[wan]") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", ""},
      {"  a\t dog \n runs\u3000fast  ", "a dog runs fast"},
      {"cafÃ© â€™tisâ€\u009d", "café 'tis\""},
      {"Â©2024 naÃ¯ve Ã‰cole", "©2024 naïve École"},
      {"CAFÉ» Ü“ x", "CAFÉ» Ü\" x"},  // two bytes alone may be meant
      {"ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"},     // many are not
      {"ðŸ˜€ smile", "😀 smile"},
      {"cafÃƒÂ©", "café"},  // misread twice
      {"It’s “fine”", "It's \"fine\""},
      {"ﬁlm，Ａ", "film,A"},
      {"fish &amp; chips &amp;lt; &#233;&#xE9; &eacute;&hellip; &nbsp;end",
       "fish & chips < éé é… end"},
      {"a &nosuch; b & c; &#x110000; &#; &", "a &nosuch; b & c; \ufffd &#; &"},
      {"a\x01"
       "b\ufeff\x7f",
       "ab"},
      {"a\xff"
       "b",
       "a\ufffd"
       "b"},
      {"色调艳丽，过曝", "色调艳丽,过曝"},
  };
  for (const auto& [text, want] : cases) {
    CAPTURE(text);
    CHECK(clean_prompt(text) == want);
  }
  CHECK(clean_prompt(clean_prompt("It’s  caf\u00e9")) == "It's caf\u00e9");
}

TEST_CASE("whatever a prompt holds, what is left is UTF-8 with single spaces", "[wan]") {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    // Read as Latin-1 it is full of mojibake.
    auto text = test::hostile_text(seed, seed % 90);
    if (seed % 2 == 1) {
      std::string misread;
      for (const unsigned char c : text) {
        if (c >= 0x80) misread += static_cast<char>(0xc0 | c >> 6);
        misread += static_cast<char>(c < 0x80 ? c : 0x80 | (c & 63));
      }
      text = misread;
    }
    CAPTURE(seed, text);
    std::string_view rest = text = clean_prompt(text);
    CHECK(rest.find("  ") == std::string_view::npos);
    CHECK(rest.find_first_of("\t\n\r") == std::string_view::npos);
    while (!rest.empty()) {
      const size_t length = spm::utf8_length(rest);
      REQUIRE(length > 0);
      rest.remove_prefix(length);
    }
  }
}

/// A whole model's folder: a random encoder of width 8, and SentencePiece's own pieces.
struct Released {
  Released() {
    std::filesystem::create_directories(folder / "google/umt5-xxl");
    io::write_text(folder / "google/umt5-xxl/spiece.model",
                   test::train_model({{"normalization_rule_name", "nmt_nfkc"},
                                      {"remove_extra_whitespaces", "true"}}));
    pieces.emplace(spm::Tokenizer::open(folder / "google/umt5-xxl/spiece.model"));
    io::NamedTensors tensors = {{"token_embedding.weight", at::randn({pieces->vocab_size(), 8})},
                                {"norm.weight", at::ones({8})}};
    for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
             {"norm1", {8}},
             {"attn.q", {8, 8}},
             {"attn.k", {8, 8}},
             {"attn.v", {8, 8}},
             {"attn.o", {8, 8}},
             {"norm2", {8}},
             {"ffn.gate.0", {12, 8}},
             {"ffn.fc1", {12, 8}},
             {"ffn.fc2", {8, 12}},
             {"pos_embedding.embedding", {32, 2}}})
      tensors.emplace_back("blocks.0." + name + ".weight", at::randn(shape));
    io::write_safetensors(folder / "text_encoder.safetensors", tensors);
  }
  test::TemporaryFolder folder;
  std::optional<spm::Tokenizer> pieces;
};

TEST_CASE("a prompt is its cleaned pieces and an end, cut to length", "[wan]") {
  const Released released;
  const auto file = released.folder / "text_encoder.safetensors";
  const auto encoder = load(file);
  const auto want = [&](const std::string& cleaned, size_t most) {
    const auto pieces = released.pieces->encode_normalized(cleaned);
    std::vector<int64_t> ids(pieces.begin(), pieces.end());
    ids.resize(std::min(ids.size(), most));
    ids.push_back(*released.pieces->eos());
    const auto row = at::tensor(ids, at::kLong).unsqueeze(0);
    return encoder.encode(row, at::ones({1, row.size(1)}, at::kLong))[0];
  };
  const auto prompts = open_text_encoder(file, {}, 512, 8, at::kCPU);
  const auto got = prompts->embed({" the  karo&amp;ing ", ""});
  const auto first = want("the karo&ing", 511), second = want("", 511);
  REQUIRE(got.size(1) == first.size(0));
  CHECK(test::same_bytes(got[0], first));
  CHECK(test::same_bytes(got[1].slice(0, 0, 1), second));
  CHECK(got[1].slice(0, 1).abs().max().item<float>() == 0);
  const auto text = test::invented_text(3, 400);
  const auto cut = open_text_encoder(file, {}, 6, 8, at::kCPU)->embed({text});
  CHECK(test::same_bytes(cut[0], want(clean_prompt(text), 5)));
  CHECK(cut.size(1) == 6);
}

TEST_CASE("the encoder's pieces are found or asked for", "[wan]") {
  const Released released;
  const auto& folder = released.folder;
  const auto file = folder / "text_encoder.safetensors";
  const auto open = [&](const std::filesystem::path& tokenizer) {
    return open_text_encoder(file, tokenizer, 16, 8, at::kCPU)->embed({"the"});
  };
  const auto want = open({});
  const auto model = folder / "google/umt5-xxl/spiece.model";
  CHECK(test::same_bytes(open(model), want));
  CHECK(test::same_bytes(open(folder / "google/umt5-xxl"), want));
  CHECK_THROWS_WITH(open_text_encoder(file, {}, 16, 9, at::kCPU), Catch::Contains("width 9"));
  std::filesystem::remove(model);
  CHECK_THROWS_WITH(open({}), Catch::Contains("spiece.model") && Catch::Contains("--tokenizer"));
  Config config;
  config.condition = "umt5";
  CHECK_THROWS_WITH(make_conditioner(config, {}), Catch::Contains("--text-encoder"));
}

TEST_CASE("embeddings made before stand for the encoder", "[wan]") {
  const test::TemporaryFolder folder;
  const auto file = folder / "prompts.safetensors";
  const auto dog = at::randn({3, 8}), any = at::randn({2, 8}).to(at::kBFloat16),
             nothing = at::randn({1, 8});
  io::write_safetensors(file, {{"a dog", dog}, {"embedding", any}, {"", nothing}});
  Config config;
  config.condition = "umt5";
  config.text_dim = 8;
  const auto got = make_conditioner(config, {}, file)->embed({"a dog", "a cat", ""});
  REQUIRE(got.sizes() == at::IntArrayRef({3, 3, 8}));
  CHECK(test::same_bytes(got[0], dog));
  CHECK(test::same_bytes(got[1].slice(0, 0, 2), any.to(at::kFloat)));
  CHECK(test::same_bytes(got[2].slice(0, 0, 1), nothing));
  io::write_safetensors(file, {{"a dog", dog}, {"wide", at::randn({3, 9})}});
  const auto few = make_conditioner(config, {}, file);
  CHECK_THROWS_WITH(few->embed({""}), Catch::Contains("prompt ''"));
  CHECK_THROWS_WITH(few->embed({"a cat"}), Catch::Contains("a cat"));
  CHECK_THROWS_WITH(few->embed({"wide"}), Catch::Contains("[3, 9]"));
}

}  // namespace
}  // namespace lact::video
