#include <lact/ops/peak_memory.hpp>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <sys/resource.h>

#include <atomic>
#include <memory>
#include <utility>

namespace lact::ops {
namespace {

/// Stands before the CPU's allocator, and counts for all threads. (LibTorch's profiler sees one.)
/// Lives for ever: a tensor remembers its allocator.
class Counter final : public c10::Allocator {
 public:
  explicit Counter(c10::Allocator* base) : base_(base) {}

  void start() { count_ = std::make_shared<Count>(); }

  c10::DataPtr allocate(size_t bytes) override {
    auto inner = base_->allocate(bytes);
    void* data = inner.get();
    const auto more = static_cast<int64_t>(bytes);
    const int64_t now = count_->now += more;
    for (int64_t peak = count_->peak;
         peak < now && !count_->peak.compare_exchange_weak(peak, now);) {
    }
    return {data, new Block{std::move(inner), more, count_},
            [](void* block) { delete static_cast<Block*>(block); }, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  int64_t peak() const { return count_->peak; }

 private:
  struct Count {
    std::atomic<int64_t> now = 0, peak = 0;
  };
  /// May outlive the counter.
  struct Block {
    c10::DataPtr data;
    int64_t bytes;
    std::shared_ptr<Count> count;
    ~Block() { count->now -= bytes; }
  };
  c10::Allocator* base_;
  std::shared_ptr<Count> count_;
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
  c10::Allocator* before = c10::GetCPUAllocator();
  static Counter& counter = *new Counter(before);
  counter.start();
  const InPlace guard(&counter, before);
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
