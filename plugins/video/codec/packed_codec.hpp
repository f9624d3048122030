#pragma once
// The codec of clips that are packed as latents.

#include "codec.hpp"

#include <plugins/video/packed/packed_clips.hpp>

#include <memory>
#include <string>

namespace lact::video {

/// Holds the tensors of the codec that latents beside it were made with, if it has any ("pca").
inline constexpr char kCodecFile[] = "codec.safetensors";

/// What made these latents of principal components.
/// Errors   65, 66 naming the file and what to do
std::unique_ptr<Codec> packed_codec(const PackedClips& clips, at::Device device);

/// Latents of principal components are those of `own`, the codec of the model that `model` names:
/// others would look as well, and decode to something else.
/// Errors   65 saying what to do; as packed_codec
void check_packed_codec(const PackedClips& clips, const Codec& own, const std::string& model);

}  // namespace lact::video
