// 500 malformed inputs for each parser: refused in one line or read in full, soon and in little
// memory. They are derived from sound files and the same in every run.

#include "../../libs/lact/src/cli/toml.hpp"
#include "support/mutate.hpp"
#include "support/test.hpp"
#include "targets.hpp"

#include <ctime>
#include <fstream>
#include <iostream>
#include <sstream>

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
    // A parser that refuses nothing passes over what it does not understand.
    CHECK((target.refusals.empty() || refused > inputs.size() / 2));
  }
}

TEST_CASE("a configuration file costs linear time, and one without end is refused") {
  const auto read = [](const std::string& text) {
    std::istringstream input(text);
    return cli::read_toml(input, "f.toml");
  };
  const auto code = [&](const std::string& text) {
    try {
      read(text);
    } catch (const Error& error) {
      return error.code();
    }
    return Exit::ok;
  };
  std::string list = "a = [1.5";  // each float is looked up by its place
  while (list.size() < 900'000) list += ", 2.50";
  const double start = processor_seconds();
  CHECK(read(list + "]\n").at(0).values.back() == "2.50");
  std::string lines;
  for (int i = 0; lines.size() < 900'000; ++i) lines += concat("k", i, " = 2.50\n");
  CHECK(read(lines).back().values.at(0) == "2.50");
  CHECK(processor_seconds() - start < 10);  // some tenths; a pass for each would take an hour
  CHECK(code("a = \"" + std::string(1 << 20, 'x') + "\"\n") == Exit::config);
  CHECK(code(std::string(100, '[') + "\n") == Exit::config);
  CHECK(code("a = " + std::string(500'000, '[') + "\n") == Exit::config);
  // A value of so many digits once recursed as deep.
  const std::string digits(1'000'000, '9');
  CHECK(cli::toml_value(digits + ".5").size() == digits.size() + 2);
  CHECK(cli::toml_value(digits).size() == digits.size() + 2);  // quoted: no integer of ours
}
