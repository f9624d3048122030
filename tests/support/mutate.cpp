#include "support/mutate.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace lact::test {
namespace {

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, uint64_t seed) : seeds_(seeds), random_(seed) {}

  std::string next() {
    std::string bytes;
    do {
      bytes = any();
      for (size_t n = 1 + below(3); n > 0; --n) change(bytes);
    } while (std::find(seeds_.begin(), seeds_.end(), bytes) != seeds_.end());
    return bytes;
  }

 private:
  size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }
  const std::string& any() { return seeds_[below(seeds_.size())]; }

  void change(std::string& bytes) {
    const size_t at = below(bytes.size());
    switch (below(8)) {
      case 0:
      case 1:
        for (size_t n = 1 + below(4); n > 0 && !bytes.empty(); --n)
          bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
        break;
      case 2:
        bytes.erase(at, 1 + below(below(4) == 0 ? bytes.size() : 8));
        break;
      case 3:
        bytes.insert(at, stretch(bytes));
        break;
      case 4:
        bytes.insert(at, stretch(any()));
        break;
      case 5:
        overwrite(bytes, at, binary_edge());
        break;
      case 6:
        replace_number(bytes, at);
        break;
      default:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random_());
        break;
    }
  }

  std::string stretch(const std::string& from) {
    return from.substr(below(from.size()), 1 + below(below(4) == 0 ? from.size() : 16));
  }

  static void overwrite(std::string& bytes, size_t at, const std::string& with) {
    for (size_t i = 0; i < with.size() && at + i < bytes.size(); ++i) bytes[at + i] = with[i];
  }

  /// 0, the largest, the smallest and their neighbours, of 1, 2, 4 or 8 bytes, little-endian.
  std::string binary_edge() {
    const size_t size = size_t{1} << below(4);
    const uint64_t top = uint64_t{1} << (8 * size - 1);
    const uint64_t edges[] = {0, 1, top - 1, top, top + 1, UINT64_MAX, UINT64_MAX - 7, 100'000'001};
    const uint64_t value = edges[below(std::size(edges))];
    std::string bytes(size, '\0');
    std::memcpy(bytes.data(), &value, size);
    return bytes;
  }

  /// The next run of digits after `at` becomes another number.
  void replace_number(std::string& bytes, size_t at) {
    static const char* const kNumbers[] = {"-1",         "0",          "-0",
                                           "1e309",      "1e-400",     "0.5",
                                           "2147483648", "4294967296", "9223372036854775807",
                                           "1e18",       "NaN",        "9223372036854775808",
                                           "1e15",       "true",       "18446744073709551616"};
    const size_t begin = bytes.find_first_of("0123456789", at);
    if (begin == std::string::npos) return;
    const size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    bytes.replace(begin, end - begin, kNumbers[below(std::size(kNumbers))]);
  }

  const std::vector<std::string>& seeds_;
  std::mt19937_64 random_;
};

}  // namespace

std::vector<std::string> malformed_inputs(const std::vector<std::string>& seeds, size_t count,
                                          uint64_t random_seed) {
  std::vector<std::string> inputs;
  const size_t cuts = count / 4, heads = std::min<size_t>({64, cuts / 2, seeds.at(0).size()});
  for (size_t i = 0; i < heads; ++i) inputs.push_back(seeds[0].substr(0, i));
  for (size_t i = 0; inputs.size() < cuts; ++i) {
    const auto& seed = seeds[i % seeds.size()];
    inputs.push_back(seed.substr(0, seed.size() * i / (cuts - heads)));
  }
  Mutator mutator(seeds, random_seed);
  while (inputs.size() < count) inputs.push_back(mutator.next());
  return inputs;
}

}  // namespace lact::test
