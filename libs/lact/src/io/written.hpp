#pragma once
// Files with the hash of the bytes that were meant to be in them, for a checkpoint's manifest.

#include <lact/io/safetensors.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

namespace lact::io {

/// Size in bytes, and XXH3 of what was handed to the kernel (not of what it gives back).
using Written = std::pair<uint64_t, std::string>;

/// write_safetensors, with checksums in the file if wanted, and the file's size and hash.
Written write_tensors(const std::filesystem::path& file, const NamedTensors& tensors,
                      const Metadata& metadata, bool checksums);

}  // namespace lact::io
