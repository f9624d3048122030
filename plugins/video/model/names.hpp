#pragma once
// Tensor names of Wan 2.1: official ones, which are ours, and those of diffusers' port.

#include <lact/io/checkpoint.hpp>

#include <map>
#include <string>
#include <vector>

namespace lact::video {

/// Official names -> diffusers' by pattern; a name without these patterns is returned as is.
std::string diffusers_name(const std::string& official);
/// And back: what wrappers of training programs and diffusers made of a name is undone.
std::string official_name(const std::string& stored);

/// The tensors of a file by their official names.
class StoredNames {
 public:
  /// Errors   65 if two tensors have the same official name
  explicit StoredNames(const io::Checkpoint& checkpoint);
  /// What the file calls it; empty if it does not hold it.
  std::string find(const std::string& official) const;
  const std::map<std::string, std::string>& all() const { return stored_; }
  /// Whether any layer has the fast weights' own tensors.
  bool has_fast() const;

 private:
  std::map<std::string, std::string> stored_;  // official -> in the file
};

/// Whether LaCT added that tensor to Wan's (spec/video 4.3).
bool is_addition(const std::string& official);

}  // namespace lact::video
