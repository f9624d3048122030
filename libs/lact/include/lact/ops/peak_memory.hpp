#pragma once
// How much memory a piece of work takes at its peak, as LibTorch's allocators see it.

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <optional>

namespace lact::ops {

/// Largest number of bytes that were allocated through LibTorch during `work` and not yet freed,
/// beyond those allocated before. On the CPU: of all threads; libraries' own buffers are not
/// seen. None where the device's allocator does not say.
std::optional<int64_t> peak_bytes(c10::Device device, const std::function<void()>& work);

/// The most memory that this process has had so far, all libraries included.
int64_t process_peak_bytes();

}  // namespace lact::ops
