#pragma once
// A state file: what a stretch of context has been compressed into. Constant size; saved, copied,
// resumed and queried alike for a book, a set of photographs and a film.

#include <lact/io/safetensors.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace lact::io {

/// All that the next token (or view, or frame) needs to be the same as if nobody had stopped.
/// The metadata names what it belongs to: "modality", "model" (Checkpoint::hash) and what the
/// modality adds ("tokenizer", "tokens", ...).
struct State {
  std::map<std::string, at::Tensor> tensors;
  Metadata metadata;

  /// Errors   65 naming the state if the tensor is missing
  const at::Tensor& tensor(const std::string& name) const;
  /// Errors   65 if the key is missing
  const std::string& value(const std::string& key) const;
};

/// Atomic; adds lact.kind = "state", lact.version and checksums, which load_state checks and takes
/// off: any changed byte is found.
void save_state(const std::filesystem::path& file, const State& state);
/// Tensors are copies in memory, so that the file may be replaced.
/// Errors   65 if it is no state, 66 if it cannot be read
State load_state(const std::filesystem::path& file);

}  // namespace lact::io
