// libFuzzer's door to the targets: LACT_FUZZ_TARGET names one. LACT_FUZZ_SEEDS=FOLDER writes the
// seeds of all and their dictionaries (FOLDER/TARGET/N, FOLDER/TARGET.dict), and ends.

#include "targets.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace lact;

void write_seeds(const std::filesystem::path& folder) {
  for (const auto& target : fuzz::targets()) {
    std::filesystem::create_directories(folder / target.name);
    int number = 0;
    for (const auto& seed : target.seeds())
      fuzz::put(folder / target.name / std::to_string(number++), seed);
    std::string words;
    for (const auto& word : target.words) {
      words += '"';
      char hex[8];
      for (const char c : word) {
        std::snprintf(hex, sizeof hex, "\\x%02X", static_cast<unsigned>(c & 0xff));
        words += hex;
      }
      words += "\"\n";
    }
    fuzz::put(folder / (target.name + ".dict"), words);
    std::puts(target.name.c_str());
  }
}

const fuzz::Target& chosen() {
  const char* name = std::getenv("LACT_FUZZ_TARGET");
  for (const auto& target : fuzz::targets())
    if (name != nullptr && target.name == name) return target;
  std::fprintf(stderr, "LACT_FUZZ_TARGET: expected the name of a target\n");
  std::exit(64);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("LACT_FUZZ_SEEDS")) {
    write_seeds(folder);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& target = chosen();
  fuzz::accepts(target,
                {reinterpret_cast<const char*>(data), size});  // what it throws is a finding
  return 0;
}
