#include "comm_fit.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace lact::bench {
namespace {

constexpr int kRounds = 30;  // ten give six digits of times that lie far from any line

/// The weight under which the square of an error counts as that of the logarithm of the ratio.
double weight(double fitted, double seconds) {
  const double error = fitted - seconds;
  if (std::abs(error) < 1e-6 * seconds) return 1 / (seconds * seconds);
  return std::log(fitted / seconds) / (fitted * error);
}

/// Least squares of weighted errors.
CommFit line_through(const std::vector<CommTime>& times, const std::vector<double>& weights) {
  double w = 0, x = 0, xx = 0, y = 0, xy = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    const auto& one = times[i];
    w += weights[i];
    x += weights[i] * one.bytes;
    xx += weights[i] * one.bytes * one.bytes;
    y += weights[i] * one.seconds;
    xy += weights[i] * one.bytes * one.seconds;
  }
  const double determinant = w * xx - x * x;
  return {(y * xx - x * xy) / determinant, (w * xy - x * y) / determinant, {}};
}

}  // namespace

bool left_out(size_t index, size_t count) {
  return index % 2 == 1 && index + 1 < count;
}

std::optional<CommFit> fit(const std::vector<CommTime>& times) {
  if (times.size() < 2) return std::nullopt;
  std::vector<CommTime> seen;
  std::vector<double> weights;
  for (size_t i = 0; i < times.size(); ++i) {
    if (left_out(i, times.size())) continue;
    seen.push_back(times[i]);
    weights.push_back(weight(times[i].seconds, times[i].seconds));
  }
  CommFit line;
  for (int round = 0; round < kRounds; ++round) {
    line = line_through(seen, weights);
    for (size_t i = 0; i < seen.size(); ++i) {
      const double seconds = seen[i].seconds;
      weights[i] = weight(std::max(line.seconds(seen[i].bytes), seconds / 16), seconds);
    }
  }
  for (size_t i = 0; i < times.size(); ++i) {
    if (!left_out(i, times.size())) continue;
    const double error = std::abs(line.seconds(times[i].bytes) / times[i].seconds - 1);
    line.largest_error = std::max(line.largest_error.value_or(0), error);
  }
  return line;
}

}  // namespace lact::bench
