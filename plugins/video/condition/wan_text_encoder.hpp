#pragma once
// Prompts as Wan sees them: cleaned, cut into SentencePiece's pieces, encoded by UMT5.

#include "condition.hpp"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>

namespace lact::video {

/// `where` is one of
/// - the encoder's file or directory (official or transformers' names), or the directory of a whole
///   released model, with models_t5_umt5-xxl-enc-bf16.pth or text_encoder/ in it. `tokenizer` is
///   its spiece.model or the directory of that; empty: beside the encoder, in google/umt5-xxl/ or
///   tokenizer/, here or one level up.
/// - embeddings made before: a .safetensors file of [L, width] tensors named by their prompts (""
///   for nothing said); `embedding`, if there, is what every other prompt gets, of which knows() is
///   false.
/// Prompts are cut to `length` positions, the end token among them. `width` is the model's.
/// Errors   65 naming file and tensor, 66
std::unique_ptr<Conditioner> open_text_encoder(const std::filesystem::path& where,
                                               const std::filesystem::path& tokenizer,
                                               int64_t length, int64_t width, at::Device device);

}  // namespace lact::video
