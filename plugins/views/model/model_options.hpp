#pragma once
// --preset, and what else tells the shape of a views model.

#include "config.hpp"

#include <lact/cli/options.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace lact::views {

class ModelOptions {
 public:
  void declare(cli::Options options);
  /// The preset, or `base` if there is one, changed by what was given. Errors: 64, 78
  Config resolve(const Config* base) const;
  /// The preset is one of the published ones.
  bool published() const { return preset_ && preset_->starts_with("lact_"); }
  /// Whether any of them was given.
  bool given() const;
  bool says_poses() const { return normalize_.has_value(); }

 private:
  std::optional<int64_t> dim_, layers_, patch_, attention_head_, fast_head_, muon_steps_;
  std::optional<double> inter_multi_, mlp_multi_, base_lr_;
  std::optional<std::string> preset_, muon_dtype_, normalize_, learn_;
};

}  // namespace lact::views
