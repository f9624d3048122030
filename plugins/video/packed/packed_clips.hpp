#pragma once
// Packed clips: what lact-tokenize video writes and training reads, memory-mapped.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace lact::video {

/// Where a clip is from, and what was said of it.
struct ClipInfo {
  std::string source;   ///< file it was cut from
  double start = 0;     ///< seconds into it
  std::string caption;  ///< "" if none
  std::string label;    ///< class, "" if none
};

/// Clips of a packed file or folder (SPLIT.safetensors, or SPLIT.safetensors.index.json with
/// shards). All clips of a set have the same size and rate, and are pixels or latents.
class PackedClips {
 public:
  /// Errors   66 if missing, 65 if malformed, naming file and clip
  static PackedClips open(const std::filesystem::path& where, const std::string& split = "train");

  /// Where it lies, symbolic links resolved: what belongs to its clips is beside it.
  const std::filesystem::path& folder() const;
  int64_t size() const;
  int64_t width() const;  ///< pixels, of latents too
  int64_t height() const;
  double rate() const;  ///< frames per second
  /// "" for pixels; else what encoded them ("wan", "unshuffle", ...), with its factor.
  const std::string& codec() const;
  int64_t factor() const;
  const ClipInfo& info(int64_t clip) const;
  /// Frames of a clip (latent frames of latents).
  int64_t frames(int64_t clip) const;
  /// Frames [begin, begin + count): pixels uint8 [F, H, W, 3], or latents [f, c, h, w] as stored
  /// (float32, bfloat16 or float16). A view of the mapping; not to be written to.
  at::Tensor read(int64_t clip, int64_t begin, int64_t count) const;
  /// Labels that occur, sorted.
  std::vector<std::string> labels() const;
  void verify() const;  ///< compares all with the checksums. Errors: 65

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Pixels [B, F, H, W, 3] uint8 -> [B, 3, F, H, W] in [0, 1], as codecs want them.
at::Tensor to_video(const at::Tensor& frames, at::Device device);

}  // namespace lact::video
