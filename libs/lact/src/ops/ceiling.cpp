#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/stopwatch.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

namespace lact::ops {
namespace {

/// Kernels on an accelerator are only started by the call that asks for them.
void wait_for(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeDevice(std::max<c10::DeviceIndex>(device.index(), 0));
}

double timed(c10::Device device, const std::function<void()>& work) {
  wait_for(device);
  const Stopwatch watch;
  work();
  wait_for(device);
  return watch.seconds();
}

/// Random [n, n], from a generator of its own: measuring must not move the program's.
at::Tensor random_square(int64_t n, uint64_t seed, const at::TensorOptions& options) {
  auto generator = at::detail::createCPUGenerator(seed);
  const int64_t rows = std::min<int64_t>(n, 256);  // enough: rates do not see the repetition
  const auto block = at::randn({rows, n}, generator, at::kFloat);
  return block.repeat({(n + rows - 1) / rows, 1}).narrow(0, 0, n).to(options).contiguous();
}

double cube(int64_t n) {
  return static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
}

/// One n x n product that can be repeated, and its best rate so far in FLOP/s.
class Product {
 public:
  Product(int64_t n, c10::Device device, c10::ScalarType dtype) : n_(n), device_(device) {
    const auto options = at::TensorOptions().device(device).dtype(dtype);
    a_ = random_square(n, 1, options);
    b_ = random_square(n, 2, options);
    c_ = at::empty_like(a_);
    run();  // chooses kernels, packs, wakes threads
    // Runs too short for the clock are timed together.
    together_ = 2 * cube(n) / best_ > 1e-3 ? 1 : 10;
  }

  void run() {
    const double took = timed(device_, [&] {
      for (int i = 0; i < together_; ++i) at::mm_out(c_, a_, b_);
    });
    best_ = std::max(best_, together_ * 2 * cube(n_) / took);
  }

  double best() const { return best_; }

 private:
  int64_t n_;
  c10::Device device_;
  at::Tensor a_, b_, c_;
  int together_ = 1;
  double best_ = 0;
};

double rate_at(int64_t n, c10::Device device, c10::ScalarType dtype, double seconds) {
  Product product(n, device, dtype);
  const Stopwatch watch;
  do product.run();
  while (watch.seconds() < seconds);
  return product.best();
}

}  // namespace

double product_rate(c10::Device device, c10::ScalarType dtype, double seconds, int64_t size) {
  const c10::InferenceMode no_graph;
  if (size > 0) return rate_at(size, device, dtype, seconds);
  // Larger products come nearer the peak, until one takes a good part of the time: emulated types
  // are a hundred times slower, and must not hold the caller up.
  const int64_t largest = device.is_cpu() ? 2048 : 8192;
  double best = 0;
  for (int64_t n = 256; n <= largest; n *= 2) {
    if (n > 512 && 3 * 2 * cube(n) / best > seconds) break;
    best = std::max(best, rate_at(n, device, dtype, n == largest ? seconds / 2 : seconds / 10));
  }
  return best;
}

double copy_rate(c10::Device device, double seconds) {
  const c10::InferenceMode no_graph;
  // Beyond what caches hold.
  const int64_t bytes = int64_t{256} << 20;
  const auto options = at::TensorOptions().device(device).dtype(at::kFloat);
  const auto from = at::ones({bytes / 4}, options);
  auto to = at::empty({bytes / 4}, options);
  to.copy_(from);  // brings the pages in
  double best = 0;
  const Stopwatch watch;
  do {
    const double took = timed(device, [&] { to.copy_(from); });
    best = std::max(best, 2.0 * static_cast<double>(bytes) / took);
  } while (watch.seconds() < seconds);
  return best;
}

namespace {

/// The two take turns, so that other work on the machine slows both.
bool measure_bfloat16(c10::Device device) {
  const c10::InferenceMode no_graph;
  constexpr double kWorthwhile = 1.2;
  bool pays = false;
  for (const int64_t n : {256, 1024}) {
    Product single(n, device, at::kFloat), half(n, device, at::kBFloat16);
    for (int round = 0; round < 8; ++round) {
      single.run();
      half.run();
    }
    pays = half.best() >= kWorthwhile * single.best();
    // Emulated: a larger product would only take long to say the same.
    if (half.best() < single.best() / 4) break;
  }
  return pays;
}

bool bfloat16_pays(c10::Device device) {
  static std::mutex mutex;
  static std::map<std::pair<int, int>, bool> known;
  const std::lock_guard lock(mutex);
  const auto key =
      std::make_pair(static_cast<int>(device.type()), static_cast<int>(device.index()));
  if (const auto found = known.find(key); found != known.end()) return found->second;
  return known[key] = measure_bfloat16(device);
}

}  // namespace

c10::ScalarType resolve_dtype(const std::string& name, c10::Device device) {
  if (name == "auto") return bfloat16_pays(device) ? at::kBFloat16 : at::kFloat;
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble})
    if (name == dtype_name(dtype)) return dtype;
  throw Error(Exit::usage, "--dtype: expected auto, float32, bfloat16 or float64, found '", name,
              "'");
}

const char* dtype_name(c10::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(dtype);
  }
}

}  // namespace lact::ops
