#include "dtype.hpp"

#include <lact/error.hpp>

#include "descriptor.hpp"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace lact::io {
namespace {

using c10::ScalarType;

// In the format's order of alignment (tensor.rs: enum Dtype), smallest first.
constexpr Dtype kDtypes[] = {
    {"BOOL", 8, ScalarType::Bool, 0},
    {"F4", 4, ScalarType::Float4_e2m1fn_x2, 1},
    {"F6_E2M3", 6, std::nullopt, 2},
    {"F6_E3M2", 6, std::nullopt, 3},
    {"U8", 8, ScalarType::Byte, 4},
    {"I8", 8, ScalarType::Char, 5},
    {"F8_E5M2", 8, ScalarType::Float8_e5m2, 6},
    {"F8_E4M3", 8, ScalarType::Float8_e4m3fn, 7},
    {"F8_E8M0", 8, ScalarType::Float8_e8m0fnu, 8},
    {"F8_E4M3FNUZ", 8, ScalarType::Float8_e4m3fnuz, 9},
    {"F8_E5M2FNUZ", 8, ScalarType::Float8_e5m2fnuz, 10},
    {"I16", 16, ScalarType::Short, 11},
    {"U16", 16, ScalarType::UInt16, 12},
    {"F16", 16, ScalarType::Half, 13},
    {"BF16", 16, ScalarType::BFloat16, 14},
    {"I32", 32, ScalarType::Int, 15},
    {"U32", 32, ScalarType::UInt32, 16},
    {"F32", 32, ScalarType::Float, 17},
    {"C64", 64, ScalarType::ComplexFloat, 18},
    {"F64", 64, ScalarType::Double, 19},
    {"I64", 64, ScalarType::Long, 20},
    {"U64", 64, ScalarType::UInt64, 21},
};

constexpr size_t kAlignment = 64;  // LibTorch's own allocations have it

std::shared_ptr<const void> aligned_copy(const std::byte* bytes, size_t size) {
  void* copy = ::operator new (std::max<size_t>(size, 1), std::align_val_t{kAlignment});
  if (size > 0) std::memcpy(copy, bytes, size);
  return {copy, [](void* p) { ::operator delete (p, std::align_val_t{kAlignment}); }};
}

}  // namespace

const Dtype* find_dtype(std::string_view name) {
  const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& one) { return one.name == name; });
  return found == std::end(kDtypes) ? nullptr : found;
}

const Dtype* find_dtype(ScalarType type) {
  const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& one) { return one.torch == type; });
  return found == std::end(kDtypes) ? nullptr : found;
}

std::optional<uint64_t> bytes_of(const Dtype& dtype, const std::vector<int64_t>& shape) {
  int64_t bits = dtype.bits;
  bool empty = false;
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bits, std::max<int64_t>(size, 1), &bits)) return std::nullopt;
  }
  if (empty) return 0;
  if (bits % 8 != 0) return std::nullopt;
  return static_cast<uint64_t>(bits) / 8;
}

at::Tensor tensor_on(const std::string& file, const SafeTensors::Entry& entry,
                     const std::byte* bytes, std::shared_ptr<const void> owner, bool copy) {
  const auto fail = [&](const auto&... parts) {
    return Error(Exit::data, file, ": tensor ", printable(entry.name), ": ", parts...);
  };
  const Dtype* dtype = find_dtype(entry.dtype);
  if (dtype == nullptr || !dtype->torch)
    throw fail("LibTorch has no dtype for ", printable(entry.dtype));
  auto shape = entry.shape;
  if (dtype->bits == 4) {  // LibTorch counts bytes of two elements
    if (shape.empty() || shape.back() % 2 != 0)
      throw fail("the last dimension of F4 must be even for LibTorch");
    shape.back() /= 2;
  }
  const size_t size = entry.end - entry.begin;
  // Code that counts true values and then stores them would overrun on any other byte.
  if (*dtype->torch == ScalarType::Bool) {
    const auto* end = bytes + size;
    const auto* odd = std::find_if(bytes, end, [](std::byte b) { return b > std::byte{1}; });
    if (odd != end)
      throw fail("BOOL must be 0 or 1, found ", static_cast<int>(*odd), " at byte ", odd - bytes);
  }
  const size_t width = std::max(dtype->bits / 8, 1u);
  if (copy || reinterpret_cast<uintptr_t>(bytes) % width != 0) {
    owner = aligned_copy(bytes, size);
    bytes = static_cast<const std::byte*>(owner.get());
  }
  return at::from_blob(
      const_cast<std::byte*>(bytes), shape, [owner = std::move(owner)](void*) {},
      at::TensorOptions().dtype(*dtype->torch));
}

}  // namespace lact::io
