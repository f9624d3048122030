#include "machine.hpp"

#include <lact/error.hpp>

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <sys/resource.h>

#include <mutex>

namespace lact::train {
namespace {

constexpr const char* kPrefix = "rng.";

std::vector<std::pair<std::string, at::Generator>> generators(c10::Device device) {
  std::vector<std::pair<std::string, at::Generator>> found;
  found.emplace_back("rng.cpu", at::globalContext().defaultGenerator(c10::Device(c10::kCPU)));
  if (!device.is_cpu())
    found.emplace_back(kPrefix + c10::DeviceTypeName(device.type(), /*lower_case=*/true),
                       at::globalContext().defaultGenerator(device));
  return found;
}

}  // namespace

void seed_generators(uint64_t seed, c10::Device device) {
  for (auto& [name, generator] : generators(device)) {
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(seed);
  }
}

io::NamedTensors generator_states(c10::Device device) {
  io::NamedTensors states;
  for (auto& [name, generator] : generators(device)) {
    const std::lock_guard lock(generator.mutex());
    states.emplace_back(name, generator.get_state());
  }
  return states;
}

bool is_generator(const std::string& name) {
  return name.rfind(kPrefix, 0) == 0;
}

void set_generator_states(const io::NamedTensors& states, c10::Device device) {
  for (auto& [name, generator] : generators(device)) {
    const at::Tensor* state = nullptr;
    for (const auto& [given, tensor] : states)
      if (given == name) state = &tensor;
    if (state == nullptr) throw Error(Exit::data, "random generator state ", name, ": missing");
    const std::lock_guard lock(generator.mutex());
    try {
      generator.set_state(state->clone());
    } catch (const c10::Error&) {
      throw Error(Exit::data, "random generator state ", name, ": not one of this LibTorch's");
    }
  }
}

DeterministicGuard::DeterministicGuard()
    : on_(at::globalContext().deterministicAlgorithms()),
      warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
      fill_(at::globalContext().deterministicFillUninitializedMemory()) {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  // Costs time, and changes no result; the tests keep what they chose.
  if (!on_) at::globalContext().setDeterministicFillUninitializedMemory(false);
}

DeterministicGuard::~DeterministicGuard() {
  at::globalContext().setDeterministicAlgorithms(on_, warn_only_);
  at::globalContext().setDeterministicFillUninitializedMemory(fill_);
}

std::vector<std::pair<std::string, double>> memory_metrics(c10::Device device) {
  constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
  if (device.is_cpu()) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return {{"memory/max_active(GiB)", static_cast<double>(usage.ru_maxrss) * 1024 / kGiB}};
  }
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  const auto peak = [](const auto& each) { return static_cast<double>(each[0].peak) / kGiB; };
  return {{"memory/max_active(GiB)", peak(stats.active_bytes)},
          {"memory/max_reserved(GiB)", peak(stats.reserved_bytes)},
          {"memory/num_ooms", static_cast<double>(stats.num_ooms)}};
}

}  // namespace lact::train
