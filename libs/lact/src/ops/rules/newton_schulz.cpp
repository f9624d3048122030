// Muon: a step's matrix is replaced by about U V^T of its singular value decomposition (spec 2.5).
#include "../passes.hpp"
#include "../products.hpp"
#include "rules.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <functional>

namespace lact::ops {
namespace {

using at::Tensor;

bool narrow(const Tensor& x) {
  return x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
}

/// Where ops/passes.hpp has passes for squares: no float16, and bfloat16 on CUDA only.
bool has_passes(const Tensor& x) {
  return x.scalar_type() != at::kHalf && (x.is_cuda() || !narrow(x));
}

/// Not where products are so fast that halving them does not pay. cuBLAS has no batched symmetric
/// product: several smaller ones must each fill the device with tiles of 128 x 128, about a hundred
/// at a time.
bool by_blocks(const Tensor& x) {
  if (x.is_cpu()) return x.size(0) == 1 && !narrow(x);
  constexpr int64_t kTile = 128, kTiles = 2048;  // reckoned, not measured
  const int64_t side = x.size(1) / kTile;
  return has_passes(x) && side >= 2 && x.size(0) * side * side >= kTiles;
}

/// Rows of a block of a symmetric product: a quarter of the matrix saves 3/8 of the work.
int64_t block_rows(const Tensor& x) {
  // Smaller, products lose more than symmetry gains; CUDA's come in tiles of 128.
  const int64_t smallest = x.is_cpu() ? 64 : 128, step = x.is_cpu() ? 16 : 128;
  return std::max(smallest, (x.size(1) / 4 + step - 1) / step * step);
}

/// out <- alpha x y + beta c, which is known to be symmetric; [count, n, n]. c undefined: x y.
void symmetric_product(const Tensor& out, const Tensor& x, const Tensor& y, double alpha = 1,
                       const Tensor& c = {}, double beta = 0) {
  const int64_t n = out.size(1), block = block_rows(out);
  for (int64_t i = 0; i < n; i += block) {
    const int64_t end = std::min(i + block, n);
    const auto corner = [&](const Tensor& z) { return z.slice(1, i, end).slice(2, 0, end); };
    const auto a = x.slice(1, i, end), b = y.slice(2, 0, end);
    if (c.defined())
      combine(corner(out), corner(c), beta, a, b, alpha);
    else
      multiply(corner(out), a, b);
  }
  passes::mirror(out, block);
}

/// x <- x + x^T
void symmetrize(const Tensor& x) {
  if (has_passes(x))
    passes::symmetrize(x);
  else
    x.copy_(x + x.mT());
}

/// Square intermediates of one worker.
struct Squares {
  explicit Squares(const Tensor& x, int64_t matrices)
      : s(at::empty({matrices, x.size(1), x.size(1)}, x.options())),
        t(at::empty_like(s)),
        a(at::empty_like(s)),
        b(at::empty_like(s)) {}
  Tensor s, t, a, b;
};

/// Coefficients of a step.
struct Step {
  double p, q, t;
  bool square_first;
};

Step step_of(const NewtonSchulz& how, int64_t i) {
  const auto& [p, q, t] = how.steps[static_cast<size_t>(i)];
  return {p, q, t, how.square_first};
}

/// s <- x x^T, t <- p I + q s + t s s: a step is x <- t x.
void polynomial(const Tensor& x, const Step& step, const Squares& square) {
  const auto& [p, q, t, square_first] = step;
  if (by_blocks(x)) {
    symmetric_product(square.s, x, x.mT());
    symmetric_product(square.t, square.s, square.s, t, square.s, q);
  } else if (x.is_cuda()) {
    multiply(square.s, x, x.mT());
    combine(square.t, square.s, q, square.s, square.s, t);
  } else {
    multiply(square.s, x, x.mT());
    // In the order of the published system: a bfloat16 run then equals its own bit for bit.
    const auto squared =
        square_first ? t * at::matmul(square.s, square.s) : at::matmul(t * square.s, square.s);
    square.t.copy_(q * square.s + squared);
  }
  if (!narrow(x)) square.t.diagonal(0, 1, 2).add_(p);
}

/// next <- one step from x; all [n, rows, columns].
void forward_step(const Tensor& x, const Tensor& next, const Step& step, const Squares& square) {
  polynomial(x, step, square);
  if (narrow(x) && x.is_cuda())
    combine(next, x, step.p, square.t, x, 1);
  else if (narrow(x))
    next.copy_(step.p * x + at::matmul(square.t, x));
  else
    multiply(next, square.t, x);
}

/// x_ <- gradient by x, from next_ that by the step's result.
/// With T = p I + q S + t S S and S = x x^T:  T_ = next_ x^T, A = T_ + T_^T,
/// x_ = T next_ + (q A + t (A S + S A)) x.
void backward_step(const Tensor& x, const Tensor& next_, const Tensor& x_, const Step& step,
                   const Squares& square) {
  const auto& [p, q, t, square_first] = step;
  polynomial(x, step, square);
  multiply(square.a, next_, x.mT());
  symmetrize(square.a);
  combine(square.b, square.a, q / 2, square.a, square.s, t);
  symmetrize(square.b);
  multiply(x_, square.t, next_);
  multiply(x_, square.b, x, /*add=*/true);
  if (narrow(x)) x_.add_(next_, p);
}

/// Matrices of one small and one large side, turned so that rows are the small side.
struct Group {
  int64_t rows, columns, count = 0;
  std::vector<size_t> members;
};

bool tall(const Tensor& g) {
  return g.size(1) > g.size(2);
}

/// Tensors whose matrices can run as one batch.
std::vector<Group> grouped(const std::vector<Tensor>& g) {
  std::vector<Group> groups;
  for (size_t i = 0; i < g.size(); ++i) {
    const int64_t rows = std::min(g[i].size(1), g[i].size(2)),
                  columns = std::max(g[i].size(1), g[i].size(2));
    auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& one) {
      return one.rows == rows && one.columns == columns;
    });
    if (found == groups.end()) found = groups.insert(found, {rows, columns});
    found->members.push_back(i);
    found->count += g[i].size(0);
  }
  return groups;
}

