// Reading and writing safetensors files that are as they should be.

#include "tensors.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/full.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>

using namespace lact;
using namespace lact::test;
using io::SafeTensors;
using io::write_safetensors;

TEST_CASE("a file worked by hand is read", "[io]") {
  const TemporaryFolder folder;
  auto bytes = raw_file(R"({"__metadata__":{"k":"v"},"b":{"dtype":"U8","shape":[3],)"
                        R"("data_offsets":[8,11]},"a":{"dtype":"F32","shape":[2,1],)"
                        R"("data_offsets":[0,8]}}   )",
                        0);
  bytes += std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x05\x06\x07", 11);
  put(folder / "f", bytes);
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.metadata() == io::Metadata{{"k", "v"}});
  REQUIRE(file.entries().size() == 2);
  CHECK(file.entries()[0].name == "a");  // the buffer's order, not the header's
  CHECK(file.entries()[1].name == "b");
  CHECK(file.entry("b").begin == 8);
  CHECK(file.contains("a"));
  CHECK_FALSE(file.contains("__metadata__"));
  const auto a = file.tensor("a");
  CHECK(a.sizes() == c10::IntArrayRef({2, 1}));
  CHECK(a.scalar_type() == at::kFloat);
  CHECK(a.const_data_ptr<float>()[0] == 1.0f);
  CHECK(a.const_data_ptr<float>()[1] == -2.0f);
  CHECK(file.tensor("b").const_data_ptr<uint8_t>()[2] == 7);
  CHECK(file.bytes("b")[1] == std::byte{6});
}

TEST_CASE("white space before the header aligns the data, as behind it", "[io]") {
  const TemporaryFolder folder;
  const auto bytes = raw_file(
      std::string("\n\t  ") + R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 0);
  put(folder / "f", bytes + "\x07");
  CHECK(SafeTensors::open(folder / "f").tensor("a").const_data_ptr<uint8_t>()[0] == 7);
  put(folder / "blank", raw_file("   ", 0));
  CHECK_THROWS_AS(SafeTensors::open(folder / "blank"), Error);
}

TEST_CASE("a file written is the bytes worked by hand", "[io]") {
  const TemporaryFolder folder;
  const auto wide = at::full({1}, 1.0, at::kDouble);
  const auto narrow = at::arange(3, at::kByte);
  write_safetensors(folder / "f", {{"z", narrow}, {"a", narrow}, {"m", wide}}, {{"k", "\"\n\x01"}});
  std::string header = R"({"__metadata__":{"k":"\"\n\u0001"},)"
                       R"("m":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
                       R"("z":{"dtype":"U8","shape":[3],"data_offsets":[11,14]}})";
  while (header.size() % 8 != 0) header += ' ';
  const std::string buffer("\0\0\0\0\0\0\xf0\x3f\0\1\2\0\1\2", 14);
  CHECK(get(folder / "f") == raw_file(header, 0) + buffer);
}

TEST_CASE("random tensors of every dtype come back bit for bit", "[io]") {
  const TemporaryFolder folder;
  std::mt19937_64 random(GENERATE(1, 2, 3, 4, 5, 6, 7, 8));
  io::NamedTensors tensors;
  for (const auto& type : all_types())
    for (int i = 0; i < 3; ++i) {
      std::vector<int64_t> shape(random() % 4);
      for (auto& size : shape) size = static_cast<int64_t>(random() % 6);
      if (type.format == "F4" && shape.empty()) shape = {2};
      tensors.emplace_back(concat(type.format, " #", i), random_tensor(random, type.torch, shape));
    }
  std::shuffle(tensors.begin(), tensors.end(), random);
  write_safetensors(folder / "f", tensors);
  const auto file = SafeTensors::open(folder / "f");
  REQUIRE(file.entries().size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CAPTURE(name);
    CHECK(same_bytes(file.tensor(name), tensor));
    CHECK(file.entry(name).dtype == name.substr(0, name.find(' ')));
  }
}

TEST_CASE("scalars and empty tensors keep their shapes", "[io]") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"scalar", at::full({}, 3, at::kLong)},
                                   {"empty", at::full({2, 0, 5}, 0, at::kFloat)},
                                   {"also empty", at::full({0}, 0, at::kFloat)}});
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.tensor("scalar").dim() == 0);
  CHECK(file.tensor("scalar").item<int64_t>() == 3);
  CHECK(file.tensor("empty").sizes() == c10::IntArrayRef({2, 0, 5}));
  CHECK(file.tensor("also empty").numel() == 0);
}

