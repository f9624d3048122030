#pragma once
// Which of the kernels that were built once per instruction set this machine runs.

#include <ATen/Version.h>

#include <string>

namespace lact::simd {

/// What one of three functions returns, by LibTorch's own choice: ATEN_CPU_CAPABILITY rules both.
template <class Kernels>
const Kernels& best(const Kernels& (*base)(), const Kernels& (*avx2)(),
                    const Kernels& (*avx512)()) {
  static const std::string can = at::get_cpu_capability();
  return can.rfind("AVX512", 0) == 0 ? avx512() : can == "AVX2" ? avx2() : base();
}

}  // namespace lact::simd

/// ROOM::base::kernels() and its like for other instruction sets, of which this machine runs one.
#ifdef __x86_64__
#define LACT_BEST(ROOM) \
  ::lact::simd::best(ROOM::base::kernels, ROOM::avx2::kernels, ROOM::avx512::kernels)
#else
#define LACT_BEST(ROOM) ROOM::base::kernels()
#endif
