#include "memory.hpp"

#include <c10/core/Allocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <memory>
#include <mutex>

namespace lact::bench {
namespace {

/// LibTorch's profiler is told of every allocation; so are we.
class Counter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    const std::lock_guard lock(mutex_);
    now_ += bytes;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  std::mutex mutex_;
  int64_t now_ = 0, peak_ = 0;
};

int64_t host_peak(const std::function<void()>& work) {
  const auto counter = std::make_shared<Counter>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
    work();
  }
  return counter->peak();
}

}  // namespace

std::optional<int64_t> peak_bytes(c10::Device device, const std::function<void()>& work) {
  if (device.is_cpu()) return host_peak(work);
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr) {
    work();
    return {};
  }
  const auto now = [&] { return allocator->getDeviceStats(device.index()).allocated_bytes[0]; };
  allocator->resetPeakStats(device.index());
  const int64_t before = now().current;
  work();
  return now().peak - before;
}

}  // namespace lact::bench
