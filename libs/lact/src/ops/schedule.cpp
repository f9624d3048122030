#include <lact/ops/schedule.hpp>

#include <algorithm>

namespace lact::ops {
namespace {
constexpr auto kApply = Step::Kind::apply;
constexpr auto kUpdate = Step::Kind::update;
}  // namespace

Schedule shifted_block_causal(int64_t length, int64_t chunk) {
  Schedule plan{{}, length, 0};
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const int64_t end = std::min(begin + chunk, length);
    plan.steps.push_back({kApply, begin, end});
    if (end < length) plan.steps.push_back({kUpdate, begin, end});
  }
  return plan;
}

Schedule shifted_block_causal_stream(int64_t carried, int64_t length, int64_t chunk) {
  Schedule plan{{}, length, chunk};
  for (int64_t begin = 0; begin < length;) {
    const int64_t end = begin + std::min(chunk - carried, length - begin);
    plan.steps.push_back({kApply, begin, end});
    carried += end - begin;
    if (carried == chunk) {
      plan.steps.push_back({kUpdate, end - chunk, end});
      carried = 0;
    }
    begin = end;
  }
  plan.carry_from = length - carried;
  return plan;
}

Schedule bidirectional(int64_t length) {
  return {{{kUpdate, 0, length}, {kApply, 0, length}}, length, 0};
}

Schedule chunk_causal(int64_t length, int64_t chunk) {
  Schedule plan{{}, length, 0};
  for (int64_t begin = 0; begin < length; begin += chunk) {
    const int64_t end = std::min(begin + chunk, length);
    plan.steps.push_back({kUpdate, begin, end});
    plan.steps.push_back({kApply, begin, end});
  }
  return plan;
}

Schedule strided(int64_t length, int64_t first, int64_t period, int64_t updated) {
  Schedule plan{{}, length, 0};
  if (first > 0) plan.steps.push_back({kApply, 0, first});
  for (int64_t begin = first; begin < length; begin += period) {
    plan.steps.push_back({kUpdate, begin, std::min(begin + updated, length)});
    plan.steps.push_back({kApply, begin, std::min(begin + period, length)});
  }
  return plan;
}

}  // namespace lact::ops
