#pragma once
// What this machine can do: the honest 100 % beside every speed.

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

namespace lact::ops {

/// Best rate of a square matrix product, in FLOP/s (multiply-add counted as 2), over repeated runs
/// on random data for about `seconds`. The size fits the device unless given.
double product_rate(c10::Device device, c10::ScalarType dtype, double seconds = 0.3,
                    int64_t size = 0);

/// Best rate of a large copy, in bytes/s, read and written bytes counted.
double copy_rate(c10::Device device, double seconds = 0.3);

/// "float32", "bfloat16", "float64" to a type; "auto": bfloat16 where its products run at least 1.2
/// times as fast as float32's on this device (measured: CPU flags do not tell), else float32.
/// Errors   64 naming what may be said
c10::ScalarType resolve_dtype(const std::string& name, c10::Device device);
const char* dtype_name(c10::ScalarType dtype);

}  // namespace lact::ops
