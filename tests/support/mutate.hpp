#pragma once
// One way to make broken inputs out of sound ones, the same for every parser and every run.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lact::test {

/// `count` inputs derived from `seeds`: a quarter is the seeds cut off at every byte (evenly spread
/// where they have more bytes than that, but each of the first 64 bytes of the first), the rest has
/// bits flipped, bytes lost, doubled, moved and overwritten with numbers at the edges of their
/// types, in binary and in digits, and stretches of one seed inside another. None is a seed itself.
std::vector<std::string> malformed_inputs(const std::vector<std::string>& seeds, size_t count,
                                          uint64_t random_seed = 1);

}  // namespace lact::test
