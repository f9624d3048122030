#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <fstream>
#include <random>

using namespace lact;

namespace {

const io::Metadata kMetadata = {{"lact.kind", "tokens"}, {"lact.version", "1"},
                                {"vocab_size", "100"},   {"tokenizer", "abc"},
                                {"bytes", "12"},         {"split", "train"}};

std::string refusal(const std::filesystem::path& file) {
  try {
    const auto packed = text::PackedTokens::open(file);
    packed.ids(0, packed.tokens());
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    CHECK(std::string(error.what()).find(file.string()) == 0);
    return error.what();
  }
  return "none";
}

std::vector<int64_t> numbers(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<int64_t>();
  return {data, data + tensor.numel()};
}

}  // namespace

TEST_CASE("packed tokens read back as they were written") {
  const int64_t vocab_size = GENERATE(100, 65536, 65537, 3000000);
  const int top = static_cast<int>(vocab_size) - 1;
  const test::TemporaryFolder folder;
  text::TokenWriter writer(folder / "t.safetensors", vocab_size, "abc", "train");
  writer.begin_document();
  writer.append({1, 2, 3});
  writer.append({top});
  writer.begin_document();
  writer.begin_document();
  writer.append({0});
  writer.add_text_bytes(77);
  CHECK(writer.tokens() == 5);
  CHECK_FALSE(std::filesystem::exists(folder / "t.safetensors"));
  writer.seal();
  writer.commit();
  const auto packed = text::PackedTokens::open(folder / "t.safetensors");
  CHECK(packed.tokens() == 5);
  CHECK(packed.documents() == 3);
  CHECK(packed.vocab_size() == vocab_size);
  CHECK(packed.tokenizer() == "abc");
  CHECK(packed.text_bytes() == 77);
  CHECK(numbers(packed.ids(0, 5)) == std::vector<int64_t>{1, 2, 3, top, 0});
  CHECK(numbers(packed.ids(3, 4)) == std::vector<int64_t>{top});
  CHECK(numbers(packed.document_numbers(0, 5)) == std::vector<int64_t>{0, 0, 0, 0, 2});
  CHECK(numbers(packed.document_numbers(4, 5)) == std::vector<int64_t>{2});
  CHECK(packed.begin(2) == 4);
  CHECK(packed.begin(3) == 5);
  const auto file = io::SafeTensors::open(folder / "t.safetensors");
  CHECK(file.entry("tokens").dtype == (vocab_size > 65536 ? "U32" : "U16"));
}

TEST_CASE("token data written by others is read") {
  const test::TemporaryFolder folder;
  const auto file = folder / "t.safetensors";
  io::write_safetensors(file,
                        {{"tokens", at::arange(5).to(at::kUInt16)},
                         {"documents", at::tensor({0, 2, 5}).to(at::kUInt64)}},
                        kMetadata);
  const auto packed = text::PackedTokens::open(file);
  CHECK(packed.documents() == 2);
  CHECK(numbers(packed.document_numbers(0, 5)) == std::vector<int64_t>{0, 0, 1, 1, 1});
}