TEST_CASE("a file without tensors is one", "[io]") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {}, {{"only", "words"}});
  CHECK(SafeTensors::open(folder / "f").entries().empty());
  CHECK(SafeTensors::open(folder / "f").metadata().at("only") == "words");
  put(folder / "g", raw_file("{}", 0));
  CHECK(SafeTensors::open(folder / "g").entries().empty());
}

TEST_CASE("views of any strides are written as what they show", "[io]") {
  const TemporaryFolder folder;
  const auto whole = at::arange(24, at::kInt).view({4, 6});
  const auto z = at::complex(at::full({2}, 1.0f), at::full({2}, 2.0f));
  write_safetensors(folder / "f", {{"turned", whole.t()},
                                   {"part", whole.slice(1, 1, 6, 2)},
                                   {"spread", whole.select(1, 0).unsqueeze(1).expand({4, 3})},
                                   {"conjugate", z.conj()}});
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.tensor("turned").const_data_ptr<int>()[1] == 6);
  CHECK(file.tensor("part").const_data_ptr<int>()[4] == 9);
  CHECK(file.tensor("spread").const_data_ptr<int>()[5] == 6);
  const auto* conjugate = reinterpret_cast<const float*>(file.bytes("conjugate"));
  CHECK(conjugate[1] == -2.0f);
}

TEST_CASE("a tensor outlives the file object, and the file its name", "[io]") {
  const TemporaryFolder folder;
  at::Tensor tensor;
  {
    write_safetensors(folder / "f", {{"a", at::arange(100000, at::kLong)}});
    const auto file = SafeTensors::open(folder / "f");
    const auto copy = file;  // NOLINT: that a copy shares the mapping is what is tested
    CHECK(copy.bytes("a") == file.bytes("a"));
    tensor = copy.tensor("a");
    CHECK(tensor.const_data_ptr() == file.bytes("a"));  // a view, no copy
    std::filesystem::remove(folder / "f");
  }
  CHECK(tensor.const_data_ptr<int64_t>()[99999] == 99999);
}

TEST_CASE("a file may be written from tensors mapped from it", "[io]") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {{"a", at::arange(1000, at::kLong)}});
  const auto before = get(folder / "f");
  write_safetensors(folder / "f", {{"a", SafeTensors::open(folder / "f").tensor("a")}});
  CHECK(get(folder / "f") == before);
}

TEST_CASE("tensors that a foreign writer left unaligned are aligned when handed out", "[io]") {
  const TemporaryFolder folder;
  auto bytes = raw_file(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                        R"("b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                        0);
  put(folder / "f", bytes + std::string("\x01\x00\x00\x80\x3f", 5));
  const auto b = SafeTensors::open(folder / "f").tensor("b");
  CHECK(reinterpret_cast<uintptr_t>(b.const_data_ptr()) % 4 == 0);
  CHECK(b.item<float>() == 1.0f);
}

TEST_CASE("offsets and sizes beyond 2^53 are exact", "[io]") {
  const TemporaryFolder folder;
  put(folder / "f", raw_file(R"({"a":{"dtype":"U8","shape":[9007199254740993],)"
                             R"("data_offsets":[0,9007199254740993]}})",
                             8));
  const auto [code, words] = error_of([&] { SafeTensors::open(folder / "f"); });
  CHECK(code == Exit::data);
  CHECK(words.find("9007199254740993") != words.npos);
}

TEST_CASE("a stream's file is read like any other", "[io]") {
  const TemporaryFolder folder;
  std::string want;
  {
    io::SafeTensorsStream stream(folder / "f", 1024);
    stream.begin("offsets", "I64");
    const int64_t offsets[] = {0, 100000};
    stream.append(offsets, sizeof offsets);
    stream.begin("tokens", "U16");
    std::mt19937 random(5);
    for (int i = 0; i < 100; ++i) {
      std::string piece(2 * (random() % 9000), '\0');
      for (auto& byte : piece) byte = static_cast<char>(random());
      stream.append(piece.data(), piece.size());
      want += piece;
    }
    stream.begin("images", "U8", {2, 3});
    stream.append("abcdefghijkl", 12);
    stream.begin("empty", "U8");
    CHECK(listing(folder.path()) != std::vector<std::string>{"f"});  // not there before its end
    stream.seal({{"lact.kind", "tokens"}});
    stream.commit();
  }
  CHECK(listing(folder.path()) == std::vector<std::string>{"f"});
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.metadata().at("lact.kind") == "tokens");
  CHECK(file.tensor("offsets").const_data_ptr<int64_t>()[1] == 100000);
  const auto tokens = file.tensor("tokens");
  CHECK(tokens.sizes() == c10::IntArrayRef({static_cast<int64_t>(want.size() / 2)}));
  CHECK(std::memcmp(tokens.const_data_ptr(), want.data(), want.size()) == 0);
  CHECK(file.tensor("images").sizes() == c10::IntArrayRef({2, 2, 3}));
  CHECK(file.tensor("images")[1][0][2].item<int64_t>() == 'i');
  CHECK(file.tensor("empty").sizes() == c10::IntArrayRef({0}));
}

