#pragma once
// What can be verified: kinds of golden files, and checks that need no file. Plugins bring both.

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lact::verify {

class Golden;  // verify/golden.hpp

/// Where and in which arithmetic something is verified.
struct Settings {
  c10::Device device{c10::kCPU};
  /// float32 or float64: inputs and products. bfloat16: inputs in float32, products and
  /// Newton-Schulz in bfloat16, as a model that is trained in it computes.
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::filesystem::path data;  ///< what cases that name a scene or a clip need; empty: not given
};

/// Tensors that were computed, by the names under which a golden file stores them.
using Computed = std::map<std::string, at::Tensor>;

/// A kind of golden file.
struct GoldenKind {
  std::string kind;   ///< "kind" of the case in the file's metadata
  std::string marks;  ///< a tensor that every such file holds: kinds of two systems share names
  /// Takes its inputs from the file and computes what the file stores. Comparing is done by
  /// replay(). Errors: 65 naming file and tensor.
  std::function<Computed(Golden&)> replay;
};

/// What a check saw. It holds if `seen` is at most `bound`.
struct Seen {
  double seen = 0, bound = 0;
  std::string skipped;  ///< why nothing was checked; empty: it was
};

/// Something that must hold on every machine, checked without a file.
struct Check {
  std::string name;  ///< a sentence that can be false
  std::function<Seen(const Settings&)> run;
};

}  // namespace lact::verify
