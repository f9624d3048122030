// Replaying a file and comparing it: the one place where a golden value is judged.

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace lact::verify {
namespace {

using at::Tensor;
using nlohmann::json;

/// How far a result may be off, as the file says.
class Tolerance {
 public:
  Tolerance(const Golden& golden, const json& options)
      : float_like_(golden.settings().dtype != at::kBFloat16),
        inside_(options.contains("tolerance")) {
    if (inside_) {
      numbers_ = options.at("tolerance");
      if (!numbers_.is_object()) golden.refuse("case: tolerance: expected an object");
      return;
    }
    const auto found = golden.file().metadata().find("tolerance");
    if (found == golden.file().metadata().end())
      golden.refuse("no tolerance, neither in the case nor beside it");
    const auto all = io::parse_json(found->second, golden.name() + ": tolerance");
    const char* dtype = float_like_ ? "float32" : "bfloat16";
    const bool sound = all.is_object() &&
                       (!all.contains(dtype) || (all[dtype].is_array() && all[dtype].size() == 2));
    if (!sound) golden.refuse("tolerance: expected {\"", dtype, "\": [results, gradients]}");
    numbers_ = all.contains(dtype) ? all[dtype] : json::array({nullptr, nullptr});
  }

  /// None: the file says nothing of this tensor in this arithmetic.
  std::optional<double> of(const std::string& tensor) const {
    if (inside_ && (!float_like_ || !numbers_.contains(tensor))) return {};
    const auto& number =
        inside_ ? numbers_.at(tensor) : numbers_.at(tensor.rfind("grad.", 0) == 0 ? 1 : 0);
    if (!number.is_number()) return {};
    return number.get<double>();
  }

  /// What is added to max|want|.
  double floor() const { return inside_ ? 0 : 1e-6; }

 private:
  bool float_like_, inside_;
  json numbers_;
};

double error_of(const Tensor& got, const Tensor& want, double floor) {
  if (want.numel() == 0) return 0;
  const auto a = got.detach().cpu().to(at::kDouble), b = want.to(at::kDouble);
  const double off = (a - b).abs().max().item<double>();
  if (off == 0) return 0;
  const double error = off / (floor + b.abs().max().item<double>());
  return std::isfinite(error) ? error : INFINITY;
}

TensorResult compare(const Golden& golden, const std::string& name, const Tensor& got,
                     const Tolerance& tolerance) {
  const auto want = golden.file().tensor(name);
  if (got.sizes() != want.sizes())
    golden.refuse("tensor ", io::printable(name), ": expected ", got.sizes(), ", found ",
                  want.sizes());
  TensorResult result{name, 0, NAN, Verdict::skipped, ""};
  if (!want.is_floating_point()) {
    result.error = error_of(got, want, 0);
    result.tolerance = 0;
  } else {
    result.error = error_of(got, want, tolerance.floor());
    result.tolerance = tolerance.of(name).value_or(NAN);
  }
  if (std::isnan(result.tolerance))
    result.note = "no tolerance for this dtype";
  else
    result.verdict = result.error <= result.tolerance ? Verdict::pass : Verdict::fail;
  return result;
}

/// What a file stores that is no input, and was not computed either.
bool is_result(const json& options, const std::string& name) {
  if (!options.contains("outputs")) return true;
  const auto& outputs = options.at("outputs");
  return !outputs.is_array() || std::find(outputs.begin(), outputs.end(), name) != outputs.end();
}

std::vector<TensorResult> compare_all(const Golden& golden, const json& options,
                                      const Computed& computed) {
  const Tolerance tolerance(golden, options);
  std::vector<TensorResult> results;
  for (const auto& entry : golden.file().entries()) {
    const auto found = computed.find(entry.name);
    if (found != computed.end())
      results.push_back(compare(golden, entry.name, found->second, tolerance));
    else if (!golden.taken(entry.name) && is_result(options, entry.name))
      results.push_back({entry.name, 0, NAN, Verdict::skipped, "not replayed"});
  }
  std::stable_sort(results.begin(), results.end(),
                   [](const auto& a, const auto& b) { return a.share() > b.share(); });
  return results;
}

/// What a file's options lead to is the file's fault: usage, configuration and our own refusals of
/// shapes all become 65, and the line names the file.
template <class Function>
auto blaming(const std::string& file, const Function& f) {
  try {
    return f();
  } catch (const Error& error) {
    const bool own = error.code() == Exit::usage || error.code() == Exit::config ||
                     error.code() == Exit::internal;
    if (!own) throw;
    const std::string what = error.what();
    throw Error(Exit::data, what.rfind(file, 0) == 0 ? "" : file + ": ", what);
  } catch (const json::exception& error) {
    throw Error(Exit::data, file, ": case: ", error.what());
  }
}

const GoldenKind* find_kind(const std::vector<GoldenKind>& kinds, const std::string& kind,
                            const io::SafeTensors& file) {
  for (const auto& one : kinds)
    if (one.kind == kind && (one.marks.empty() || file.contains(one.marks))) return &one;
  return nullptr;
}

}  // namespace

const char* word(Verdict verdict) {
  return verdict == Verdict::pass ? "PASS" : verdict == Verdict::fail ? "FAIL" : "skipped";
}

double TensorResult::share() const {
  if (verdict == Verdict::skipped) return -1;
  return error == 0 ? 0 : error / tolerance;
}

int64_t FileResult::count(Verdict verdict) const {
  return std::count_if(tensors.begin(), tensors.end(),
                       [&](const auto& one) { return one.verdict == verdict; });
}

Verdict FileResult::verdict() const {
  if (count(Verdict::fail) > 0) return Verdict::fail;
  return count(Verdict::pass) > 0 ? Verdict::pass : Verdict::skipped;
}

FileResult replay(const std::filesystem::path& path, const std::vector<GoldenKind>& kinds,
                  const Settings& settings) {
  const auto name = path.string();
  return blaming(name, [&] {
    const auto file = io::SafeTensors::open(path);
    FileResult result{path, "", {}, ""};
    const auto found = file.metadata().find("case");
    if (found == file.metadata().end()) {
      result.passed_over = "no case in its metadata";
      return result;
    }
    const auto options = io::parse_json(found->second, name + ": case");
    if (!options.is_object() || !options.contains("kind") || !options.at("kind").is_string())
      throw Error(Exit::data, name, ": case: expected an object with a kind");
    result.kind = options.at("kind").get<std::string>();
    const auto* kind = find_kind(kinds, result.kind, file);
    if (kind == nullptr) {
      result.passed_over = concat("nobody replays kind ", io::printable(result.kind));
      return result;
    }
    Golden golden(file, options, settings);
    const at::AutoGradMode graph(golden.wants_gradients());
    result.tensors = compare_all(golden, options, kind->replay(golden));
    return result;
  });
}

std::vector<std::filesystem::path> golden_files(const std::filesystem::path& place) {
  std::error_code error;
  if (!std::filesystem::is_directory(place, error)) return {place};
  std::vector<std::filesystem::path> files;
  for (auto it = std::filesystem::recursive_directory_iterator(place, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error))
    if (it->path().extension() == ".safetensors" && it->is_regular_file())
      files.push_back(it->path());
  if (error) throw Error(Exit::no_input, place.string(), ": ", error.message());
  if (files.empty())
    throw Error(Exit::no_input, place.string(), ": no file *.safetensors in this folder");
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace lact::verify
