#pragma once
// Random numbers that are the same on every machine and with every compiler, unlike those of
// <random>'s distributions.

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace lact {

/// Where no --seed is given.
constexpr uint64_t kDefaultSeed = 42;

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  /// In [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  /// Below `bound`; the bias of the remainder is under 2^-32 for bounds below 2^32.
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(next() % static_cast<uint64_t>(bound));
  }
  /// A saved generator goes on from here.
  uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

/// Streams that do not overlap: of one seed, for each purpose (below 256) as many as there are
/// numbers.
inline Random random_stream(uint64_t seed, uint64_t purpose, int64_t number) {
  Random mixed(seed ^ (purpose << 56));
  return Random(mixed.next() ^ static_cast<uint64_t>(number) * 0x9e3779b97f4a7c15u);
}

/// The first `count` of a shuffled 0, 1, ..., all - 1.
inline std::vector<int64_t> shuffled(int64_t all, int64_t count, Random random) {
  std::vector<int64_t> order(static_cast<size_t>(all));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = 0; i < count; ++i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(i + random.below(all - i))]);
  order.resize(static_cast<size_t>(count));
  return order;
}

/// Items in an order of their own for every epoch, without repeats; positions count from the start
/// of a run.
class EpochOrder {
 public:
  EpochOrder(uint64_t seed, int64_t items) : seed_(seed), order_(static_cast<size_t>(items)) {}
  int64_t at(int64_t position) {
    const auto items = static_cast<int64_t>(order_.size());
    const int64_t epoch = position / items;
    if (epoch != epoch_) order_ = shuffled(items, items, random_stream(seed_, 1, epoch));
    epoch_ = epoch;
    return order_[static_cast<size_t>(position % items)];
  }

 private:
  uint64_t seed_;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
};

}  // namespace lact
