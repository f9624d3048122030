#include "packed_codec.hpp"

#include <lact/error.hpp>

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <filesystem>

namespace lact::video {

std::unique_ptr<Codec> packed_codec(const PackedClips& clips, at::Device device) {
  const auto file = clips.folder() / kCodecFile;
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored))
    throw Error(Exit::no_input, file.string(),
                ": missing: the principal components of the latents beside it; pack them again");
  const auto tensors = io::Checkpoint::open(file);
  auto codec = open_codec({clips.codec(), clips.factor()}, &tensors, {}, device);
  const int64_t channels = clips.read(0, 0, 1).size(1);
  if (codec->channels() != channels)
    throw Error(Exit::data, file.string(), ": ", codec->channels(),
                " components, and the latents beside it have ", channels,
                " channels; pack them again");
  return codec;
}

void check_packed_codec(const PackedClips& clips, const Codec& own, const std::string& model) {
  if (clips.codec() != "pca") return;
  const auto packed = packed_codec(clips, at::kCPU)->tensors(), wanted = own.tensors();
  const bool same = std::equal(
      packed.begin(), packed.end(), wanted.begin(), wanted.end(),
      [](const auto& a, const auto& b) { return a.second.equal(b.second.to(at::kCPU)); });
  if (!same)
    throw Error(Exit::data, clips.folder().string(),
                ": latents of other principal components than ", model,
                " has: pack pixels, which its own will encode");
}

}  // namespace lact::video
