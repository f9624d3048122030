// 500 malformed inputs for each parser: refused in one line or read in full, soon and in little
// memory. They are derived from sound files and the same in every run.

#include "support/mutate.hpp"
#include "support/test.hpp"
#include "targets.hpp"

#include <ctime>
#include <fstream>
#include <iostream>

using namespace lact;
using namespace lact::test;

namespace {

constexpr size_t kInputs = 500;
constexpr double kSeconds = 1;          // for one input, of this process's time: others may run too
constexpr int64_t kKilobytes = 262144;  // for all inputs of a parser

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// "VmHWM", the most memory that this process ever had, or "VmRSS", what it has now.
int64_t kilobytes(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (int64_t value = 0; word == what + ":" && status >> value) return value;
  throw std::runtime_error("/proc/self/status has no " + what);
}

/// The peak starts again from what is used now.
void forget_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

size_t count() {
  return std::getenv("LACT_TEST_LONG") != nullptr ? 200 * kInputs : kInputs;
}

}  // namespace

TEST_CASE("sound inputs are read by every parser") {
  REQUIRE(fuzz::targets().size() >= 13);
  for (const auto& target : fuzz::targets())
    for (const auto& seed : target.seeds()) {
      CAPTURE(target.name, seed.size());
      // Two show what a configuration may not hold.
      const bool broken = target.name == "config-toml" && seed.find_first_of("[.") != seed.npos &&
                          (seed[0] == '[' || seed.substr(0, 3) == "a.b");
      const bool no_tensor = seed.find("F6_E3M2") != seed.npos;
      CHECK(fuzz::accepts(target, seed) == !(broken || no_tensor));
    }
}

TEST_CASE("what once broke a parser is refused or read") {
  size_t inputs = 0;
  for (const auto& target : fuzz::targets()) {
    const auto folder = source_root() / "tests/fuzz/inputs" / target.name;
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& item : std::filesystem::directory_iterator(folder)) {
      CAPTURE(item.path());
      CHECK_NOTHROW(fuzz::accepts(target, fuzz::get(item.path())));
      ++inputs;
    }
  }
  CHECK(inputs > 0);
}

TEST_CASE("malformed inputs are refused in one line, in a second and in 256 MB") {
  for (const auto& target : fuzz::targets()) {
    const auto inputs = malformed_inputs(target.seeds(), count());
    REQUIRE(inputs.size() == count());
    fuzz::accepts(target, target.seeds()[0]);  // what is set up once
    forget_peak();
    const int64_t before = kilobytes("VmRSS");
    size_t refused = 0;
    double slowest = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(target.name, i, inputs[i].substr(0, 300));
      const double start = processor_seconds();
      bool accepted = false;
      CHECK_NOTHROW(accepted = fuzz::accepts(target, inputs[i]));
      slowest = std::max(slowest, processor_seconds() - start);
      refused += !accepted;
    }
    const int64_t grown = kilobytes("VmHWM") - before;
    std::cout << target.name << ": " << refused << " of " << inputs.size() << " refused, slowest "
              << slowest * 1e3 << " ms, " << grown / 1024 << " MiB" << std::endl;
    CAPTURE(target.name);
    if (!instrumented()) {
      CHECK(slowest < kSeconds);
      CHECK(grown < kKilobytes);
    }
    CHECK(refused > inputs.size() / 2);
    CHECK(refused <= inputs.size());
  }
}
