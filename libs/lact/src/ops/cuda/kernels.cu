// Mapping: one warp a row, lanes side by side along it, 16 bytes each where width, strides and
// addresses allow, else one number; grids beyond kMostBlocks go round again. Rows are reduced by
// shuffles, no shared memory, no atomics: the same bytes every time.
// Traffic: the kernels over tokens read each input once and write each output once; what is read at
// a place is read before anything is written there, by the same lane. Rescaling reads rows twice,
// the second time mostly from a cache.
// Agreement with the CPU's: formulas and types are the same; exp differs in the last place, and row
// sums run in another order.

#include "kernels.hpp"

#include <cuda_bf16.h>

#include <type_traits>

namespace lact::ops::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;  // of a block, each with its own rows
constexpr int kThreads = kWarp * kWarps;
constexpr int64_t kMostBlocks = 1 << 16;
constexpr int kVector = 16;  // bytes that a lane moves at once

using bfloat16 = __nv_bfloat16;

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ inline float widen(float x) {
  return x;
}
__device__ inline double widen(double x) {
  return x;
}
__device__ inline float widen(bfloat16 x) {
  return __bfloat162float(x);
}
template <class T>
__device__ inline T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return __float2bfloat16_rn(x);
  else
    return x;
}

__device__ inline float exponential(float x) {
  return expf(x);
}
__device__ inline double exponential(double x) {
  return exp(x);
}
__device__ inline float root(float x) {
  return sqrtf(x);
}
__device__ inline double root(double x) {
  return sqrt(x);
}

template <class A>
__device__ inline A sigmoid(A x) {
  const A t = exponential(x < 0 ? x : -x);  // never overflows
  return (x < 0 ? t : A(1)) / (A(1) + t);
}

template <class A>
__device__ inline A warp_sum(A x) {
  for (int half = kWarp / 2; half > 0; half /= 2) x += __shfl_xor_sync(0xffffffffu, x, half);
  return x;
}

/// V numbers side by side, moved by one instruction.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T x[V];
};

template <class T, int V>
__device__ inline Pack<T, V> load(const T* from) {
  return *reinterpret_cast<const Pack<T, V>*>(from);
}
template <class T, int V>
__device__ inline void store(T* to, const Pack<T, V>& pack) {
  if constexpr (V > 1) {
    uint4 word;
    static_assert(sizeof(pack) == sizeof(word));
    memcpy(&word, &pack, sizeof(word));
    __stwb(reinterpret_cast<uint4*>(to), word);  // an assignment of bfloat16 nvcc takes apart
  } else {
    *reinterpret_cast<Pack<T, V>*>(to) = pack;
  }
}

// The formulas for one number: x inputs, y outputs; sums run along the row.

struct Gate {
  static constexpr int kIn = 2, kOut = 1, kRates = 0, kSums = 0;
  template <class A>
  __device__ static void run(const A* x, const A*, A* y, A*) {
    y[0] = x[0] * sigmoid(x[0]) * x[1];
  }
};

struct GateBackward {  // a, b, grad_h to grad_a, grad_b, h
  static constexpr int kIn = 3, kOut = 3, kRates = 0, kSums = 0;
  template <class A>
  __device__ static void run(const A* x, const A*, A* y, A*) {
    const A a = x[0], b = x[1], grad_h = x[2];
    const A s = sigmoid(a), silu = a * s;
    y[0] = grad_h * b * s * (1 + a * (1 - s));
    y[1] = grad_h * silu;
    y[2] = silu * b;
  }
};

struct DeltaFactors {  // a, b, e to p, r, u
  static constexpr int kIn = 3, kOut = 3, kRates = 3, kSums = 0;
  template <class A>
  __device__ static void run(const A* x, const A* rate, A* y, A*) {
    const A a = x[0], b = x[1], e = x[2];
    const A s = sigmoid(a), silu = a * s;
    y[0] = rate[0] * e * b * s * (1 + a * (1 - s));
    y[1] = rate[1] * e * silu;
    y[2] = rate[2] * silu * b;
  }
};

struct LearnLast {  // a, b to u
  static constexpr int kIn = 2, kOut = 1, kRates = 1, kSums = 0;
  template <class A>
  __device__ static void run(const A* x, const A* rate, A* y, A*) {
    y[0] = rate[0] * x[0] * sigmoid(x[0]) * x[1];
  }
};

