#pragma once
// Which of the passes that were built once per instruction set this machine runs.

#include <ATen/Version.h>

#include <string>

namespace lact::simd {

/// What one of three functions returns, by LibTorch's own choice: ATEN_CPU_CAPABILITY rules both.
template <class Passes>
const Passes& best(const Passes& (*base)(), const Passes& (*avx2)(), const Passes& (*avx512)()) {
  static const std::string can = at::get_cpu_capability();
  return can.rfind("AVX512", 0) == 0 ? avx512() : can == "AVX2" ? avx2() : base();
}

}  // namespace lact::simd

/// ROOM::base::passes() and its like for other instruction sets, of which this machine runs one.
#ifdef __x86_64__
#define LACT_BEST(ROOM) \
  ::lact::simd::best(ROOM::base::passes, ROOM::avx2::passes, ROOM::avx512::passes)
#else
#define LACT_BEST(ROOM) ROOM::base::passes()
#endif
