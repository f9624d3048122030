#pragma once
// What a collective costs a call, and a byte.

#include <optional>
#include <vector>

namespace lact::bench {

/// The time of a message of some size.
struct CommTime {
  double bytes = 0, seconds = 0;
};

/// seconds = latency + bytes * per_byte, by least squares of the logarithm of fitted by measured:
/// differences would see the largest sizes alone, and errors relative to the time mind twice it
/// more than half of it.
struct CommFit {
  double latency = 0, per_byte = 0;
  /// Of the times that the fit has not seen, relative to them; none: it has seen all.
  std::optional<double> largest_error;

  double seconds(double bytes) const { return latency + bytes * per_byte; }
};

/// Of `count` sizes, in their order, every second one is left out of the fit, to judge it by; the
/// first and the last never are.
bool left_out(size_t index, size_t count);

/// `times` by size. None: fewer than two sizes.
std::optional<CommFit> fit(const std::vector<CommTime>& times);

}  // namespace lact::bench
