#pragma once
// The update rule as data: all in which the published systems differ.

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace lact::ops {

/// How a gradient is orthogonalized. Source: spec/llm 2.5, spec/views 4.4, spec/video 5.3.
struct NewtonSchulz {
  /// (p, q, t) of each step x <- p x + (q S + t S S) x with S = x x^T. Empty: only the scaling.
  std::vector<std::array<double, 3>> steps = language_model();
  double epsilon = 1e-7;                 ///< added to the Frobenius norm
  std::optional<c10::ScalarType> dtype;  ///< of the iteration; none: the gradient's
  /// t (S S) instead of (t S) S: in bfloat16 they round otherwise (views and video; language
  /// model).
  bool square_first = false;

  static std::vector<std::array<double, 3>> language_model();  ///< five different triples
  static std::vector<std::array<double, 3>>
  keller_jordan();  ///< one triple, five times (views, video)
};

struct Rule;

/// What a rule makes of a chunk's summed gradients before they are added to the fast weights, with
/// its own backward. A new one is a file in src/ops/rules and a line in rule.cpp (HACKING.md).
class Transform {
 public:
  virtual ~Transform() = default;
  /// g: matrices [n, rows, columns], each for itself. Returns new ones of the same shapes. What
  /// `backward` needs is added to `saved` unless it is null.
  virtual std::vector<at::Tensor> forward(const std::vector<at::Tensor>& g, const Rule& rule,
                                          std::vector<at::Tensor>* saved) const = 0;
  /// Gradients of the results to gradients of the matrices.
  virtual std::vector<at::Tensor> backward(const std::vector<at::Tensor>& gradients,
                                           const std::vector<at::Tensor>& saved,
                                           const Rule& rule) const = 0;
  /// What `forward` does to one matrix in products, in FLOPs.
  virtual double flops(double /*rows*/, double /*columns*/, const Rule&) const { return 0; }
};

/// Which matrices an update changes. `last`: only `down`, as fast weights of a fixed feature map.
/// `none`: the fast weights stay what they are and are read, the control of what learning gains;
/// keys, values, rates and momentum need not be there, and cost nothing.
enum class Learn { all, last, none };
/// "all", "last", "none". Errors: 64 with the list.
Learn learn_from(const std::string& word);

/// One weight update. Steps 1 to 4 of spec/llm 2.4; stored with the model.
struct Rule {
  bool momentum = false;                 ///< M <- G + beta M; the step is made of M
  const Transform* transform = nullptr;  ///< null: the step is the sum itself
  Learn learn = Learn::all;
  bool prenorm = false;  ///< steps add to weights that are never rescaled; a rescaled copy is read
  bool stacked = false;  ///< gate and up are transformed as one matrix of 2F rows
  bool weight_norm = true;    ///< rows are rescaled to the norms of the initial weights
  bool detach_norms = false;  ///< the target norms are constants of the outer gradient
  double norm_epsilon = 1e-5;
  bool epsilon_inside = false;  ///< u / sqrt(|u|^2 + eps) instead of u / (|u| + eps)
  NewtonSchulz orthogonalize;
  std::optional<c10::ScalarType> product;  ///< dtype the products round to; none: the operands'

  /// "gd", "momentum", "muon", "muon_momentum", ... Errors: 64 with the list.
  static Rule from_name(const std::string& name);
  std::string name() const;
  static std::vector<std::string> names();
};

}  // namespace lact::ops
