#include "tensors.hpp"

#include "support/process.hpp"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace lact::test {

const std::vector<NamedType>& all_types() {
  using c10::ScalarType;
  static const std::vector<NamedType> types = {
      {"U64", ScalarType::UInt64},
      {"I64", ScalarType::Long},
      {"F64", ScalarType::Double},
      {"C64", ScalarType::ComplexFloat},
      {"F32", ScalarType::Float},
      {"U32", ScalarType::UInt32},
      {"I32", ScalarType::Int},
      {"BF16", ScalarType::BFloat16},
      {"F16", ScalarType::Half},
      {"U16", ScalarType::UInt16},
      {"I16", ScalarType::Short},
      {"F8_E5M2FNUZ", ScalarType::Float8_e5m2fnuz},
      {"F8_E4M3FNUZ", ScalarType::Float8_e4m3fnuz},
      {"F8_E8M0", ScalarType::Float8_e8m0fnu},
      {"F8_E4M3", ScalarType::Float8_e4m3fn},
      {"F8_E5M2", ScalarType::Float8_e5m2},
      {"I8", ScalarType::Char},
      {"U8", ScalarType::Byte},
      {"F4", ScalarType::Float4_e2m1fn_x2},
      {"BOOL", ScalarType::Bool},
  };
  return types;
}

at::Tensor random_tensor(std::mt19937_64& random, c10::ScalarType type,
                         const std::vector<int64_t>& shape) {
  size_t bytes = c10::elementSize(type);
  for (const int64_t size : shape) bytes *= static_cast<size_t>(size);
  auto data = std::make_shared<std::vector<uint64_t>>(bytes / 8 + 1);  // aligned for all types
  for (auto& word : *data) word = random();
  if (type == c10::ScalarType::Bool)
    for (auto& word : *data) word &= 0x0101010101010101u;
  return at::from_blob(
      data->data(), shape, [data](void*) {}, at::TensorOptions().dtype(type));
}

void put(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

std::string get(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string raw_file(const std::string& header, size_t buffer_bytes) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + std::string(buffer_bytes, '\0');
}

std::pair<Exit, std::string> error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {Exit::ok, ""};
}

std::vector<std::string> listing(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : std::filesystem::directory_iterator(folder))
    names.push_back(item.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<std::string> python(std::vector<std::string> arguments) {
  const char* chosen = std::getenv("LACT_TEST_PYTHON");
  const std::string interpreter = chosen != nullptr && *chosen != '\0' ? chosen : "python3";
  static const bool usable = run({interpreter, "-c", "import numpy, safetensors.numpy"}).exit == 0;
  if (!usable) {
    WARN(interpreter << " has no safetensors and numpy: LACT_TEST_PYTHON names another; skipped");
    return std::nullopt;
  }
  arguments.insert(arguments.begin(),
                   {interpreter, (source_root() / "tests/io/interop.py").string()});
  const auto result = run(arguments);
  INFO(result.err);
  REQUIRE(result.exit == 0);
  return result.out;
}

}  // namespace lact::test
