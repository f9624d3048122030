#pragma once
// A state file: what a stretch of context has been compressed into. Constant size; saved, copied,
// resumed and queried alike for a book, a set of photographs and a film.

#include <lact/io/safetensors.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lact::io {

/// All that the next token (or view, or frame) needs to be the same as if nobody had stopped.
/// The metadata names what it belongs to: "modality", "model" (Checkpoint::hash) and what the
/// modality adds ("tokenizer", "dtype", ...).
struct State {
  std::map<std::string, at::Tensor> tensors;
  Metadata metadata;
  std::string name = "state";  ///< begins the errors below; load_state sets it to the file

  /// Errors   65 if the tensor is missing
  const at::Tensor& tensor(const std::string& key) const;
  /// The same of that shape (-1: any size) and type (none: any floating one).
  /// Errors   65, also for numbers that are not finite
  const at::Tensor& tensor(const std::string& key, at::IntArrayRef shape,
                           std::optional<at::ScalarType> type) const;
  /// Errors   65 if the key is missing
  const std::string& value(const std::string& key) const;

  /// A number of things in the context ("tokens", "views"), which --inspect-state shows as such.
  void set_count(const std::string& key, int64_t count);
  /// Errors   65 if it is missing or no whole number from 0 on
  int64_t count(const std::string& key) const;
  /// Keys that set_count was called with.
  std::vector<std::string> counts() const;

  void set_owner(const std::string& modality, const std::string& model_hash);
  /// Errors   65 if the state is of another modality or model
  void check_owner(const std::string& modality, const std::string& model_hash) const;
};

/// Atomic; adds lact.kind = "state", lact.version and checksums, which load_state checks and takes
/// off: any changed byte is found.
void save_state(const std::filesystem::path& file, const State& state);
/// Tensors are copies in memory, so that the file may be replaced.
/// Errors   65 if it is no state, 66 if it cannot be read
State load_state(const std::filesystem::path& file);

}  // namespace lact::io