/// The group's matrices as one batch, and back.
Tensor gather(const std::vector<Tensor>& g, const Group& group, c10::ScalarType type) {
  auto x = at::empty({group.count, group.rows, group.columns}, g[0].options().dtype(type));
  int64_t at = 0;
  for (const size_t i : group.members) {
    x.narrow(0, at, g[i].size(0)).copy_(tall(g[i]) ? g[i].mT() : g[i]);
    at += g[i].size(0);
  }
  return x;
}

void scatter(const Tensor& x, const Group& group, const std::vector<Tensor>& like,
             std::vector<Tensor>& out) {
  int64_t at = 0;
  for (const size_t i : group.members) {
    const auto mine = x.narrow(0, at, like[i].size(0));
    out[i] = (tall(like[i]) ? mine.mT() : mine).to(like[i].scalar_type()).contiguous();
    at += like[i].size(0);
  }
}

/// f(first matrix, matrices, intermediates): on a CPU each matrix on one core, where its whole
/// iteration stays in that core's caches.
void over_matrices(const Tensor& x,
                   const std::function<void(int64_t, int64_t, const Squares&)>& f) {
  const int64_t count = x.size(0), threads = at::get_num_threads();
  if (!x.is_cpu()) return f(0, count, Squares(x, count));
  if (count < threads) {
    const Squares squares(x, 1);
    for (int64_t i = 0; i < count; ++i) f(i, 1, squares);
    return;
  }
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_graph;
    const Squares squares(x, 1);
    for (int64_t i = begin; i < end; ++i) f(i, 1, squares);
  });
}

class NewtonSchulzTransform final : public Transform {
 public:
  std::vector<Tensor> forward(const std::vector<Tensor>& g, const Rule& rule,
                              std::vector<Tensor>* kept) const override {
    const auto& how = rule.orthogonalize;
    std::vector<Tensor> out(g.size());
    for (const auto& group : grouped(g)) {
      const auto first = gather(g, group, how.dtype.value_or(g[0].scalar_type()));
      const auto size = first.norm(2, {1, 2}, /*keepdim=*/true);  // [n, 1, 1]
      first.div_(size + how.epsilon);
      const auto steps = static_cast<int64_t>(how.steps.size());
      // Every step's x, if they are kept; else two that take turns.
      const int64_t places = kept != nullptr ? steps : std::min<int64_t>(steps, 2);
      std::vector<Tensor> x{first};
      for (int64_t i = 0; i < places; ++i) x.push_back(at::empty_like(first));
      const auto place = [&](int64_t step) {
        return step == 0 ? size_t{0}
                         : static_cast<size_t>((step - 1) % std::max<int64_t>(places, 1) + 1);
      };
      over_matrices(first, [&](int64_t begin, int64_t count, const Squares& squares) {
        for (int64_t i = 0; i < steps; ++i)
          forward_step(x[place(i)].narrow(0, begin, count), x[place(i + 1)].narrow(0, begin, count),
                       step_of(how, i), squares);
      });
      scatter(x[place(steps)], group, g, out);
      if (kept == nullptr) continue;
      kept->push_back(size);
      kept->insert(kept->end(), x.begin(), x.begin() + std::max<int64_t>(steps, 1));
    }
    return out;
  }

  std::vector<Tensor> backward(const std::vector<Tensor>& gradients,
                               const std::vector<Tensor>& kept, const Rule& rule) const override {
    const auto& how = rule.orthogonalize;
    std::vector<Tensor> out(gradients.size());
    const auto steps = static_cast<int64_t>(how.steps.size());
    size_t at = 0;  // in kept
    for (const auto& group : grouped(gradients)) {
      const Tensor& size = kept[at];
      const Tensor* x = &kept[at + 1];
      at += 1 + static_cast<size_t>(std::max<int64_t>(steps, 1));
      auto x_ = gather(gradients, group, x[0].scalar_type());
      auto other = at::empty_like(x_);
      over_matrices(x_, [&](int64_t begin, int64_t count, const Squares& squares) {
        auto from = x_.narrow(0, begin, count), to = other.narrow(0, begin, count);
        for (int64_t i = steps - 1; i >= 0; --i, std::swap(from, to))
          backward_step(x[i].narrow(0, begin, count), from, to, step_of(how, i), squares);
      });
      if (steps % 2 == 1) std::swap(x_, other);
      // Through the division by the norm, which a matrix of zeros does not feel.
      const auto along = (x[0] * x_).sum({1, 2}, /*keepdim=*/true) / size;
      scatter(x_ / (size + how.epsilon) - x[0] * at::where(size > 0, along, at::zeros_like(along)),
              group, gradients, out);
    }
    return out;
  }
};

}  // namespace

const Transform* newton_schulz() {
  static const NewtonSchulzTransform transform;
  return &transform;
}

}  // namespace lact::ops
