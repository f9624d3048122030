#pragma once
// What several tests of this room need: tensors of any dtype with any bytes, raw files, errors.

#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace lact::test {

struct NamedType {
  std::string format;  // in a file
  c10::ScalarType torch;
};

/// Every dtype that both the format and LibTorch have, written down here a second time.
const std::vector<NamedType>& all_types();

/// Random bytes, so NaNs of all kinds too; only 0 and 1 for Bool.
at::Tensor random_tensor(std::mt19937_64& random, c10::ScalarType type,
                         const std::vector<int64_t>& shape);

void put(const std::filesystem::path& file, const std::string& bytes);
std::string get(const std::filesystem::path& file);

/// A file of this header (as it stands) and so many zero bytes.
std::string raw_file(const std::string& header, size_t buffer_bytes);

/// Code and words of the lact::Error that this throws, or {ok, ""}; other exceptions pass.
std::pair<Exit, std::string> error_of(const std::function<void()>& work);

/// The names in a folder, sorted.
std::vector<std::string> listing(const std::filesystem::path& folder);

/// Runs tests/io/interop.py. Nothing if its interpreter lacks the Python package.
std::optional<std::string> python(std::vector<std::string> arguments);

}  // namespace lact::test
