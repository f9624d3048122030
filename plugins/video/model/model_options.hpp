#pragma once
// --preset, and what else tells the shape of a video model.

#include "config.hpp"

#include <lact/cli/options.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace lact::video {

class ModelOptions {
 public:
  void declare(cli::Options options);
  /// The file of --model-config, else `base` if there is one, else the preset; changed by what was
  /// given. A plain Wan as base becomes the hybrid with the released layer, but for
  /// `--use-fast-weights false`. Not checked: classes come from the data. Errors: 64; 65, 66 of the
  /// file
  Config resolve(const Config* base) const;
  /// As given; if none was, "tiny", or none with a file of --model-config.
  std::string preset() const { return preset_.value_or(config_file_.empty() ? "tiny" : ""); }
  bool given() const;  ///< any of them
  bool codec_given() const { return codec_ || factor_; }

 private:
  void declare_sizes(cli::Options options);
  void declare_layer(cli::Options options);
  void declare_extras(cli::Options options);
  void change_layer(FastOptions& layer) const;
  void change_extras(Config& config) const;

  std::optional<int64_t> dim_, ffn_dim_, heads_, layers_, freq_dim_, text_dim_, text_len_;
  std::optional<int64_t> patch_, patch_frames_, chunk_frames_, every_;
  std::optional<int64_t> fast_head_, muon_steps_, kv_cache_, factor_, channels_;
  std::optional<double> inter_multi_, scale_, scale_bias_, momentum_bias_, base_lr_, shift_;
  std::optional<double> sample_shift_;
  std::optional<bool> l2_norm_, silu_, l2_first_, muon_, weight_norm_, momentum_, learnable_, fast_;
  std::string config_file_;
  std::optional<std::string> preset_, init_, learn_, codec_, condition_;
};

/// The head width of released layers, or what divides a model of this width.
int64_t default_fast_head(int64_t dim);

}  // namespace lact::video
