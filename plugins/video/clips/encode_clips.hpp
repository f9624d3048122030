#pragma once
// Clips to latents while they are packed.

#include <plugins/video/codec/codec.hpp>
#include <plugins/video/packed/packed_writer.hpp>

#include <lact/cli/options.hpp>

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace lact::video {

/// --encode, --factor, --channels, --vae.
struct EncodeOptions {
  std::string type = "pixels", vae;
  int64_t factor = 2, channels = 16;

  void declare(cli::Options options);
  bool encodes() const { return type != "pixels"; }
  /// The codec has to be fitted to the clips before it can encode them.
  bool fits() const { return type == "pca"; }
};

/// What a codec makes of the clips of a set.
class ClipEncoder {
 public:
  /// `codec` from PcaFit, else opened here. Errors: as open_codec; 64 if frames of that size cannot
  /// be cut into latents, or clips of so many frames (0: any) are no whole number of them
  ClipEncoder(const EncodeOptions& options, std::unique_ptr<Codec> codec, const ClipFormat& pixels,
              int64_t frames, c10::Device device);
  /// The set's, with latents.
  const ClipFormat& format() const { return format_; }
  /// uint8 [F, H, W, 3], a whole clip -> [f, c, h, w]. Frames at the end that fill no latent are
  /// left out; none may be left.
  at::Tensor encode(const at::Tensor& frames) const;

  /// A clip whose frames come in pieces; nothing is kept of those that are encoded but what the
  /// codec remembers.
  class Stream {
   public:
    explicit Stream(const ClipEncoder& encoder) : encoder_(encoder) {}
    /// The next frames uint8 [F, H, W, 3] -> the latents that they complete [f, c, h, w], or none.
    at::Tensor next(const at::Tensor& frames);

   private:
    const ClipEncoder& encoder_;
    DecoderMemory memory_;
    at::Tensor left_;      // frames that fill no latent yet
    int64_t latents_ = 0;  // so far
  };

  /// codec.safetensors beside the clips, if the codec was fitted to them; else none stays there.
  void save(const std::filesystem::path& folder) const;
  /// That of an earlier run does not belong to clips that are packed without.
  static void remove(const std::filesystem::path& folder);

 private:
  std::unique_ptr<Codec> codec_;
  ClipFormat format_;
  c10::Device device_;
};

}  // namespace lact::video
