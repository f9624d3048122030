#include <lact/error.hpp>
#include <lact/io/state.hpp>

#include "descriptor.hpp"
#include "dtype.hpp"
#include "written.hpp"

#include <charconv>
#include <sstream>

namespace lact::io {
namespace {

constexpr const char* kKind = "lact.kind";
constexpr const char* kVersionKey = "lact.version";
constexpr const char* kState = "state";
constexpr const char* kModality = "modality";
constexpr const char* kModel = "model";
constexpr const char* kCounts = "counts";
constexpr const char* kVersion = "2";  // of the container; what is in it is the modality's

}  // namespace

const at::Tensor& State::tensor(const std::string& key) const {
  const auto found = tensors.find(key);
  if (found == tensors.end())
    throw Error(Exit::data, name, ": tensor ", printable(key), " is missing");
  return found->second;
}

const at::Tensor& State::tensor(const std::string& key, at::IntArrayRef shape,
                                std::optional<at::ScalarType> type) const {
  const auto& x = tensor(key);
  bool fits = x.dim() == static_cast<int64_t>(shape.size()) &&
              (type ? x.scalar_type() == *type : x.is_floating_point());
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || x.size(static_cast<int64_t>(i)) == shape[i];
  if (!fits)
    throw Error(Exit::data, name, ": tensor ", printable(key), ": expected ", shape, " of ",
                type ? c10::toString(*type) : "a floating type", ", found ", x.sizes(), " of ",
                c10::toString(x.scalar_type()));
  if (x.is_floating_point() && !x.isfinite().all().item<bool>())
    throw Error(Exit::data, name, ": tensor ", printable(key),
                ": holds numbers that are not finite");
  return x;
}

const std::string& State::value(const std::string& key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end()) throw Error(Exit::data, name, ": ", printable(key), " is missing");
  return found->second;
}

void State::set_count(const std::string& key, int64_t count) {
  metadata[key] = std::to_string(count);
  auto& all = metadata[kCounts];
  all += (all.empty() ? "" : " ") + key;
}

int64_t State::count(const std::string& key) const {
  const auto& text = value(key);
  int64_t count = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 0)
    throw Error(Exit::data, name, ": ", key, ": expected a whole number, found ", printable(text));
  return count;
}

std::vector<std::string> State::counts() const {
  const auto found = metadata.find(kCounts);
  std::istringstream words(found == metadata.end() ? "" : found->second);
  std::vector<std::string> keys;
  for (std::string key; words >> key;)
    if (metadata.count(key) > 0) keys.push_back(key);
  return keys;
}

void State::set_owner(const std::string& modality, const std::string& model_hash) {
  metadata[kModality] = modality;
  metadata[kModel] = model_hash;
}

void State::check_owner(const std::string& modality, const std::string& model_hash) const {
  if (const auto& is = value(kModality); is != modality)
    throw Error(Exit::data, name, ": a state of modality ", printable(is), ", not ", modality);
  if (const auto& is = value(kModel); is != model_hash)
    throw Error(Exit::data, name, ": a state of another model: it was made with ",
                printable(is.substr(0, 12)), ", this one is ", model_hash.substr(0, 12),
                "; give the --model that made it");
}

void save_state(const std::filesystem::path& file, const State& state) {
  auto metadata = state.metadata;
  metadata[kKind] = kState;
  metadata[kVersionKey] = kVersion;
  write_tensors(file, {state.tensors.begin(), state.tensors.end()}, metadata, /*checksums=*/true);
}

State load_state(const std::filesystem::path& file) {
  const auto opened = SafeTensors::open(file);
  State state{{}, opened.metadata(), file.string()};
  const auto take = [&](const char* key) {
    const auto node = state.metadata.extract(key);
    return node ? node.mapped() : std::string();
  };
  const auto kind = take(kKind), version = take(kVersionKey);
  if (kind != kState)
    throw Error(Exit::data, file.string(), ": no state: expected lact.kind state, found ",
                kind.empty() ? "none" : printable(kind));
  if (version != kVersion)
    throw Error(Exit::data, file.string(), ": a state of version ",
                version.empty() ? "none" : printable(version), ", this program reads version ",
                kVersion);
  if (!opened.has_checksums())
    throw Error(Exit::data, file.string(), ": a state without checksums: damaged");
  for (const auto& entry : opened.entries()) {
    opened.verify(entry.name);
    state.tensors[entry.name] =
        tensor_on(file.string(), entry, opened.bytes(entry.name), nullptr, /*copy=*/true);
  }
  return state;
}

}  // namespace lact::io