struct LearnBackward {  // a, b, e, grad_p, grad_r, grad_u to p, r, u, grad_a, grad_b, grad_e
  static constexpr int kIn = 6, kOut = 6, kRates = 3, kSums = 3;
  template <class A>
  __device__ static void run(const A* x, const A* rate, A* y, A* sum) {
    const A a = x[0], b = x[1], e = x[2], grad_p = x[3], grad_r = x[4], grad_u = x[5];
    const A gate = rate[0], up = rate[1], down = rate[2];
    const A s = sigmoid(a), silu = a * s;
    const A phi = s * (1 + a * (1 - s));                // silu'
    const A psi = s * (1 - s) * (2 + a * (1 - 2 * s));  // silu''
    sum[0] += grad_p * e * b * phi;
    sum[1] += grad_r * e * silu;
    sum[2] += grad_u * b * silu;
    y[0] = gate * e * b * phi;
    y[1] = up * e * silu;
    y[2] = down * silu * b;
    y[3] = (up * grad_r * e + down * grad_u * b) * phi + gate * grad_p * e * b * psi;
    y[4] = gate * grad_p * e * phi + down * grad_u * silu;
    y[5] = gate * grad_p * b * phi + up * grad_r * silu;
  }
};

struct LearnLastBackward {  // a, b, grad_u to grad_a, grad_b, u
  static constexpr int kIn = 3, kOut = 3, kRates = 1, kSums = 1;
  template <class A>
  __device__ static void run(const A* x, const A* rate, A* y, A* sum) {
    const A a = x[0], b = x[1], grad_u = x[2], down = rate[0];
    const A s = sigmoid(a), silu = a * s;
    sum[0] += grad_u * b * silu;
    y[0] = down * grad_u * b * s * (1 + a * (1 - s));
    y[1] = down * grad_u * silu;
    y[2] = down * silu * b;
  }
};

/// An array may not be empty.
constexpr int room(int count) {
  return count > 0 ? count : 1;
}

template <class F>
struct Job {
  Shape shape;
  Rows in[F::kIn], out[F::kOut];
  Rows rate[room(F::kRates)], sum[room(F::kSums)];  // one number a row
};

template <class T>
__device__ inline T* head_of(const Rows& rows, int64_t head) {
  return static_cast<T*>(rows.data) + head * rows.stride;
}

template <class T, int V, class F>
__global__ void __launch_bounds__(kThreads) over_tokens(const Job<F> job) {
  using A = Wide<T>;
  const int64_t width = job.shape.width, rows = job.shape.rows, all = job.shape.heads * rows;
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; row < all;
       row += int64_t{gridDim.x} * kWarps) {  // the same for all lanes of a warp
    const int64_t head = row / rows, token = row % rows;
    A rate[room(F::kRates)], sum[room(F::kSums)] = {};
#pragma unroll
    for (int j = 0; j < F::kRates; ++j) rate[j] = head_of<A>(job.rate[j], head)[token];
    for (int64_t i = lane * V; i < width; i += kWarp * V) {
      const int64_t at = token * width + i;
      Pack<T, V> in[F::kIn], out[F::kOut];
#pragma unroll
      for (int j = 0; j < F::kIn; ++j) in[j] = load<T, V>(head_of<T>(job.in[j], head) + at);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        A x[F::kIn], y[F::kOut];
#pragma unroll
        for (int j = 0; j < F::kIn; ++j) x[j] = widen(in[j].x[v]);
        F::run(x, rate, y, sum);
#pragma unroll
        for (int j = 0; j < F::kOut; ++j) out[j].x[v] = narrow<T>(y[j]);
      }
#pragma unroll
      for (int j = 0; j < F::kOut; ++j) store(head_of<T>(job.out[j], head) + at, out[j]);
    }
#pragma unroll
    for (int j = 0; j < F::kSums; ++j) {
      const A total = warp_sum(sum[j]);
      if (lane == 0) head_of<A>(job.sum[j], head)[token] = total;
    }
  }
}

bool aligned(const void* data, int64_t bytes) {
  return (reinterpret_cast<uintptr_t>(data) | static_cast<uintptr_t>(bytes)) % kVector == 0;
}

