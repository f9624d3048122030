#include <lact/train/norm_history.hpp>

#include <algorithm>
#include <utility>

namespace lact::train {

NormHistory::NormHistory(std::vector<double> newest_last) : values_(std::move(newest_last)) {
  if (values_.size() > kLength) values_.erase(values_.begin(), values_.end() - kLength);
}

void NormHistory::add(double norm) {
  if (values_.size() == kLength) values_.erase(values_.begin());
  values_.push_back(norm);
}

double NormHistory::median() const {
  if (values_.size() < kEnough) return 0;
  auto sorted = values_;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace lact::train