TEST_CASE("token data that contradicts itself is refused") {
  const test::TemporaryFolder folder;
  const auto file = folder / "t.safetensors";
  const auto tokens = at::arange(5).to(at::kUInt16);
  const auto starts = [](std::vector<int64_t> values) {
    return at::tensor(values).to(at::kUInt64);
  };
  const auto fault = [&](const io::NamedTensors& tensors, const std::string& key = "",
                         const std::string& text = "") {
    auto metadata = kMetadata;
    if (!key.empty()) metadata[key] = text;
    if (!key.empty() && text.empty()) metadata.erase(key);
    io::write_safetensors(file, tensors, metadata);
    return refusal(file);
  };
  const auto good = starts({0, 2, 5});
  using Catch::Contains;
  CHECK(fault({{"tokens", tokens}, {"documents", good}}) == "none");
  CHECK_THAT(fault({{"tokens", tokens}}), Contains("no tensor documents"));
  CHECK_THAT(fault({{"documents", good}}), Contains("no tensor tokens"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", at::tensor({0, 5})}}), Contains("U64"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", starts({0, 4, 2, 5})}}),
             Contains("document 2 begins before"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", starts({1, 5})}}), Contains("found 1 to 5"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", starts({0, 6})}}), Contains("found 0 to 6"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", starts({})}}), Contains("documents: empty"));
  CHECK_THAT(fault({{"tokens", at::full({5}, 100).to(at::kUInt16)}, {"documents", good}}),
             Contains("token 0: id 100, but vocab_size is 100"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "vocab_size", "70000"),
             Contains("expected U32"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "vocab_size", "-3"),
             Contains("vocab_size"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "vocab_size"),
             Contains("no vocab_size"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "tokenizer"),
             Contains("no tokenizer"));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "lact.kind", "state"),
             Contains("lact.kind is \"state\""));
  CHECK_THAT(fault({{"tokens", tokens}, {"documents", good}}, "lact.version", "2"),
             Contains("version 2"));
}

TEST_CASE("damaged token data is refused or reads, and never crashes") {
  const test::TemporaryFolder folder;
  const auto file = folder / "t.safetensors";
  text::TokenWriter writer(file, 100, "abc", "train");
  for (int d = 0; d < 20; ++d) {
    writer.begin_document();
    writer.append(std::vector<int32_t>(static_cast<size_t>(d), d));
  }
  writer.seal();
  writer.commit();
  if (const bool checksums = GENERATE(true, false); !checksums) {
    const auto made = io::SafeTensors::open(file);
    const auto documents = made.tensor("documents").clone(), tokens = made.tensor("tokens").clone();
    io::write_safetensors(file, {{"documents", documents}, {"tokens", tokens}}, made.metadata());
  }
  auto good = io::read_text(file);
  // Flips in the padding of the header would only turn spaces into refusals.
  std::mt19937_64 random(2);
  int refused = 0;
  for (int i = 0; i < 500; ++i) {
    auto bad = good;
    const size_t where = i % 2 == 0 ? random() % 400 : good.size() - 1 - random() % 560;
    bad[where] ^= static_cast<char>(1 << random() % 8);
    if (i % 10 == 0) bad.resize(random() % good.size());
    std::ofstream(file, std::ios::binary) << bad;
    refused += refusal(file) != "none";
  }
  CHECK(refused > 250);
}

TEST_CASE("every changed byte of token data is found by open or verify, or means the same") {
  const test::TemporaryFolder folder;
  const auto file = folder / "t.safetensors";
  text::TokenWriter writer(file, 100, "abc", "train");
  for (const std::vector<int32_t>& ids : {std::vector<int32_t>{1, 2, 3}, {4, 5}}) {
    writer.begin_document();
    writer.append(ids);
  }
  writer.seal();
  writer.commit();
  const auto good = io::read_text(file);
  const size_t blanks = good.find(std::string(8, ' '));
  size_t found = 0, tokens = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    if (i > blanks && i < good.size() - 100) continue;  // kept free for the header
    CAPTURE(i);
    auto bad = good;
    bad[i] ^= static_cast<char>(1 << i % 8);
    std::ofstream(file, std::ios::binary) << bad;
    try {
      const auto packed = text::PackedTokens::open(file);
      packed.verify();
      CHECK(good[i] == ' ');
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      ++found;
      tokens += std::string(error.what()).find("tensor tokens: damaged") != std::string::npos;
    }
  }
  CHECK(found >= blanks);
  CHECK(tokens == 10);  // five of two bytes
}

TEST_CASE("a writer that is not finished leaves nothing") {
  const test::TemporaryFolder folder;
  {
    text::TokenWriter writer(folder / "t.safetensors", 100, "abc", "train");
    writer.begin_document();
    writer.append({1, 2, 3});
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}