unsigned blocks_for(int64_t rows) {
  const int64_t blocks = (rows + kWarps - 1) / kWarps;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

template <class T, class F>
cudaError_t launch_as(const Job<F>& job, cudaStream_t stream) {
  const int64_t rows = job.shape.heads * job.shape.rows;
  if (rows == 0) return cudaSuccess;
  bool vectors = aligned(nullptr, job.shape.width * sizeof(T));
  for (const Rows& x : job.in) vectors = vectors && aligned(x.data, x.stride * sizeof(T));
  for (const Rows& x : job.out) vectors = vectors && aligned(x.data, x.stride * sizeof(T));
  if (vectors)
    over_tokens<T, kVector / sizeof(T), F><<<blocks_for(rows), kThreads, 0, stream>>>(job);
  else
    over_tokens<T, 1, F><<<blocks_for(rows), kThreads, 0, stream>>>(job);
  return cudaGetLastError();
}

template <class F>
cudaError_t launch(Number number, const Job<F>& job, cudaStream_t stream) {
  switch (number) {
    case Number::f32:
      return launch_as<float>(job, stream);
    case Number::f64:
      return launch_as<double>(job, stream);
    case Number::bf16:
      return launch_as<bfloat16>(job, stream);
  }
  return cudaErrorInvalidValue;
}

/// What a row of this sum of squares is divided by.
template <class A>
__device__ inline A row_size(A squares, A epsilon, bool inside) {
  return inside ? root(squares + epsilon) : root(squares) + epsilon;
}

template <class A, int V>
__global__ void __launch_bounds__(kThreads)
    over_rows(int64_t rows, int64_t width, const A* base, const A* move, const A* norm, A epsilon,
              bool inside, A* u, A* w) {
  using P = Pack<A, V>;
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; row < rows;
       row += int64_t{gridDim.x} * kWarps) {
    const int64_t begin = row * width;
    A squares = 0;
    for (int64_t i = lane * V; i < width; i += kWarp * V) {
      const P x = load<A, V>(base + begin + i), y = load<A, V>(move + begin + i);
      P z;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        z.x[v] = x.x[v] + y.x[v];
        squares += z.x[v] * z.x[v];
      }
      if (u != nullptr) store(u + begin + i, z);
      store(w + begin + i, z);
    }
    const A scale = norm[row] / row_size(warp_sum(squares), epsilon, inside);
    for (int64_t i = lane * V; i < width; i += kWarp * V) {  // what this lane wrote
      P z = load<A, V>(w + begin + i);
#pragma unroll
      for (int v = 0; v < V; ++v) z.x[v] *= scale;
      store(w + begin + i, z);
    }
  }
}

template <class A, int V>
__global__ void __launch_bounds__(kThreads)
    over_rows_backward(int64_t rows, int64_t width, const A* u, const A* norm, A epsilon,
                       bool inside, A* grad_w, A* grad_norm) {
  using P = Pack<A, V>;
  const int lane = threadIdx.x % kWarp;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; row < rows;
       row += int64_t{gridDim.x} * kWarps) {
    const int64_t begin = row * width;
    A squares = 0, dot = 0;
    for (int64_t i = lane * V; i < width; i += kWarp * V) {
      const P x = load<A, V>(u + begin + i), g = load<A, V>(grad_w + begin + i);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        squares += x.x[v] * x.x[v];
        dot += x.x[v] * g.x[v];
      }
    }
    squares = warp_sum(squares);
    dot = warp_sum(dot);
    const A size = row_size(squares, epsilon, inside), scale = norm[row] / size;
    // d size / d u = u / |u|, or u / size with the epsilon inside; a row of zeros has none.
    const A radius = inside ? size : root(squares);
    const A along = radius > 0 ? scale * dot / (size * radius) : A(0);
    if (lane == 0) grad_norm[row] += dot / size;
    for (int64_t i = lane * V; i < width; i += kWarp * V) {
      const P x = load<A, V>(u + begin + i);
      P g = load<A, V>(grad_w + begin + i);
#pragma unroll
      for (int v = 0; v < V; ++v) g.x[v] = scale * g.x[v] - along * x.x[v];
      store(grad_w + begin + i, g);
    }
  }
}

template <class A>
cudaError_t rescale_as(int64_t rows, int64_t width, const void* base, const void* move,
                       const void* norm, double epsilon, bool inside, void* u, void* w,
                       cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const int64_t bytes = width * static_cast<int64_t>(sizeof(A));
  const bool vectors =
      aligned(base, bytes) && aligned(move, bytes) && aligned(u, bytes) && aligned(w, bytes);
  const auto kernel = vectors ? over_rows<A, kVector / sizeof(A)> : over_rows<A, 1>;
  kernel<<<blocks_for(rows), kThreads, 0, stream>>>(
      rows, width, static_cast<const A*>(base), static_cast<const A*>(move),
      static_cast<const A*>(norm), static_cast<A>(epsilon), inside, static_cast<A*>(u),
      static_cast<A*>(w));
  return cudaGetLastError();
}