TEST_CASE("a stream that is not finished leaves nothing behind", "[io]") {
  const TemporaryFolder folder;
  {
    io::SafeTensorsStream stream(folder / "f");
    stream.begin("tokens", "U16");
    stream.append("abcd", 4);
  }
  CHECK(listing(folder.path()).empty());
}

TEST_CASE("a stream used wrongly says so", "[io]") {
  const TemporaryFolder folder;
  io::SafeTensorsStream stream(folder / "f", 128);
  const auto code = [](const auto& work) { return error_of(work).first; };
  CHECK(code([&] { stream.append("a", 1); }) == Exit::internal);
  CHECK(code([&] { stream.begin("x", "U12"); }) == Exit::internal);
  stream.begin("x", "U16");
  stream.append("abc", 3);
  CHECK(code([&] { stream.begin("y", "U8"); }) == Exit::internal);  // half an element
  stream.append("d", 1);
  stream.begin("y", "U8");
  stream.append("a", 1);
  CHECK(code([&] { stream.begin("w", "U16"); }) == Exit::internal);  // unaligned
  CHECK(code([&] { stream.begin("z", "U8", {2, 0}); }) == Exit::internal);
  stream.begin("z", "U8", {2});
  stream.append("a", 1);
  CHECK(code([&] { stream.begin("v", "U8"); }) == Exit::internal);  // half a row
  stream.append("a", 1);
  CHECK(code([&] { stream.seal({{"much", std::string(200, 'x')}}); }) == Exit::internal);
}

TEST_CASE("what the format cannot hold is not written", "[io]") {
  const TemporaryFolder folder;
  const auto code = [&](const io::NamedTensors& tensors, const io::Metadata& metadata = {}) {
    return error_of([&] { write_safetensors(folder / "f", tensors, metadata); }).first;
  };
  const auto t = at::full({1}, 1.0f);
  CHECK(code({{"a", t}, {"a", t}}) == Exit::internal);
  CHECK(code({{"__metadata__", t}}) == Exit::internal);
  CHECK(code({{"\xff", t}}) == Exit::internal);
  CHECK(code({{"a", at::Tensor()}}) == Exit::internal);
  CHECK(code({{"a", t.to(at::kComplexDouble)}}) == Exit::internal);
  CHECK(code({{"a", t}}, {{"k", "\xc0\x80"}}) == Exit::internal);
  CHECK(listing(folder.path()).empty());
}

TEST_CASE("a failing write is an error that names the file", "[io]") {
  const auto tensor = at::full({100000}, 1.0f);
  const auto full = error_of([&] { write_safetensors("/dev/full", {{"a", tensor}}); });
  CHECK(full.first == Exit::io);
  CHECK(full.second.find("/dev/full") == 0);
  const TemporaryFolder folder;
  const auto missing = error_of([&] { write_safetensors(folder / "no/f", {{"a", tensor}}); });
  CHECK(missing.first == Exit::cannot_create);
  CHECK(missing.second.find((folder / "no/f").string()) == 0);
}

TEST_CASE("every golden file of the language model is read", "[io]") {
  size_t files = 0;
  for (const auto& item : std::filesystem::directory_iterator(source_root() / "tests/golden/llm")) {
    if (item.path().extension() != ".safetensors") continue;
    ++files;
    const auto file = SafeTensors::open(item.path());
    CHECK(nlohmann::json::parse(file.metadata().at("case")).contains("kind"));
    CHECK_FALSE(file.entries().empty());
    for (const auto& entry : file.entries())
      CHECK(file.tensor(entry.name).sizes() == at::IntArrayRef(entry.shape));
  }
  CHECK(files == 59);
}
