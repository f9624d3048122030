#include <lact/ops/peak_memory.hpp>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <sys/resource.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>

namespace lact::ops {
namespace {

/// Stands before the CPU's allocator, and counts for all threads. (LibTorch's profiler sees one.)
/// Memory is the base's own and nothing is put beside it, because oneDNN takes it raw and may give
/// it back to whichever allocator is in place by then.
class Counter final : public c10::Allocator {
 public:
  /// Lives for ever: a tensor remembers how it is freed.
  static Counter& instance() {
    static Counter& counter = *new Counter(c10::GetCPUAllocator());
    return counter;
  }

  /// Blocks from before are not counted when they go.
  void start() {
    const std::lock_guard lock(mutex_);
    sizes_.clear();
    now_ = peak_ = 0;
  }
  int64_t peak() const { return peak_; }

  c10::DataPtr allocate(size_t bytes) override {
    void* data = base_->raw_allocate(bytes);
    if (data != nullptr) {
      const std::lock_guard lock(mutex_);
      sizes_[data] = static_cast<int64_t>(bytes);
      now_ += static_cast<int64_t>(bytes);
      peak_ = std::max(peak_, now_);
    }
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  explicit Counter(c10::Allocator* base) : base_(base) {}

  static void release(void* data) {
    auto& counter = instance();
    {
      const std::lock_guard lock(counter.mutex_);
      if (const auto found = counter.sizes_.find(data); found != counter.sizes_.end()) {
        counter.now_ -= found->second;
        counter.sizes_.erase(found);
      }
    }
    counter.base_->raw_deallocate(data);
  }

  c10::Allocator* base_;
  std::mutex mutex_;
  std::unordered_map<void*, int64_t> sizes_;
  int64_t now_ = 0, peak_ = 0;
};

/// The allocator while it lives.
class InPlace {
 public:
  InPlace(c10::Allocator* allocator, c10::Allocator* before) : before_(before) {
    c10::SetCPUAllocator(allocator);
  }
  ~InPlace() { c10::SetCPUAllocator(before_); }
  InPlace(const InPlace&) = delete;
  InPlace& operator=(const InPlace&) = delete;

 private:
  c10::Allocator* before_;
};

int64_t host_peak(const std::function<void()>& work) {
  auto& counter = Counter::instance();
  counter.start();
  const InPlace guard(&counter, c10::GetCPUAllocator());
  work();
  return counter.peak();
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

int64_t process_peak_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

}  // namespace lact::ops
