#pragma once
// Recorded outside values, tests/golden, replayed by the library (lact/verify/golden.hpp).

#include <lact/verify/golden.hpp>

#include <string>
#include <vector>

namespace lact::test {

/// Every file of tests/golden/FOLDER of one of these kinds, replayed on the tests' device.
std::vector<verify::FileResult> replay_golden(const std::string& folder,
                                              const std::vector<verify::GoldenKind>& kinds,
                                              c10::ScalarType dtype = c10::ScalarType::Float);

/// How many of the files are of that kind.
size_t count_kind(const std::vector<verify::FileResult>& results, const std::string& kind);

/// "FILE: tensor NAME: error, tolerance, note" for each tensor with that verdict, a line each.
std::string tensors_with(verify::Verdict verdict, const std::vector<verify::FileResult>& results);

}  // namespace lact::test
