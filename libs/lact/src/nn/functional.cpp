#include <lact/error.hpp>
#include <lact/nn/functional.hpp>

#include "../ops/kernels.hpp"
#include "../ops/once.hpp"
#include "kernels.hpp"

#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

namespace lact::nn {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// --- without kernels of our own
// -------------------------------------------------------------------

namespace composed {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const auto type = x.scalar_type();
  const bool narrow = type == at::kBFloat16 || type == at::kHalf;
  const auto wide = narrow ? x.to(at::kFloat) : x;
  const auto scale = (wide.square().mean({-1}, /*keepdim=*/true) + epsilon).rsqrt();
  return (wide * scale * weight).to(type);
}

Tensor rotate(const Tensor& x, const Rotary& table) {
  const auto cos = table.cos.to(x.scalar_type()).unsqueeze(-2),  // [..., L, 1, a / 2]
      sin = table.sin.to(x.scalar_type()).unsqueeze(-2);
  if (table.pairs) {
    const auto pair = x.unflatten(-1, {-1, 2}).unbind(-1);
    return at::stack({pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos}, -1)
        .flatten(-2);
  }
  const auto halves = x.chunk(2, -1);
  return at::cat({halves[0] * cos - halves[1] * sin, halves[0] * sin + halves[1] * cos}, -1);
}

Tensor fast_input(const Tensor& x, const FastInput& how) {
  auto y = x;
  if (how.scale.defined()) y = y * how.scale.to(x.dtype()) + how.offset.to(x.dtype());
  if (how.silu) y = at::silu(y);
  auto heads = y.unflatten(-1, {how.heads, -1});
  if (how.unit_epsilon >= 0)
    heads = heads / (heads.norm(2, {-1}, /*keepdim=*/true) + how.unit_epsilon);
  if (!how.table.cos.defined()) return heads;
  const auto sizes = heads.sizes();
  const auto blocks = heads.flatten(-2).unflatten(-1, {-1, 2 * how.table.cos.size(-1)});
  return composed::rotate(blocks, how.table).reshape(sizes).to(x.dtype());
}

Tensor mix(const Tensor& attention, const Tensor& fast, const Tensor& weight, double epsilon,
           const Tensor& z) {
  auto y = rms_norm(fast, weight, epsilon);
  if (z.defined()) y = y * at::silu(z).unsqueeze(-1);
  return attention.flatten(-2) + y.flatten(-2);
}

}  // namespace composed

// --- nodes ---------------------------------------------------------------------------------------

/// An input of a node that may be undefined.
using Parameter = std::optional<Tensor>;

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        double epsilon) {
    context->save_for_backward({x, weight});
    context->saved_data["epsilon"] = epsilon;
    return kernels::rms_norm(x, weight, epsilon);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grad_y) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    const auto found = kernels::rms_norm_backward(
        saved[0], saved[1], context->saved_data["epsilon"].toDouble(), grad_y[0]);
    return {found.grad_x, found.grad_weight.to(saved[1].scalar_type()), {}};
  }
};

struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Rotary& table) {
    context->save_for_backward({table.cos, table.sin});
    context->saved_data["pairs"] = table.pairs;
    return kernels::rotate(x, table, /*back=*/false);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grad_y) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    const bool pairs = context->saved_data["pairs"].toBool();
    return {kernels::rotate(grad_y[0], {saved[0], saved[1], pairs}, /*back=*/true), {}};
  }
};

struct FastInputNode : torch::autograd::Function<FastInputNode> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const FastInput& how,
                        const Parameter&, const Parameter&) {
    context->save_for_backward({x, how.scale, how.offset, how.table.cos, how.table.sin});
    context->saved_data["heads"] = how.heads;
    context->saved_data["silu"] = how.silu;
    context->saved_data["epsilon"] = how.unit_epsilon;
    context->saved_data["pairs"] = how.table.pairs;
    return kernels::fast_input(x, how);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grad_y) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const FastInput how{data["heads"].toInt(),
                        saved[1],
                        saved[2],
                        data["silu"].toBool(),
                        data["epsilon"].toDouble(),
                        {saved[3], saved[4], data["pairs"].toBool()}};
    const auto found = kernels::fast_input_backward(saved[0], how, grad_y[0]);
    if (!how.scale.defined()) return {found.grad_x, {}, {}, {}};
    return {found.grad_x,
            {},
            found.grad_scale.to(how.scale.scalar_type()),
            found.grad_offset.to(how.offset.scalar_type())};
  }
};