template <class A>
cudaError_t rescale_backward_as(int64_t rows, int64_t width, const void* u, const void* norm,
                                double epsilon, bool inside, void* grad_w, void* grad_norm,
                                cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const int64_t bytes = width * static_cast<int64_t>(sizeof(A));
  const bool vectors = aligned(u, bytes) && aligned(grad_w, bytes);
  const auto kernel =
      vectors ? over_rows_backward<A, kVector / sizeof(A)> : over_rows_backward<A, 1>;
  kernel<<<blocks_for(rows), kThreads, 0, stream>>>(
      rows, width, static_cast<const A*>(u), static_cast<const A*>(norm), static_cast<A>(epsilon),
      inside, static_cast<A*>(grad_w), static_cast<A*>(grad_norm));
  return cudaGetLastError();
}

// Transpositions: a block takes one square of kWarp x kWarp numbers on or below the diagonal, and
// its mirror image, through shared memory, so that both are read and written along rows.

constexpr int64_t kMostLayers = 65535;  // the hardware's bound for the grid's third side

/// Calls f(r, c) for the numbers of a square that this thread has.
template <class F>
__device__ inline void over_square(const F& f) {
#pragma unroll
  for (int r = 0; r < kWarp; r += kWarps) f(r + threadIdx.y, threadIdx.x);
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_transposed(int64_t count, int64_t n, T* x) {
  using A = Wide<T>;
  if (blockIdx.x > blockIdx.y) return;
  __shared__ A lower[kWarp][kWarp + 1], upper[kWarp][kWarp + 1];  // + 1: no two in one bank
  const int64_t i0 = int64_t{blockIdx.y} * kWarp, j0 = int64_t{blockIdx.x} * kWarp;
  for (int64_t layer = blockIdx.z; layer < count; layer += gridDim.z) {
    T* const matrix = x + layer * n * n;
    over_square([&](int r, int c) {
      if (i0 + r < n && j0 + c < n) lower[r][c] = widen(matrix[(i0 + r) * n + j0 + c]);
      if (j0 + r < n && i0 + c < n) upper[r][c] = widen(matrix[(j0 + r) * n + i0 + c]);
    });
    __syncthreads();
    over_square([&](int r, int c) {  // on the diagonal both squares, and both sums, are the same
      if (i0 + r < n && j0 + c < n)
        matrix[(i0 + r) * n + j0 + c] = narrow<T>(lower[r][c] + upper[c][r]);
      if (j0 + r < n && i0 + c < n)
        matrix[(j0 + r) * n + i0 + c] = narrow<T>(upper[r][c] + lower[c][r]);
    });
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    copy_transposed(int64_t count, int64_t n, int64_t block, T* x) {
  if (blockIdx.x > blockIdx.y) return;
  __shared__ T lower[kWarp][kWarp + 1];
  const int64_t i0 = int64_t{blockIdx.y} * kWarp, j0 = int64_t{blockIdx.x} * kWarp;
  for (int64_t layer = blockIdx.z; layer < count; layer += gridDim.z) {
    T* const matrix = x + layer * n * n;
    over_square([&](int r, int c) {
      if (i0 + r < n && j0 + c < n) lower[r][c] = matrix[(i0 + r) * n + j0 + c];
    });
    __syncthreads();
    over_square([&](int r, int c) {
      if (j0 + r < n && i0 + c < n && (j0 + r) / block < (i0 + c) / block)
        matrix[(j0 + r) * n + i0 + c] = lower[c][r];
    });
    __syncthreads();
  }
}

struct SquareGrid {
  dim3 blocks, threads;
  SquareGrid(int64_t count, int64_t n) : threads(kWarp, kWarps) {
    const auto side = static_cast<unsigned>((n + kWarp - 1) / kWarp);
    blocks = dim3(side, side, static_cast<unsigned>(count < kMostLayers ? count : kMostLayers));
  }
};

template <class T>
cudaError_t symmetrize_as(int64_t count, int64_t n, void* x, cudaStream_t stream) {
  const SquareGrid grid(count, n);
  add_transposed<T><<<grid.blocks, grid.threads, 0, stream>>>(count, n, static_cast<T*>(x));
  return cudaGetLastError();
}

template <class T>
cudaError_t mirror_as(int64_t count, int64_t n, int64_t block, void* x, cudaStream_t stream) {
  const SquareGrid grid(count, n);
  copy_transposed<T><<<grid.blocks, grid.threads, 0, stream>>>(count, n, block, static_cast<T*>(x));
  return cudaGetLastError();
}

}  // namespace

cudaError_t swiglu(Number number, const Shape& shape, Rows a, Rows b, Rows h, cudaStream_t stream) {
  return launch(number, Job<Gate>{shape, {a, b}, {h}, {}, {}}, stream);
}

cudaError_t swiglu_backward(Number number, const Shape& shape, Rows a, Rows b, Rows h,
                            cudaStream_t stream) {
  return launch(number, Job<GateBackward>{shape, {a, b, h}, {a, b, h}, {}, {}}, stream);
}

cudaError_t delta_factors(Number number, const Shape& shape, Rows a, Rows b, Rows e,
                          const RateRows& rate, Rows p, Rows r, Rows u, cudaStream_t stream) {
  return launch(number,
                Job<DeltaFactors>{shape, {a, b, e}, {p, r, u}, {rate.gate, rate.up, rate.down}, {}},
                stream);
}

cudaError_t delta_factors_last(Number number, const Shape& shape, Rows a, Rows b, Rows rate, Rows u,
                               cudaStream_t stream) {
  return launch(number, Job<LearnLast>{shape, {a, b}, {u}, {rate}, {}}, stream);
}

cudaError_t delta_factors_backward(Number number, const Shape& shape, Rows a, Rows b, Rows e,
                                   Rows p, Rows r, Rows u, const RateRows& rate,
                                   const RateRows& grad_rate, cudaStream_t stream) {
  return launch(number,
                Job<LearnBackward>{shape,
                                   {a, b, e, p, r, u},
                                   {a, b, e, p, r, u},
                                   {rate.gate, rate.up, rate.down},
                                   {grad_rate.gate, grad_rate.up, grad_rate.down}},
                stream);
}

cudaError_t delta_factors_last_backward(Number number, const Shape& shape, Rows a, Rows b, Rows u,
                                        Rows rate, Rows grad_rate, cudaStream_t stream) {
  return launch(number, Job<LearnLastBackward>{shape, {a, b, u}, {a, b, u}, {rate}, {grad_rate}},
                stream);
}

cudaError_t rescale(Number number, int64_t rows, int64_t width, const void* base, const void* move,
                    const void* norm, double epsilon, bool inside, void* u, void* w,
                    cudaStream_t stream) {
  if (number == Number::bf16) return cudaErrorInvalidValue;
  const auto as = number == Number::f32 ? rescale_as<float> : rescale_as<double>;
  return as(rows, width, base, move, norm, epsilon, inside, u, w, stream);
}

cudaError_t rescale_backward(Number number, int64_t rows, int64_t width, const void* u,
                             const void* norm, double epsilon, bool inside, void* grad_w,
                             void* grad_norm, cudaStream_t stream) {
  if (number == Number::bf16) return cudaErrorInvalidValue;
  const auto as = number == Number::f32 ? rescale_backward_as<float> : rescale_backward_as<double>;
  return as(rows, width, u, norm, epsilon, inside, grad_w, grad_norm, stream);
}

cudaError_t symmetrize(Number number, int64_t count, int64_t n, void* x, cudaStream_t stream) {
  if (count == 0 || n == 0) return cudaSuccess;
  if (number == Number::f64) return symmetrize_as<double>(count, n, x, stream);
  return number == Number::f32 ? symmetrize_as<float>(count, n, x, stream)
                               : symmetrize_as<bfloat16>(count, n, x, stream);
}

cudaError_t mirror(Number number, int64_t count, int64_t n, int64_t block, void* x,
                   cudaStream_t stream) {
  if (count == 0 || n == 0) return cudaSuccess;
  if (number == Number::f64) return mirror_as<double>(count, n, block, x, stream);
  return number == Number::f32 ? mirror_as<float>(count, n, block, x, stream)
                               : mirror_as<bfloat16>(count, n, block, x, stream);
}

}  // namespace lact::ops::cuda
