#pragma once
// What clips are said to be, as the model wants it.

#include "condition.hpp"

#include <plugins/video/packed/packed_clips.hpp>

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

namespace lact::video {

/// Prompts of packed clips: labels with condition "class", else captions. An encoder is run once
/// for every prompt, before training, and is gone afterwards; a learned table is looked up anew
/// each time, differentiably.
class Prompts {
 public:
  Prompts(const Config& config, std::filesystem::path text_encoder, std::filesystem::path tokenizer,
          at::Device device);

  /// Runs the encoder, if there is one, on what these clips say.
  /// Errors   65 for a prompt without an embedding of its own
  void prepare(const PackedClips& clips);
  /// Rows of clips [B] (-1: nothing said) -> [B, rows, text_dim].
  at::Tensor of(const PackedClips& clips, const at::Tensor& which, const at::Tensor& table) const;

 private:
  std::string prompt(const PackedClips& clips, int64_t clip) const;

  Config config_;
  std::filesystem::path text_encoder_, tokenizer_;
  at::Device device_;
  std::map<std::string, at::Tensor> encoded_;  // [rows, text_dim] on the CPU, of "umt5"
};

}  // namespace lact::video