struct Mix : torch::autograd::Function<Mix> {
  static Tensor forward(AutogradContext* context, const Tensor& attention, const Tensor& fast,
                        const Tensor& weight, double epsilon, const Parameter& given) {
    const auto z = given.value_or(Tensor());
    context->save_for_backward({fast, weight, z});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["heads"] = attention.size(2);
    return kernels::mix(attention, fast, weight, epsilon, z);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grad_y) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    const auto found = kernels::mix_backward(
        saved[0], saved[1], context->saved_data["epsilon"].toDouble(), saved[2], grad_y[0]);
    const int64_t heads = context->saved_data["heads"].toInt();
    return {grad_y[0].unflatten(-1, {heads, -1}),
            found.grad_fast,
            found.grad_weight.to(saved[1].scalar_type()),
            {},
            found.grad_z};
  }
};

struct Swiglu : torch::autograd::Function<Swiglu> {
  /// x [tokens, d]
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& gate,
                        const Tensor& up, const Tensor& down) {
    const auto a = at::linear(x, gate).unsqueeze(0), b = at::linear(x, up).unsqueeze(0);
    context->save_for_backward({x, gate, up, down, a, b});
    const auto h = at::empty_like(a);
    ops::kernels::swiglu(a, b, h);
    return at::linear(h[0], down);
  }
  static variable_list backward(AutogradContext* context, const variable_list& grad_y) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &gate = saved[1], &up = saved[2], &down = saved[3];
    // In place: a, b and the gradient of h become the gradients of a and b, and h.
    const auto a = saved[4].clone(), b = saved[5].clone(), h = grad_y[0].mm(down).unsqueeze(0);
    ops::kernels::swiglu_backward(a, b, h);
    return {a[0].mm(gate).addmm_(b[0], up), a[0].mT().mm(x), b[0].mT().mm(x),
            grad_y[0].mT().mm(h[0])};
  }
};

/// Sum of cross entropies of x weight^T where labels are not negative; if they are wanted, the
/// gradients by x and weight, scaled by `factor`.
struct Entropy {
  Entropy(const Tensor& x, const Tensor& weight, const Tensor& labels, double factor, bool wanted) {
    constexpr int64_t kNumbers = int64_t{1} << 23;  // of logits at a time
    const int64_t tokens = x.size(0), classes = weight.size(0);
    const int64_t tile = std::clamp<int64_t>(kNumbers / classes, 64, 2048);
    if (wanted) {
      grad_x = at::empty_like(x);
      grad_weight = at::zeros(weight.sizes(), x.options().dtype(at::toOpMathType(x.scalar_type())));
    }
    const auto room = at::empty({std::min(tile, tokens), classes}, x.options());
    for (int64_t begin = 0; begin < tokens; begin += tile) {
      const int64_t end = std::min(begin + tile, tokens);
      const auto rows = x.slice(0, begin, end);
      auto logits = room.slice(0, 0, end - begin);
      at::mm_out(logits, rows, weight.mT());
      sum += score(logits, labels.slice(0, begin, end), wanted ? factor : 0);
      if (!wanted) continue;
      auto grad_rows = grad_x.slice(0, begin, end);
      at::mm_out(grad_rows, logits, weight);
      if (grad_weight.scalar_type() == x.scalar_type())
        grad_weight.addmm_(logits.mT(), rows);
      else  // a tile is rounded to bfloat16, the sum of tiles is not
        grad_weight.add_(logits.mT().mm(rows));
    }
  }

  static double score(const Tensor& logits, const Tensor& labels, double factor) {
    if (kernels::fit(logits)) return kernels::entropy(logits, labels, factor);
    const auto wide = logits.to(at::toOpMathType(logits.scalar_type())),
               most = wide.logsumexp({-1}, /*keepdim=*/true);
    const auto scored = labels.ge(0).unsqueeze(1), index = labels.clamp_min(0).unsqueeze(1);
    if (factor != 0)
      logits.copy_((wide - most).exp().scatter_add(1, index, -at::ones_like(most)) * scored *
                   factor);
    return ((most - wide.gather(1, index)) * scored).sum().item<double>();
  }

  Tensor grad_x, grad_weight;
  double sum = 0;
};

double scored(const Tensor& labels) {
  return static_cast<double>(labels.ge(0).sum().item<int64_t>());
}

Tensor mean(const Entropy& done, double count, const Tensor& like) {
  return at::scalar_tensor(done.sum / count,
                           like.options().dtype(at::toOpMathType(like.scalar_type())));
}

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const Tensor& labels) {
    const auto count = scored(labels);
    const Entropy done(x, weight, labels, 1 / std::max(count, 1.0), true);
    context->save_for_backward({done.grad_x, done.grad_weight});
    return mean(done, count, x);
  }
  static variable_list backward(AutogradContext* context, const variable_list& mean_) {
    ops::once("a layer");
    const auto saved = context->get_saved_variables();
    const auto type = saved[0].scalar_type();
    return {(saved[0] * mean_[0]).to(type), (saved[1] * mean_[0]).to(type), {}};
  }
};

}  // namespace

