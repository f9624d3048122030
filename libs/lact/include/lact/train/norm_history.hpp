#pragma once
// What gradient norms have been lately, so that an explosion can be told from a slope.

#include <cstddef>
#include <vector>

namespace lact::train {

class NormHistory {
 public:
  static constexpr size_t kLength = 128;  ///< steps that are remembered
  static constexpr size_t kEnough = 16;   ///< steps before there is a median to speak of

  explicit NormHistory(std::vector<double> newest_last = {});
  void add(double norm);
  /// The median of the last norms; 0 while there are not enough of them.
  double median() const;
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;  // newest last
};

}  // namespace lact::train
