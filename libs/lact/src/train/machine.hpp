#pragma once
// What a run depends on that belongs to the process: LibTorch's random generators, its
// deterministic mode, memory.

#include <lact/io/safetensors.hpp>

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lact::train {

/// Seeds the CPU's generator and the device's.
void seed_generators(uint64_t seed, c10::Device device);

/// Their states as bytes: "rng.cpu", and "rng.cuda" where the device is one.
io::NamedTensors generator_states(c10::Device device);
bool is_generator(const std::string& name);
/// Errors   65 if one is missing or is no state
void set_generator_states(const io::NamedTensors& states, c10::Device device);

/// Puts the generators back as they were.
class GeneratorGuard {
 public:
  explicit GeneratorGuard(c10::Device device)
      : device_(device), states_(generator_states(device)) {}
  ~GeneratorGuard() { set_generator_states(states_, device_); }
  GeneratorGuard(const GeneratorGuard&) = delete;
  GeneratorGuard& operator=(const GeneratorGuard&) = delete;

 private:
  c10::Device device_;
  io::NamedTensors states_;
};

/// Operations that have a deterministic form use it, while this lives.
class DeterministicGuard {
 public:
  DeterministicGuard();
  ~DeterministicGuard();
  DeterministicGuard(const DeterministicGuard&) = delete;
  DeterministicGuard& operator=(const DeterministicGuard&) = delete;

 private:
  bool on_, warn_only_, fill_;
};

/// "memory/max_active(GiB)" and its like: of the device's allocator, on the CPU of the process.
std::vector<std::pair<std::string, double>> memory_metrics(c10::Device device);

}  // namespace lact::train
