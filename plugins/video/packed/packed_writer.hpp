#pragma once
// How packed clips are written; clips.hpp declares their reader.
//
// SPLIT.safetensors, or SPLIT-0000i-of-0000n.safetensors with SPLIT.safetensors.index.json; each
// clip lies in one file. A file holds two tensors, with its number N ("00001") before their names:
//   N.frames  of all its clips, one after another: U8 [F, height, width, 3], RGB; or latents
//             [f, c, height / factor, width / factor], F32, BF16 or F16
//   N.clips   U8: JSON, a list of objects: "frames" of the clip; "source", "start", "caption",
//             "label" where there are any (see ClipInfo)
// Checksums (see io/safetensors.hpp). Metadata: lact.kind = "clips", lact.version = "1", width,
// height (pixels), rate (frames of films per second), split; of latents codec and factor.

#include "packed_clips.hpp"

#include <plugins/common/packed/shards.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace lact::video {

/// What all clips of a set have in common.
struct ClipFormat {
  int64_t width = 0, height = 0;  ///< pixels
  double rate = 0;                ///< frames per second, of the film
  std::string codec;              ///< "": pixels
  int64_t factor = 1;             ///< pixels of a latent's side
  int64_t channels = 3;           ///< of latents
  std::string dtype = "U8";       ///< of latents "F32", "BF16", "F16"
};

/// Writes the clips of one split in constant memory, but for what is said of each. Nothing appears
/// before commit(); without it nothing stays.
class ClipWriter {
 public:
  /// A file is ended by the first clip that ends beyond `shard_bytes`.
  /// Errors   73 if the folder cannot be written to; here and below 74 if a write fails
  ClipWriter(const std::filesystem::path& folder, std::string split, const ClipFormat& format,
             uint64_t shard_bytes = packed::kShardBytes);
  ~ClipWriter();
  ClipWriter(const ClipWriter&) = delete;
  ClipWriter& operator=(const ClipWriter&) = delete;

  /// What is added from here on belongs to the next clip. A clip without frames is left out.
  void begin(const ClipInfo& info);
  /// The next frames of it, as PackedClips::read gives them. Errors: 70 for another shape or dtype
  void add(const at::Tensor& frames);

  int64_t clips() const;  ///< that have frames
  int64_t frames() const;
  /// All is on the disk, under other names. Errors: 70 if there is no clip
  void seal();
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Makes both splits appear; a disk that is full leaves all files of an earlier run. Training data
/// come last: where they are, the others are. Without clips for validation those of an earlier run
/// go.
void commit(const std::filesystem::path& folder, ClipWriter& train, ClipWriter* validation);

}  // namespace lact::video
