#pragma once
// The element types of a safetensors file, and LibTorch's twins: the one table.

#include <lact/io/safetensors.hpp>

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace lact::io {

struct Dtype {
  std::string_view name;
  unsigned bits;  ///< of one element
  std::optional<c10::ScalarType> torch;
  int rank;  ///< writers put a higher rank first: never less aligned than what follows
};

/// Null if the format has no such type.
const Dtype* find_dtype(std::string_view name);
const Dtype* find_dtype(c10::ScalarType type);

/// The bytes that a shape takes, or nothing if they overflow or are no whole number. Zeros count as
/// ones for the overflow, so that strides cannot wrap either.
std::optional<uint64_t> bytes_of(const Dtype& dtype, const std::vector<int64_t>& shape);

/// A tensor on an entry's bytes, which `owner` keeps alive. Bytes that are not aligned for the
/// type, or if `copy`, are copied.
/// Errors   65 naming `file` and the tensor: LibTorch has no such type, or the bytes are no value
///          of it (a BOOL of 2)
at::Tensor tensor_on(const std::string& file, const SafeTensors::Entry& entry,
                     const std::byte* bytes, std::shared_ptr<const void> owner, bool copy);

}  // namespace lact::io
