#pragma once
// Golden files: recorded inputs and results of another program, replayed and compared.
//
// A file is safetensors with a JSON string "case" in its metadata: `kind` and options. Two layouts:
//   language model  `tolerance` beside `case`: {"float32": [results, gradients], "bfloat16": ...},
//                   null where a dtype says nothing; error max|got - want| / (1e-6 + max|want|)
//   views, video    `tolerance` inside the case, a number per tensor for float32;
//                   error max|got - want| / max|want|
// Integers are equal or not. In float64 the numbers of float32 hold: results are stored in it.

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>
#include <lact/nn/parameters.hpp>
#include <lact/verify/kind.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace lact::verify {

/// A letter in the shape of a tensor: free until the first tensor that has it.
struct Dim {
  Dim(const char* name, int64_t is = -1) : letter(name), size(is) {}
  std::string letter;
  int64_t size;
};
using Shape = std::vector<std::reference_wrapper<Dim>>;

/// One file while it is replayed: inputs and options, each checked as it is taken.
class Golden {
 public:
  Golden(const io::SafeTensors& file, nlohmann::json options, const Settings& settings);

  const Settings& settings() const { return settings_; }
  std::string name() const;
  const io::SafeTensors& file() const { return file_; }
  bool has(const std::string& tensor) const { return file_.contains(tensor); }

  /// An input on the device, in the arithmetic's dtype; a leaf of the graph where the file holds
  /// gradients, and the same one each time. Errors: 65 naming file, tensor, expected, found
  at::Tensor input(const std::string& tensor, const Shape& shape);
  at::Tensor input(const std::string& tensor, const std::vector<int64_t>& shape);
  /// Parameters, each an input that the file calls `prefix` and its name.
  nn::Parameters parameters(const nn::Shapes& shapes, const std::string& prefix = "");
  /// An input, undefined if the file does not have it.
  at::Tensor maybe(const std::string& tensor, const Shape& shape);
  /// What the results are multiplied with: no leaf.
  at::Tensor probe(const std::string& tensor, const Shape& shape);
  /// Whole numbers, int64, each in [low, high].
  at::Tensor integers(const std::string& tensor, const Shape& shape, int64_t low, int64_t high);

  /// grad.NAME of every input that the file has one for: "grad.w0" of "w0", "in.w0", "param.w0".
  void gradients(const at::Tensor& loss, Computed& results) const;

  // Options of the case. Errors: 65 naming file and key
  bool has_option(const std::string& key) const { return options_.contains(key); }
  const nlohmann::json& option(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t low, int64_t high) const;
  double number(const std::string& key) const;
  bool flag(const std::string& key) const;
  std::string word(const std::string& key) const;

  /// An input that was taken.
  bool taken(const std::string& tensor) const { return taken_.count(tensor) > 0; }
  bool wants_gradients() const { return wants_gradients_; }

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw Error(Exit::data, name(), ": ", parts...);
  }

 private:
  at::Tensor read(const std::string& tensor);
  void fit(const std::string& tensor, const Shape& shape) const;

  io::SafeTensors file_;
  nlohmann::json options_;
  Settings settings_;
  bool wants_gradients_;
  std::set<std::string> taken_;
  std::map<std::string, at::Tensor> leaves_;
};

enum class Verdict {
  pass,
  fail,
  skipped,  ///< no tolerance for this arithmetic, or not replayed
};
const char* word(Verdict verdict);  // "PASS", "FAIL", "skipped"

struct TensorResult {
  std::string name;
  double error = 0;      ///< infinite where something is not a number
  double tolerance = 0;  ///< NaN where there is none
  Verdict verdict = Verdict::skipped;
  std::string note;  ///< why it was skipped
  /// error / tolerance: what is worst.
  double share() const;
};

struct FileResult {
  std::filesystem::path file;
  std::string kind;                   ///< "" without a case
  std::vector<TensorResult> tensors;  ///< worst first
  std::string passed_over;            ///< why the file was not replayed; empty: it was
  int64_t count(Verdict verdict) const;
  /// fail if any tensor fails, pass if at least one passes, else skipped.
  Verdict verdict() const;
};

/// Replays one file by the first of `kinds` that fits and compares every result it stores.
/// Errors     65 naming file and tensor if the file contradicts itself, 66 if it cannot be read
FileResult replay(const std::filesystem::path& file, const std::vector<GoldenKind>& kinds,
                  const Settings& settings);

/// Golden files in a folder and below, sorted; a file is itself. Errors: 66 if there is none.
std::vector<std::filesystem::path> golden_files(const std::filesystem::path& place);

/// The operator's kinds: newton_schulz, apply, update, block_causal, schedule (language model);
/// newton_schulz, fast_weight (views); fast_weight_scan (video).
std::vector<GoldenKind> operator_kinds();

/// What must hold of the operator on this machine: gradients, causality, documents, streams, rates.
std::vector<Check> operator_checks();

}  // namespace lact::verify
