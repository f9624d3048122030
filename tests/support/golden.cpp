#include "support/golden.hpp"
#include "support/test.hpp"

#include <algorithm>

namespace lact::test {

std::vector<verify::FileResult> replay_golden(const std::string& folder,
                                              const std::vector<verify::GoldenKind>& kinds,
                                              c10::ScalarType dtype) {
  std::vector<verify::FileResult> results;
  for (const auto& file : verify::golden_files(source_root() / "tests/golden" / folder)) {
    auto result =
        verify::replay(file, kinds, {device(), dtype, source_root() / "tests/golden" / folder});
    if (result.passed_over.empty()) results.push_back(std::move(result));
  }
  return results;
}

size_t count_kind(const std::vector<verify::FileResult>& results, const std::string& kind) {
  return static_cast<size_t>(std::count_if(results.begin(), results.end(),
                                           [&](const auto& one) { return one.kind == kind; }));
}

std::string tensors_with(verify::Verdict verdict, const std::vector<verify::FileResult>& results) {
  std::string lines;
  for (const auto& file : results)
    for (const auto& one : file.tensors)
      if (one.verdict == verdict)
        lines += concat(file.file.filename().string(), ": tensor ", one.name, ": ", one.error, ", ",
                        one.tolerance, ", ", one.note, "\n");
  return lines;
}

}  // namespace lact::test
