// Files that torch.save and NumPy wrote (tests/io/torch), read without Python.

#include "tensors.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/pickle.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <nlohmann/json.hpp>

#include <set>

using namespace lact;
using namespace lact::test;
using at::Tensor;
using io::Checkpoint;
using io::Value;
using Kind = io::Value::Kind;

namespace {

std::filesystem::path torch_file(const std::string& name) {
  return source_root() / "tests/io/torch" / name;
}

/// What make_torch_files.py saves as tensors().
std::map<std::string, Tensor> expected_tensors() {
  const auto grid = at::arange(12, at::kFloat).view({3, 4}) / 4;
  std::map<std::string, Tensor> want = {{"grid", grid},
                                        {"transposed", grid.t().contiguous()},
                                        {"column", grid.slice(0, 1).select(1, 2).contiguous()},
                                        {"again", grid},
                                        {"all", grid.view({12})},
                                        {"scalar", at::scalar_tensor(-2.5f)},
                                        {"empty", at::empty({0, 3})},
                                        {"parameter", grid[0]},
                                        {"expanded", at::full({2, 3}, 1.5f)},
                                        {"größe", at::ones({1})},
                                        {"noted", at::ones({2})}};
  const std::map<std::string, c10::ScalarType> types = {{"float64", at::kDouble},
                                                        {"float32", at::kFloat},
                                                        {"float16", at::kHalf},
                                                        {"bfloat16", at::kBFloat16},
                                                        {"int64", at::kLong},
                                                        {"int32", at::kInt},
                                                        {"int16", at::kShort},
                                                        {"int8", at::kChar},
                                                        {"uint8", at::kByte},
                                                        {"bool", at::kBool},
                                                        {"complex64", at::kComplexFloat},
                                                        {"uint16", at::kUInt16},
                                                        {"uint32", at::kUInt32},
                                                        {"uint64", at::kUInt64},
                                                        {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                        {"float8_e5m2", at::kFloat8_e5m2}};
  for (const auto& [name, type] : types) want["type." + name] = at::arange(6).view({2, 3}).to(type);
  return want;
}

/// What it saves as module_state().
std::map<std::string, Tensor> expected_module() {
  const auto some = [](int64_t first, int64_t count) {
    return at::arange(first, first + count, at::kFloat);
  };
  return {{"0.weight", some(0, 6).view({3, 2})},
          {"0.bias", some(10, 3)},
          {"1.weight", some(20, 3)},
          {"1.bias", some(30, 3)}};
}

/// What it pickles as arrays(), but for values that are no arrays.
std::map<std::string, Tensor> expected_arrays() {
  const auto grid = at::arange(24, at::kFloat).view({2, 3, 4});
  std::map<std::string, Tensor> want = {
      {"fortran", grid},
      {"turned", grid.permute({2, 0, 1}).contiguous()},
      {"part", grid.slice(1, 1).slice(2, 0, at::nullopt, 2).contiguous()},
      {"empty", at::empty({0, 3})},
      {"zero_dim", at::scalar_tensor(2.5, at::kDouble)},
      {"scalar", at::scalar_tensor(1.5f)}};
  const std::map<std::string, c10::ScalarType> types = {
      {"float16", at::kHalf},  {"float32", at::kFloat}, {"float64", at::kDouble},
      {"int8", at::kChar},     {"int16", at::kShort},   {"int32", at::kInt},
      {"int64", at::kLong},    {"uint8", at::kByte},    {"uint16", at::kUInt16},
      {"uint32", at::kUInt32}, {"uint64", at::kUInt64}, {"complex64", at::kComplexFloat},
      {"bool", at::kBool}};
  for (const auto& [name, type] : types)
    for (const char* order : {"little", "big"})
      want[concat("nested.", order, ".", name)] = grid.to(at::kLong).to(type);
  return want;
}

void check(const std::filesystem::path& file, const std::map<std::string, Tensor>& want) {
  CAPTURE(file);
  const auto found = Checkpoint::open(file);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : want) names.push_back(name);
  CHECK(found.names() == names);
  for (const auto& [name, tensor] : want) {
    CAPTURE(name);
    REQUIRE(found.contains(name));
    CHECK(same_bytes(found.tensor(name), tensor));
    CHECK(found.entry(name).shape == tensor.sizes().vec());
    CHECK(found.entry(name).end - found.entry(name).begin == tensor.nbytes());
  }
}

}  // namespace

