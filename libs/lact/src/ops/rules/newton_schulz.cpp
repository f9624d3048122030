// Muon: a step's matrix is replaced by about U V^T of its singular value decomposition
// (spec/llm 2.5).
#include "../kernels.hpp"
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
#include <utility>

namespace lact::ops {
namespace {

using at::Tensor;

bool narrow(const Tensor& x) {
  return x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
}

/// Where ops/kernels.hpp has kernels for squares: no float16, and bfloat16 on CUDA only.
bool has_kernels(const Tensor& x) {
  return x.scalar_type() != at::kHalf && (x.is_cuda() || !narrow(x));
}

/// Not where products are so fast that halving them does not pay. cuBLAS has no batched symmetric
/// product: several smaller ones must each fill the device with tiles of 128 x 128, about a hundred
/// at a time.
bool by_blocks(const Tensor& x) {
  if (x.is_cpu()) return x.size(0) == 1 && !narrow(x);
  constexpr int64_t kTile = 128, kTiles = 2048;  // reckoned, not measured
  const int64_t side = x.size(1) / kTile;
  return has_kernels(x) && side >= 2 && x.size(0) * side * side >= kTiles;
}

/// Rows of a block of a symmetric product: a quarter of the matrix saves 3/8 of the work.
int64_t block_rows(const Tensor& x) {
  // Smaller, products lose more than symmetry gains; CUDA's come in tiles of 128.
  const int64_t smallest = x.is_cpu() ? 64 : 128, step = x.is_cpu() ? 16 : 128;
  return std::max(smallest, (x.size(1) / 4 + step - 1) / step * step);
}

/// out <- alpha x y + beta c; c undefined: x y.
void product(const Tensor& out, const Tensor& x, const Tensor& y, double alpha, const Tensor& c,
             double beta) {
  if (c.defined())
    combine(out, c, beta, x, y, alpha);
  else
    multiply(out, x, y);
}

/// The same where the result is known to be symmetric; [count, n, n].
void symmetric_product(const Tensor& out, const Tensor& x, const Tensor& y, double alpha = 1,
                       const Tensor& c = {}, double beta = 0) {
  const int64_t n = out.size(1), block = by_blocks(x) ? block_rows(out) : n;
  if (block >= n) return product(out, x, y, alpha, c, beta);
  for (int64_t i = 0; i < n; i += block) {
    const int64_t end = std::min(i + block, n);
    const auto corner = [&](const Tensor& z) {
      return z.defined() ? z.slice(1, i, end).slice(2, 0, end) : z;
    };
    product(corner(out), x.slice(1, i, end), y.slice(2, 0, end), alpha, corner(c), beta);
  }
  kernels::mirror(out, block);
}

/// x <- x + x^T
void symmetrize(const Tensor& x) {
  if (has_kernels(x))
    kernels::symmetrize(x);
  else
    x.copy_(x + x.mT());
}

/// A polynomial of S = x x^T, and for a backward pass its change when S changes by a symmetric
/// matrix; [n, rows, rows], symmetric.
struct Polynomial {
  Tensor value, change;
};

/// out <- x y. Polynomials of one S commute, so the product is symmetric, and its change too.
void commuting_product(const Polynomial& out, const Polynomial& x, const Polynomial& y) {
  symmetric_product(out.value, x.value, y.value);
  if (!out.change.defined()) return;
  symmetric_product(out.change, x.change, y.value);
  symmetric_product(out.change, x.value, y.change, 1, out.change, 1);
}

/// Steps that are taken as one: x <- Q x, Q a polynomial of the S of the first.
struct Round {
  int64_t begin, end;
};

/// Columns for each row from which rounds of several steps are faster. Measured in float32 on one
/// core, 192 to 384 rows, forward and backward: at 1.5 as fast, at 2 by 5 to 10 %, at 4 by 25 %.
constexpr int64_t kFarFromSquare = 2;
/// Each step of a round multiplies small eigenvalues of S by p^2, 8 to 17, and with them the error
/// of its rounding; a new round, which begins from x, forgets it. Worst float32 error of five
/// steps, measured over many spectra: 6e-5 for rounds of one and of two, 4e-4 of three, 1e-2 of
/// five; ten steps in one round overflow.
constexpr int64_t kRound = 2;

/// Steps of a round.
int64_t round_steps(const Tensor& x) {
  return x.size(2) >= kFarFromSquare * x.size(1) && !narrow(x) ? kRound : 1;
}

std::vector<Round> rounds_of(const NewtonSchulz& how, const Tensor& x) {
  const auto steps = static_cast<int64_t>(how.steps.size()), length = round_steps(x);
  std::vector<Round> rounds;
  for (int64_t i = 0; i < steps; i += length) rounds.push_back({i, std::min(i + length, steps)});
  return rounds;
}

/// Intermediates of one worker.
struct Squares {
  Squares(const Tensor& x, int64_t matrices, bool changes) {
    const auto make = [&](Polynomial& one) {
      one.value = at::empty({matrices, x.size(1), x.size(1)}, x.options());
      if (changes) one.change = at::empty_like(one.value);
    };
    make(s);
    make(z);
    if (round_steps(x) == 1) return;
    make(other);
    make(spare);
  }
  /// Those of n matrices.
  Squares first(int64_t n) const {
    auto some = *this;
    for (Polynomial* one : {&some.s, &some.z, &some.other, &some.spare})
      for (Tensor* x : {&one->value, &one->change})
        if (x->defined()) *x = x->narrow(0, 0, n);
    return some;
  }
  Polynomial s, z, other, spare;
};

/// z <- p I + q S + t S S; without p I where the dtype is narrow, and p x is added instead.
void step(const Polynomial& s, const NewtonSchulz& how, int64_t i, const Polynomial& z) {
  const auto& [p, q, t] = how.steps[static_cast<size_t>(i)];
  const Tensor& x = s.value;
  if (narrow(x) && x.is_cpu())
    // In the order of the published system: a bfloat16 run then equals its own bit for bit.
    z.value.copy_(q * x + (how.square_first ? t * at::matmul(x, x) : at::matmul(t * x, x)));
  else
    symmetric_product(z.value, x, x, t, x, q);
  if (!narrow(x)) z.value.diagonal(0, 1, 2).add_(p);
  if (!z.change.defined()) return;
  combine(z.change, s.change, q / 2, s.change, x, t);
  symmetrize(z.change);
}

/// The round's Q from at.s, which is used up: Q <- Z Q and S <- Z S Z with each step's Z.
Polynomial product_of(const Round& round, const NewtonSchulz& how, const Squares& at) {
  Polynomial q, z = at.z, spare = at.spare;
  for (int64_t i = round.begin; i < round.end; ++i) {
    step(at.s, how, i, z);
    if (i + 1 < round.end) {
      commuting_product(spare, at.s, z);
      commuting_product(at.s, spare, z);
    }
    if (i == round.begin) {
      q = std::exchange(z, at.other);
    } else {
      commuting_product(spare, z, q);
      std::swap(spare, q);
    }
  }
  return q;
}

/// next <- x after one round; all [n, rows, columns].
void forward_round(const Tensor& x, const Tensor& next, const Round& round, const NewtonSchulz& how,
                   const Squares& at) {
  symmetric_product(at.s.value, x, x.mT());
  const auto q = product_of(round, how, at);
  const double p = how.steps[static_cast<size_t>(round.begin)][0];
  if (narrow(x) && x.is_cuda())
    combine(next, x, p, q.value, x, 1);
  else if (narrow(x))
    next.copy_(p * x + at::matmul(q.value, x));
  else
    multiply(next, q.value, x);
}

/// grad_x <- gradient by x, from grad_next that by the round's result Q x.
/// By Q x is linear in x: grad_x = Q grad_next. By S = x x^T: (S_ + S_^T) x. What maps a change of
/// S to that of Q is its own adjoint, as S is symmetric, so S_ + S_^T is the change of Q when S
/// changes by grad_next x^T + x grad_next^T.
void backward_round(const Tensor& x, const Tensor& grad_next, const Tensor& grad_x,
                    const Round& round, const NewtonSchulz& how, const Squares& at) {
  symmetric_product(at.s.value, x, x.mT());
  multiply(at.s.change, grad_next, x.mT());
  symmetrize(at.s.change);
  const auto q = product_of(round, how, at);
  multiply(grad_x, q.value, grad_next);
  multiply(grad_x, q.change, x, /*add=*/true);
  if (narrow(x)) grad_x.add_(grad_next, how.steps[static_cast<size_t>(round.begin)][0]);
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

/// Matrices whose iteration one core runs as one batch. In bfloat16 each call costs as much as a
/// product of 128 rows: batches of a megabyte train the views demo in 0.8 of the time. In float32
/// batches gain nothing.
int64_t matrices_at_once(const Tensor& x) {
  constexpr int64_t kBytes = 1 << 20;
  if (!narrow(x)) return 1;
  const int64_t one = 2 * x.size(1) * (x.size(1) + x.size(2)) * x.element_size();
  return std::max<int64_t>(1, kBytes / one);
}

/// f(first matrix, matrices, intermediates): on a CPU each matrix on one core, where its whole
/// iteration stays in that core's caches.
void over_matrices(const Tensor& x, bool changes,
                   const std::function<void(int64_t, int64_t, const Squares&)>& f) {
  const int64_t count = x.size(0), threads = at::get_num_threads();
  if (!x.is_cpu()) return f(0, count, Squares(x, count, changes));
  if (count < threads) {
    const Squares squares(x, 1, changes);
    for (int64_t i = 0; i < count; ++i) f(i, 1, squares);
    return;
  }
  const int64_t block = matrices_at_once(x);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const at::AutoDispatchBelowADInplaceOrView no_graph;
    const Squares squares(x, std::min(block, end - begin), changes);
    for (int64_t i = begin, n = 0; i < end; i += n) {
      n = std::min(block, end - i);
      f(i, n, squares.first(n));
    }
  });
}

class NewtonSchulzTransform final : public Transform {
 public:
  std::vector<Tensor> forward(const std::vector<Tensor>& g, const Rule& rule,
                              std::vector<Tensor>* saved) const override {
    const auto& how = rule.orthogonalize;
    std::vector<Tensor> out(g.size());
    for (const auto& group : grouped(g)) {
      const auto first = gather(g, group, how.dtype.value_or(g[0].scalar_type()));
      const auto size = first.norm(2, {1, 2}, /*keepdim=*/true);  // [n, 1, 1]
      first.div_(size + how.epsilon);
      const auto rounds = rounds_of(how, first);
      // Every round's x, if they are saved; else two that take turns.
      const size_t places = saved != nullptr ? rounds.size() : std::min<size_t>(rounds.size(), 2);
      std::vector<Tensor> x{first};
      for (size_t i = 0; i < places; ++i) x.push_back(at::empty_like(first));
      const auto place = [&](size_t round) {
        return round == 0 ? 0 : (round - 1) % std::max<size_t>(places, 1) + 1;
      };
      over_matrices(
          first, /*changes=*/false, [&](int64_t begin, int64_t count, const Squares& squares) {
            for (size_t i = 0; i < rounds.size(); ++i)
              forward_round(x[place(i)].narrow(0, begin, count),
                            x[place(i + 1)].narrow(0, begin, count), rounds[i], how, squares);
          });
      scatter(x[place(rounds.size())], group, g, out);
      if (saved == nullptr) continue;
      saved->push_back(size);
      saved->insert(saved->end(), x.begin(), x.begin() + starts(rounds));
    }
    return out;
  }

