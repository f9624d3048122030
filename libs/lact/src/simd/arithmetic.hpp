#pragma once
// Scalars of the kernels between products, for loops that a compiler turns into vector code.
// Included once per instruction set, each with functions of its own: no LibTorch header here, whose
// inline functions, compiled for AVX-512, would reach programs on machines without.

#include <bit>
#include <cmath>
#include <cstdint>

namespace lact::simd::LACT_SIMD {

/// exp(x) for x <= 0, to about one unit in the last place: 2^n times a polynomial on half an
/// octave.
inline float exp_of_negative(float x) {
  constexpr float kLowest = -87.0f;         // below, the result is not normal any more
  constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  x = x < kLowest ? kLowest : x;
  const float shifted = x * 1.44269504f + kRounding;
  const float n = shifted - kRounding;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;  // the coefficients of Cephes' expf
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) << 23) + (127u << 23);
  return p * std::bit_cast<float>(power);
}

inline double exp_of_negative(double x) {
  return std::exp(x);
}

template <class A>
inline A sigmoid(A x) {
  const A t = exp_of_negative(x < 0 ? x : -x);  // never overflows
  return (x < 0 ? t : A(1)) / (A(1) + t);
}

// bfloat16 by its bits.
inline float load(const float* p) {
  return *p;
}
inline double load(const double* p) {
  return *p;
}
inline float load(const uint16_t* p) {
  return std::bit_cast<float>(static_cast<uint32_t>(*p) << 16);
}
inline void store(float* p, float x) {
  *p = x;
}
inline void store(double* p, double x) {
  *p = x;
}
/// To the nearest, ties to even; what is not a number stays one.
inline void store(uint16_t* p, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  *p = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

}  // namespace lact::simd::LACT_SIMD
