#pragma once
// The update rule as data: all in which the published systems differ.

#include <c10/core/ScalarType.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace lact::ops {

/// How a gradient is orthogonalized. Source: spec 2.5 (language model), 10 (views), 5 (video).
struct NewtonSchulz {
  /// (p, q, t) of each step x <- p x + (q S + t S S) x with S = x x^T. Empty: only the scaling.
  std::vector<std::array<double, 3>> steps = language_model();
  double epsilon = 1e-7;                 ///< added to the Frobenius norm
  std::optional<c10::ScalarType> dtype;  ///< of the iteration; none: the gradient's

  static std::vector<std::array<double, 3>> language_model();  ///< five different triples
  static std::vector<std::array<double, 3>>
  keller_jordan();  ///< one triple, five times (views, video)
};

/// One weight update. Steps 1 to 4 of spec 2.4; stored with the model.
struct Rule {
  bool momentum = false;  ///< M <- G + beta M; the step is M
  bool muon = false;      ///< the step is orthogonalized
  bool prenorm = false;   ///< steps add to weights that are never rescaled; a rescaled copy is read
  bool stacked = false;   ///< gate and up are orthogonalized as one matrix of 2F rows
  bool weight_norm = true;    ///< rows are rescaled to the norms of the initial weights
  bool detach_norms = false;  ///< the target norms are constants of the outer gradient
  double norm_epsilon = 1e-5;
  bool epsilon_inside = false;  ///< u / sqrt(|u|^2 + eps) instead of u / (|u| + eps)
  NewtonSchulz orthogonalize;
  std::optional<c10::ScalarType> product;  ///< dtype the products round to; none: the operands'

  /// "gd", "momentum", "muon", "muon_momentum". Errors: 64 with the list.
  static Rule from_name(const std::string& name);
  std::string name() const;
};

}  // namespace lact::ops
