#include "encode_clips.hpp"

#include <plugins/video/codec/packed_codec.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <lact/error.hpp>
#include <lact/io/safetensors.hpp>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <system_error>

namespace lact::video {

namespace fs = std::filesystem;

void EncodeOptions::declare(cli::Options options) {
  options
      .add("--codec", type,
           "content of the clips: pixels, or latents of the codec unshuffle (pixels side by side), "
           "pca (principal components fitted to these clips) or wan (Wan's VAE)")
      .words({"pixels", "unshuffle", "pca", "wan"});
  options
      .add("--codec-factor", factor, "side of a latent in pixels, for the codecs unshuffle and pca")
      .range(int64_t{1}, kMostFactor)
      .value("N");
  options.add("--codec-channels", channels, "channels of a latent, for the codec pca")
      .range(int64_t{1}, 3 * kMostFactor * kMostFactor)
      .value("N");
  options.add("--vae", vae, "Wan's VAE, a directory or file").value("PATH");
  options.renamed("--encode", "--codec");
  options.renamed("--factor", "--codec-factor");
  options.renamed("--channels", "--codec-channels");
}

ClipEncoder::ClipEncoder(const EncodeOptions& options, std::unique_ptr<Codec> codec,
                         const ClipFormat& pixels, int64_t frames, c10::Device device)
    : codec_(codec ? std::move(codec)
                   : open_codec({options.type, options.factor}, nullptr, options.vae, device)),
      format_(pixels),
      device_(device) {
  const auto factor = codec_->factor();
  if (pixels.width % factor != 0 || pixels.height % factor != 0)
    throw Error(Exit::usage, "--size ", pixels.width, "x", pixels.height,
                ": expected multiples of ", factor, " for ", options.type);
  try {
    if (frames > 0) codec_->latents(frames);
  } catch (const Error& error) {
    throw Error(Exit::usage, "--frames ", frames, ": ", error.what());
  }
  format_.codec = options.type;
  format_.factor = factor;
  format_.channels = codec_->channels();
  format_.dtype = options.type == "wan" ? "BF16" : "F32";
}

at::Tensor ClipEncoder::encode(const at::Tensor& frames) const {
  return Stream(*this).next(frames);
}

at::Tensor ClipEncoder::Stream::next(const at::Tensor& frames) {
  const auto& codec = *encoder_.codec_;
  const auto& format = encoder_.format_;
  const auto dtype = format.dtype == "BF16" ? at::kBFloat16 : at::kFloat;
  const auto all = left_.defined() ? at::cat({left_, frames}) : frames;
  const auto before = latents_ > 0 ? codec.frames(latents_) : 0;
  auto last = latents_;
  while (codec.frames(last + 1) - before <= all.size(0)) ++last;
  if (last == latents_) {
    left_ = all;
    const auto factor = format.factor;
    return at::empty({0, format.channels, format.height / factor, format.width / factor}, dtype);
  }
  const auto used = codec.frames(last) - before;
  latents_ = last;
  left_ = all.slice(0, used).clone();
  const auto video = to_video(all.slice(0, 0, used).unsqueeze(0), encoder_.device_);
  return codec.encode_next(video, memory_)[0].to(dtype).cpu().contiguous();
}

void ClipEncoder::save(const fs::path& folder) const {
  const auto tensors = codec_->tensors();
  if (tensors.empty()) return remove(folder);
  io::write_safetensors(folder / kCodecFile, tensors,
                        {{"lact.kind", "codec"}, {"codec", format_.codec}});
}

void ClipEncoder::remove(const fs::path& folder) {
  std::error_code ignored;
  fs::remove(folder / kCodecFile, ignored);
}

}  // namespace lact::video
