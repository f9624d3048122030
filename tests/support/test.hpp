#pragma once
// The only file that includes Catch2. LibTorch comes first: both define CHECK, and the last one
// wins.

#include <ATen/core/Tensor.h>
#include <c10/util/Logging.h>

#undef CHECK
#undef CHECK_FALSE

#if __has_include(<catch2/catch_all.hpp>)  // Catch2 3, as Debian 13 has it
#include <catch2/catch_all.hpp>
namespace Catch {
inline auto Contains(const std::string& text) {
  return Matchers::ContainsSubstring(text);
}
inline auto StartsWith(const std::string& text) {
  return Matchers::StartsWith(text);
}
}  // namespace Catch
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

#include <filesystem>
#include <string>

namespace lact::test {

/// The source tree, and the build tree (tools and plugins) that the tests belong to.
std::filesystem::path source_root();
std::filesystem::path build_root();

/// Where golden values are checked: $LACT_TEST_DEVICE, or the CPU. The same tests run on both.
at::Device device();

/// Built with sanitizers or counters of coverage: time and memory are then not the program's own.
bool instrumented();

/// A fresh folder that is removed at the end of its scope.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// How often to try something at random: `count`, times LACT_TEST_LONG if that is set.
int trials(int count);

/// max|got - want| / (1e-6 + max|want|), in float64: the measure of tests/golden. NaN gives
/// infinity.
double scaled_error(const at::Tensor& got, const at::Tensor& want);

/// Equal dtype, shape and bytes.
bool same_bytes(const at::Tensor& a, const at::Tensor& b);

}  // namespace lact::test