TEST_CASE("torch.save's files have the tensors that were saved, in both formats and all protocols",
          "[io]") {
  const auto want = expected_tensors();
  for (const char* format : {"zip", "old"})
    for (int protocol = 2; protocol <= 5; ++protocol)
      check(torch_file(concat(format, protocol, ".pt")), want);
}

TEST_CASE("pickled NumPy arrays are read in any order of axes and bytes, in all protocols",
          "[io]") {
  const auto want = expected_arrays();
  for (int protocol = 2; protocol <= 5; ++protocol)
    check(torch_file(concat("numpy", protocol, ".ckpt")), want);
}

TEST_CASE("a state dict is found in what training programs save, without their wrappers' names",
          "[io]") {
  const auto want = expected_module();
  for (const char* name : {"module.pth", "training.pt", "training_old.pth", "lightning.ckpt",
                           "cuda.pth", "cuda_old.pth", "no_crc.pth", "big.pth"})
    check(torch_file(name), want);
}

TEST_CASE("a checkpoint of torch.save is the one of safetensors", "[io]") {
  const TemporaryFolder folder;
  const auto golden = source_root() / "tests/golden/views";
  const auto pickled = Checkpoint::open(golden / "model_tiny_checkpoint.pt");
  const auto recorded = io::SafeTensors::open(golden / "model_tiny.safetensors");
  const std::string prefix = "param.";
  io::NamedTensors tensors;
  for (const auto& entry : recorded.entries())
    if (entry.name.rfind(prefix, 0) == 0)
      tensors.emplace_back(entry.name.substr(prefix.size()), recorded.tensor(entry.name));
  CHECK(pickled.names().size() == tensors.size());
  for (const auto& [name, tensor] : tensors) CHECK(same_bytes(pickled.tensor(name), tensor));
  io::write_safetensors(folder / "model.safetensors", tensors);
  CHECK(pickled.hash() == Checkpoint::open(folder / "model.safetensors").hash());
}

TEST_CASE("a bare file of torch.save has no configuration, no metadata and no safetensors",
          "[io]") {
  const auto file = Checkpoint::open(torch_file("module.pth"));
  CHECK(file.metadata().empty());
  CHECK(file.folder() == std::filesystem::canonical(torch_file("")));
  CHECK(file.entry("0.weight").dtype == "F32");
  CHECK(error_of([&] { file.config(); }).first == Exit::no_input);
  CHECK(error_of([&] { file.file_of("0.weight"); }).first == Exit::data);
  CHECK(error_of([&] { file.tensor("2.weight"); }).first == Exit::data);
  CHECK(error_of([&] { file.entry("2.weight"); }).first == Exit::data);
  CHECK(error_of([&] { Checkpoint::open(torch_file("none.pt")); }).first == Exit::no_input);
}

TEST_CASE("tensors outlive the checkpoint that they are of", "[io]") {
  std::map<std::string, Tensor> found;
  for (const char* name : {"zip2.pt", "old2.pt"}) {
    const auto file = Checkpoint::open(torch_file(name));
    for (const auto& one : file.names()) found[concat(name, one)] = file.tensor(one);
  }
  for (const auto& [name, tensor] : expected_tensors())
    for (const char* file : {"zip2.pt", "old2.pt"})
      CHECK(same_bytes(found.at(file + name), tensor));
}

TEST_CASE("the tensors of a zip archive are views of the file, none is copied", "[io]") {
  const auto file = Checkpoint::open(torch_file("zip2.pt"));
  CHECK(file.tensor("grid").const_data_ptr() == file.tensor("all").const_data_ptr());
  CHECK(file.tensor("grid").const_data_ptr() == file.tensor("again").const_data_ptr());
}

