#include <lact/error.hpp>
#include <lact/io/state.hpp>

#include "descriptor.hpp"
#include "dtype.hpp"
#include "written.hpp"

namespace lact::io {
namespace {

constexpr const char* kKind = "lact.kind";
constexpr const char* kVersionKey = "lact.version";
constexpr const char* kState = "state";
constexpr const char* kVersion = "2";  // of the container; what is in it is the modality's

}  // namespace

const at::Tensor& State::tensor(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw Error(Exit::data, "state: has no tensor ", printable(name));
  return found->second;
}

const std::string& State::value(const std::string& key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end()) throw Error(Exit::data, "state: has no ", printable(key));
  return found->second;
}

void save_state(const std::filesystem::path& file, const State& state) {
  auto metadata = state.metadata;
  metadata[kKind] = kState;
  metadata[kVersionKey] = kVersion;
  write_tensors(file, {state.tensors.begin(), state.tensors.end()}, metadata, /*checksums=*/true);
}

State load_state(const std::filesystem::path& file) {
  const auto opened = SafeTensors::open(file);
  State state{{}, opened.metadata()};
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
