#pragma once
// Recorded outside values: tests/golden, written by the reference program (tests/golden/README.md).

#include <lact/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace lact::test {

struct Golden {
  std::string name;
  nlohmann::json options;                               ///< the "case" of the file
  double result_tolerance = 0, gradient_tolerance = 0;  ///< float32
  std::map<std::string, at::Tensor> tensors;            ///< copies

  const at::Tensor& at(const std::string& key) const;
  bool has(const std::string& key) const { return tensors.count(key) > 0; }
};

/// Files of tests/golden/FOLDER whose case has this kind, by name.
std::vector<Golden> golden(const std::string& folder, const std::string& kind);

}  // namespace lact::test
