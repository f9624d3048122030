#include "shots.hpp"

#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace lact::video {
namespace {

constexpr double kNoise = 25;  // variance that means nothing: 5 of 255
constexpr double kUsual = 3;   // times what is usual
constexpr double kForgetting = 0.2;

}  // namespace

double unlikeness(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  const auto n = static_cast<double>(a.size());
  std::array<int64_t, 256> histogram{};
  double apart = 0, sum_a = 0, sum_b = 0, aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    apart += std::abs(x - y);
    sum_a += x;
    sum_b += y;
    aa += x * x;
    bb += y * y;
    ab += x * y;
    ++histogram[a[i]];
    --histogram[b[i]];
  }
  double moved = 0;
  int64_t surplus = 0;
  for (const int64_t bin : histogram) {
    surplus += bin;
    moved += static_cast<double>(std::abs(surplus));
  }
  const double covariance = ab / n - sum_a * sum_b / n / n + kNoise,
               a2 = aa / n - sum_a * sum_a / n / n + kNoise,
               b2 = bb / n - sum_b * sum_b / n / n + kNoise;
  return apart / n / 255 + moved / n / 255 + (1 - covariance / std::sqrt(a2 * b2)) / 2;
}

bool ShotDetector::cut(std::vector<uint8_t> luma) {
  const auto before = std::exchange(before_, std::move(luma));
  if (before.empty() || threshold_ <= 0) return false;
  const double now = unlikeness(before, before_);
  const bool cut = now > threshold_ + kUsual * usual_;
  usual_ = cut ? 0 : usual_ + kForgetting * (now - usual_);
  return cut;
}

}  // namespace lact::video
