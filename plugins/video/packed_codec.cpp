#include "packed_codec.hpp"

#include <lact/error.hpp>

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

}  // namespace lact::video
