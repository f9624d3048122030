#pragma once
// Where a scene's views come from, and which of them are read: options that rendering and measuring
// share.

#include <plugins/views/capture/preparation.hpp>
#include <plugins/views/model/model.hpp>
#include <plugins/views/scene/views.hpp>

#include <lact/cli/options.hpp>
#include <lact/cli/run.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lact::views {

/// "spiral:60" to a name and a number; a name with a dot in it is a file's, and stays whole.
/// Errors   64 for an unknown name
std::pair<std::string, std::optional<int64_t>> split_path(const std::string& path);

/// A trained model, and what a file of bare tensors does not say of it.
class ModelInput {
 public:
  void declare(cli::Options options);
  /// Errors   64 if none is named; as ViewModel::load
  ViewModel load(const cli::Context& context);
  /// io::Checkpoint::hash of what was loaded.
  const std::string& hash() const { return hash_; }
  /// Of the images that it was trained on; 0, 0: nobody says.
  std::pair<int64_t, int64_t> image_size() const { return {said_.width, said_.height}; }

 private:
  std::string place_, normalize_, muon_dtype_, hash_;
  Config said_;
};

/// Brings cameras into the model's space: over the context, and the targets where the model's
/// configuration says "all" (spec/views 2.5).
Normalization normalization_for(const ViewModel& model, const Views& views);

class InputOptions {
 public:
  InputOptions();
  void declare(cli::Options options);
  bool given() const { return !images_.empty() || !data_.empty(); }
  /// `size`: what photographs get unless --size says another; 0, 0: nobody knows one.
  Views read(uint64_t seed, std::pair<int64_t, int64_t> size) const;

 private:
  std::string images_, data_, split_ = "validation", scene_ = "0";
  PreparationOptions photographs_;
  Choice choice_;
};

}  // namespace lact::views
