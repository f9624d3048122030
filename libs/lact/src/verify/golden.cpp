#include <lact/io/files.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>

namespace lact::verify {
namespace {

using at::Tensor;

bool has_gradients(const io::SafeTensors& file) {
  for (const auto& entry : file.entries())
    if (entry.name.rfind("grad.", 0) == 0) return true;
  return false;
}

/// "[N = 2, L, 1]"
std::string text_of(const Shape& shape) {
  std::string text = "[";
  for (const Dim& dim : shape) {
    if (text.size() > 1) text += ", ";
    const bool known = dim.size >= 0, named = !dim.letter.empty();
    text += named && known ? concat(dim.letter, " = ", dim.size)
            : known        ? concat(dim.size)
                           : dim.letter;
  }
  return text + "]";
}

std::string input_name(const std::string& gradient) {
  return gradient.substr(std::string("grad.").size());
}

}  // namespace

Golden::Golden(const io::SafeTensors& file, nlohmann::json options, const Settings& settings)
    : file_(file),
      options_(std::move(options)),
      settings_(settings),
      wants_gradients_(has_gradients(file)) {}

std::string Golden::name() const {
  return file_.path().string();
}

void Golden::fit(const std::string& tensor, const Shape& shape) const {
  if (!has(tensor)) refuse("tensor ", io::printable(tensor), " is missing");
  const auto& found = file_.entry(tensor).shape;
  const auto misfit = [&] {
    refuse("tensor ", io::printable(tensor), ": expected ", text_of(shape), ", found ",
           at::IntArrayRef(found));
  };
  if (found.size() != shape.size()) misfit();
  for (size_t i = 0; i < found.size(); ++i) {
    Dim& dim = shape[i];
    if (dim.size < 0 ? found[i] < 1 : found[i] != dim.size) misfit();
  }
  for (size_t i = 0; i < found.size(); ++i) {
    Dim& dim = shape[i];
    if (dim.size >= 0 && dim.size != found[i]) misfit();  // one letter twice in this shape
    dim.size = found[i];
  }
}

Tensor Golden::read(const std::string& tensor) {
  taken_.insert(tensor);
  return file_.tensor(tensor);
}

Tensor Golden::probe(const std::string& tensor, const Shape& shape) {
  fit(tensor, shape);
  const auto stored = read(tensor);
  if (!stored.is_floating_point())
    refuse("tensor ", io::printable(tensor), ": expected a floating dtype, found ",
           file_.entry(tensor).dtype);
  const auto type = settings_.dtype == at::kDouble ? at::kDouble : at::kFloat;
  return stored.to(settings_.device, type, /*non_blocking=*/false, /*copy=*/true);
}

Tensor Golden::input(const std::string& tensor, const Shape& shape) {
  const auto found = leaves_.find(tensor);
  if (found != leaves_.end()) return found->second;
  return leaves_[tensor] = probe(tensor, shape).requires_grad_(wants_gradients_);
}

Tensor Golden::input(const std::string& tensor, const std::vector<int64_t>& shape) {
  std::vector<Dim> dims;
  for (const int64_t size : shape) dims.emplace_back("", size);
  return input(tensor, Shape(dims.begin(), dims.end()));
}

nn::Parameters Golden::parameters(const nn::Shapes& shapes, const std::string& prefix) {
  return {shapes, [&](const std::string& name, const nn::Shape& shape) {
            return input(prefix + name, shape);
          }};
}

Tensor Golden::maybe(const std::string& tensor, const Shape& shape) {
  return has(tensor) ? input(tensor, shape) : Tensor();
}

Tensor Golden::integers(const std::string& tensor, const Shape& shape, int64_t low, int64_t high) {
  fit(tensor, shape);
  const auto stored = read(tensor);
  if (stored.scalar_type() != at::kLong && stored.scalar_type() != at::kInt)
    refuse("tensor ", io::printable(tensor), ": expected I64 or I32, found ",
           file_.entry(tensor).dtype);
  const auto least = stored.min().item<int64_t>(), most = stored.max().item<int64_t>();
  if (least < low || most > high)
    refuse("tensor ", io::printable(tensor), ": expected numbers from ", low, " to ", high,
           ", found ", least < low ? least : most);
  return stored.to(settings_.device, at::kLong, /*non_blocking=*/false, /*copy=*/true);
}

void Golden::gradients(const Tensor& loss, Computed& results) const {
  if (!wants_gradients_) return;
  loss.backward();
  for (const auto& entry : file_.entries()) {
    if (entry.name.rfind("grad.", 0) != 0) continue;
    for (const char* prefix : {"", "in.", "param."}) {
      const auto leaf = leaves_.find(prefix + input_name(entry.name));
      if (leaf == leaves_.end()) continue;
      const auto& got = leaf->second.grad();
      results[entry.name] = got.defined() ? got : leaf->second.detach() * 0;
    }
  }
}

// --- options -------------------------------------------------------------------------------------

const nlohmann::json& Golden::option(const std::string& key) const {
  const auto found = options_.find(key);
  if (found == options_.end()) refuse("case: key ", key, " is missing");
  return *found;
}

int64_t Golden::integer(const std::string& key, int64_t low, int64_t high) const {
  const auto& value = option(key);
  const bool whole = value.is_number_integer();
  const bool fits = whole && (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
    refuse("case: ", key, ": expected a whole number from ", low, " to ", high, ", found ",
           io::printable(value.dump()));
  return value.get<int64_t>();
}

double Golden::number(const std::string& key) const {
  const auto& value = option(key);
  if (!value.is_number())
    refuse("case: ", key, ": expected a number, found ", io::printable(value.dump()));
  return value.get<double>();
}

bool Golden::flag(const std::string& key) const {
  const auto& value = option(key);
  if (!value.is_boolean())
    refuse("case: ", key, ": expected true or false, found ", io::printable(value.dump()));
  return value.get<bool>();
}

std::string Golden::word(const std::string& key) const {
  const auto& value = option(key);
  if (!value.is_string())
    refuse("case: ", key, ": expected a string, found ", io::printable(value.dump()));
  return value.get<std::string>();
}

}  // namespace lact::verify