TEST_CASE("values beside the tensors keep their kinds and order", "[io]") {
  for (const char* name : {"training.pt", "training_old.pth"}) {
    const auto file = io::read_pickle(torch_file(name));
    REQUIRE(file.kind() == Kind::dict);
    CHECK(file.pairs()[0].first.text() == "model");
    CHECK(file.pairs()[3].first.text() == "epoch");
    CHECK(file.find("epoch")->integer() == 3);
    CHECK(file.find("loss")->real() == 0.25);
    CHECK(file.find("seen")->integer() == int64_t{1} << 40);
    CHECK(file.find("seeds")->tensor().shape() == std::vector<int64_t>{8});
    CHECK(file.find("done")->boolean() == false);
    CHECK(file.find("note")->kind() == Kind::none);
    CHECK(file.find("size")->items().at(1).integer() == 3);
    CHECK(file.find("device")->text() == "cuda");
    CHECK(file.find("dtype")->kind() == Kind::name);
    CHECK(file.find("dtype")->text() == "torch.bfloat16");
    CHECK(file.find("best")->tensor().read().item<double>() == 0.5);
    CHECK(file.find("numpy")->tensor().dtype() == "U32");
    CHECK(file.find("steps")->items().at(2).items().at(0).boolean());
    CHECK(file.find("optimizer")->find("state")->pairs().at(0).first.integer() == 0);
    CHECK(file.find("optimizer")->find("param_groups")->kind() == Kind::list);
    CHECK(file.find("scheduler")->find("milestones")->pairs().at(1).first.integer() == 3);
    CHECK(file.find("none") == nullptr);
    CHECK(error_of([&] { file.find("epoch")->text(); }).first == Exit::internal);
  }
  for (int protocol = 2; protocol <= 5; ++protocol) {
    const auto file = io::read_pickle(torch_file(concat("numpy", protocol, ".ckpt")));
    const auto bytes = file.find("bytes")->bytes();
    REQUIRE(bytes.size() == 256);
    for (int i = 0; i < 256; ++i) CHECK(static_cast<unsigned char>(bytes[i]) == i);
    CHECK(file.find("large")->kind() == Kind::large);
    CHECK(file.find("large")->bytes() == std::string(12, '\0') + '\x10');
    CHECK(file.find("negative")->integer() == -(int64_t{1} << 40));
    CHECK(file.find("none")->kind() == Kind::none);
  }
}

TEST_CASE("a file of one tensor is read, but is no checkpoint", "[io]") {
  CHECK(io::read_pickle(torch_file("tensor.pt")).tensor().read().sum().item<float>() == 2);
  const auto [code, words] = error_of([&] { Checkpoint::open(torch_file("tensor.pt")); });
  CHECK(code == Exit::data);
  CHECK_THAT(words, Catch::Contains("expected a dict of tensors, found a tensor"));
}

TEST_CASE("what a pickle would run is refused by its name, and nothing is run", "[io]") {
  const std::map<std::string, std::string> refusals = {
      {"command.pt", "posix.system: not something a checkpoint needs; refused"},
      {"command_old.pt", "posix.system: not something a checkpoint needs; refused"},
      {"whole_module.pt", "torch.nn.modules.linear.Linear: not something a checkpoint needs"},
      {"whole_module_old.pt", "torch.nn.modules.linear.Linear: not something a checkpoint needs"},
      {"script.pt", "is compressed, as in TorchScript programs"},
      {"compressed.pth", "module/data.pkl: is compressed"},
      {"objects.ckpt", "numpy.dtype O8: no numbers that LibTorch knows"}};
  for (const auto& [name, want] : refusals) {
    const auto [code, words] = error_of([&] { Checkpoint::open(torch_file(name)); });
    CAPTURE(name, words);
    CHECK(code == Exit::data);
    CHECK_THAT(words, Catch::Contains(name) && Catch::Contains(want));
  }
  CHECK_FALSE(std::filesystem::exists("executed"));
}

TEST_CASE("a file cut off at any byte is refused", "[io]") {
  const TemporaryFolder folder;
  for (const char* name : {"cuda.pth", "cuda_old.pth", "numpy3.ckpt", "numpy5.ckpt"}) {
    const auto cut = folder / "cut.pt";
    std::filesystem::copy_file(torch_file(name), cut,
                               std::filesystem::copy_options::overwrite_existing);
    const auto whole = std::filesystem::file_size(cut);
    size_t refused = 0;
    for (size_t size = whole; size-- > 0;) {
      std::filesystem::resize_file(cut, size);
      const auto [code, words] = error_of([&] { io::read_pickle(cut); });
      refused += code == Exit::data && words.find("cut.pt: ") != words.npos;
    }
    CAPTURE(name);
    CHECK(refused == whole);
  }
}
