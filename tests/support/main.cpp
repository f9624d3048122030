#define CATCH_CONFIG_RUNNER
#include "support/test.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

namespace {

#if CATCH_VERSION_MAJOR >= 3
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

/// Counts test cases for the last line of `./dev test`.
struct Count : Listener {
  using Listener::Listener;
  void testRunEnded(const Catch::TestRunStats& run) override {
    const auto& cases = run.totals.testCases;
    std::cout << "tests: " << cases.passed + cases.failedButOk << " passed, " << cases.failed
              << " failed" << std::endl;
  }
};
CATCH_REGISTER_LISTENER(Count)

}  // namespace

int main(int argc, char** argv) {
  // LibTorch then fills fresh memory with NaN: a forgotten write shows.
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  if (lact::test::device().is_cuda() && !at::hasCUDA()) {
    std::cout << "no CUDA device\ntests: 0 passed, 0 failed" << std::endl;
    return 77;  // Meson: skipped
  }
  return Catch::Session().run(argc, argv);
}

namespace lact::test {
namespace {

std::filesystem::path root(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr)
    throw std::runtime_error(std::string(variable) + " is not set: run the tests through meson");
  return value;
}

}  // namespace

at::Device device() {
  const char* name = std::getenv("LACT_TEST_DEVICE");
  return at::Device(name == nullptr ? "cpu" : name);
}

bool instrumented() {
  return std::getenv("LACT_TEST_INSTRUMENTED") != nullptr;
}

std::filesystem::path source_root() {
  return root("LACT_SOURCE_ROOT");
}
std::filesystem::path build_root() {
  return root("LACT_BUILD_ROOT");
}

int trials(int count) {
  const char* factor = std::getenv("LACT_TEST_LONG");
  return factor != nullptr ? count * std::max(1, std::atoi(factor)) : count;
}

TemporaryFolder::TemporaryFolder() {
  auto name = (std::filesystem::temp_directory_path() / "lact-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp: " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

double scaled_error(const at::Tensor& got, const at::Tensor& want) {
  if (got.sizes() != want.sizes()) return INFINITY;
  if (want.numel() == 0) return 0;
  const auto a = got.detach().cpu().to(at::kDouble), b = want.detach().cpu().to(at::kDouble);
  const double error = (a - b).abs().max().item<double>() / (1e-6 + b.abs().max().item<double>());
  return std::isfinite(error) ? error : INFINITY;
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  if (a.dtype() != b.dtype() || a.sizes() != b.sizes()) return false;
  const auto x = a.detach().cpu().contiguous(), y = b.detach().cpu().contiguous();
  return x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

}  // namespace lact::test