  std::vector<Tensor> backward(const std::vector<Tensor>& gradients,
                               const std::vector<Tensor>& saved, const Rule& rule) const override {
    const auto& how = rule.orthogonalize;
    std::vector<Tensor> out(gradients.size());
    size_t at = 0;  // in saved
    for (const auto& group : grouped(gradients)) {
      const Tensor& size = saved[at];
      const Tensor* x = &saved[at + 1];
      const auto rounds = rounds_of(how, x[0]);
      at += 1 + static_cast<size_t>(starts(rounds));
      auto grad_x = gather(gradients, group, x[0].scalar_type());
      auto other = at::empty_like(grad_x);
      over_matrices(
          grad_x, /*changes=*/true, [&](int64_t begin, int64_t count, const Squares& squares) {
            auto from = grad_x.narrow(0, begin, count), to = other.narrow(0, begin, count);
            for (size_t i = rounds.size(); i-- > 0; std::swap(from, to))
              backward_round(x[i].narrow(0, begin, count), from, to, rounds[i], how, squares);
          });
      if (rounds.size() % 2 == 1) std::swap(grad_x, other);
      // Through the division by the norm, which a matrix of zeros does not feel.
      const auto along = (x[0] * grad_x).sum({1, 2}, /*keepdim=*/true) / size;
      scatter(
          grad_x / (size + how.epsilon) - x[0] * at::where(size > 0, along, at::zeros_like(along)),
          group, gradients, out);
    }
    return out;
  }

 private:
  /// Of how many rounds the x is saved; without any, the scaled matrix itself.
  static int64_t starts(const std::vector<Round>& rounds) {
    return std::max<int64_t>(static_cast<int64_t>(rounds.size()), 1);
  }

  /// As the plain iteration counts (spec/llm 13), whatever symmetry and the Gram form save.
  double flops(double rows, double columns, const Rule& rule) const override {
    const double x = std::min(rows, columns), y = std::max(rows, columns);
    return static_cast<double>(rule.orthogonalize.steps.size()) * (4 * x * x * y + 2 * x * x * x);
  }
};

}  // namespace

const Transform* newton_schulz() {
  static const NewtonSchulzTransform transform;
  return &transform;
}

}  // namespace lact::ops