namespace {

/// TokenKernels read memory by these sizes.
void require(bool fits, const char* name, const Tensor& x) {
  if (!fits)
    throw Error(Exit::internal, "layer: ", name, " does not fit: ", x.sizes(), " ",
                x.dtype().name());
}

bool is_vector(const Tensor& x, int64_t size) {
  return x.dim() == 1 && x.size(0) == size;
}

/// A row of the table for each token of x [B, L, ...].
void require_table(const Rotary& table, const Tensor& x) {
  for (const auto* one : {&table.cos, &table.sin})
    require((one->dim() == 2 || (one->dim() == 3 && one->size(0) == x.size(0))) &&
                one->size(-2) == x.size(1),
            "rotary table", *one);
}

}  // namespace

Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x, weight.to(x.dtype()), bias.defined() ? bias.to(x.dtype()) : Tensor());
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  require(is_vector(weight, x.size(-1)), "weight of rms_norm", weight);
  return kernels::fit(x) ? RmsNorm::apply(x, weight, epsilon)
                         : composed::rms_norm(x, weight, epsilon);
}

Rotary rotary(const Tensor& positions, int64_t width, double theta, at::ScalarType dtype) {
  const auto exact = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto options = positions.options().dtype(exact);
  const auto exponent = at::arange(0, width, 2, options) / static_cast<double>(width);
  const auto frequency = at::pow(theta, exponent).reciprocal();      // [a / 2]
  const auto angle = positions.to(exact).unsqueeze(-1) * frequency;  // [..., L, a / 2]
  return {angle.cos().to(dtype).to(exact), angle.sin().to(dtype).to(exact)};
}

Tensor rotate(const Tensor& x, const Rotary& table) {
  require(x.dim() == 4 && x.size(3) == 2 * table.cos.size(-1), "input of rotate", x);
  require_table(table, x);
  return kernels::fit(x) ? Rotate::apply(x, table) : composed::rotate(x, table);
}

Tensor fast_input(const Tensor& x, const FastInput& how) {
  require(x.dim() == 3 && x.size(2) % how.heads == 0, "fast input", x);
  require(how.scale.defined() == how.offset.defined(), "scale without offset:", x);
  for (const auto* one : {&how.scale, &how.offset})
    if (one->defined()) require(is_vector(*one, x.size(2)), "scale or offset of fast input", *one);
  if (how.table.cos.defined()) {
    require(x.size(2) % (2 * how.table.cos.size(-1)) == 0, "rotation of fast input", x);
    require_table(how.table, x);
  }
  return kernels::fit(x) ? FastInputNode::apply(x, how, Parameter(how.scale), Parameter(how.offset))
                         : composed::fast_input(x, how);
}

Tensor mix(const Tensor& attention, const Tensor& fast, const Tensor& weight, double epsilon,
           const Tensor& z) {
  require(fast.dim() == 4 && fast.scalar_type() == attention.scalar_type(), "fast", fast);
  require(attention.dim() == 4 && attention.size(0) == fast.size(0) &&
              attention.size(1) == fast.size(1) &&
              attention.size(2) * attention.size(3) == fast.size(2) * fast.size(3),
          "attention", attention);
  require(is_vector(weight, fast.size(3)), "weight of mix", weight);
  if (z.defined())
    require(z.sizes() == fast.sizes().slice(0, 3) && z.scalar_type() == fast.scalar_type(), "z", z);
  return kernels::fit(fast) ? Mix::apply(attention, fast, weight, epsilon, Parameter(z))
                            : composed::mix(attention, fast, weight, epsilon, z);
}

Tensor swiglu(const Tensor& x, const Tensor& gate, const Tensor& up, const Tensor& down) {
  const auto type = x.scalar_type();
  if (!kernels::fit(x)) return affine(at::silu(affine(x, gate)) * affine(x, up), down);
  auto sizes = x.sizes().vec();
  sizes.back() = down.size(0);
  return Swiglu::apply(x.reshape({-1, x.size(-1)}), gate.to(type), up.to(type), down.to(type))
      .view(sizes);
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& labels) {
  require(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1), "x of entropy", x);
  require(is_vector(labels, x.size(0)) && labels.scalar_type() == at::kLong, "labels", labels);
  const auto w = weight.to(x.dtype());
  if (at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad()))
    return LinearCrossEntropy::apply(x, w, labels);
  return mean(Entropy(x, w, labels, 0, /*wanted=*/false), scored(labels), x);
}

}  // namespace lact::nn
