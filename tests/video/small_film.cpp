#include "small_film.hpp"

#include <lact/io/checkpoint.hpp>

#include <plugins/video/clips/made_clips.hpp>
#include <plugins/video/packed/packed_writer.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

namespace lact::test {

using namespace video;

Config small_film_config() {
  Config config;
  config.dim = 32;
  config.ffn_dim = 48;
  config.num_heads = 2;
  config.num_layers = 2;
  config.in_dim = config.out_dim = 12;
  config.freq_dim = 16;
  config.text_dim = 8;
  config.text_len = 6;
  config.patch_size = {1, 2, 2};
  config.fast = FastOptions{};
  config.fast->head_dim = 16;
  config.fast->base_lr = 0.05;
  config.chunk_frames = 2;
  config.codec = {"unshuffle", 2};
  config.condition = "bytes";
  config.width = config.height = 16;
  config.rate = 8;
  return config;
}

LoadedVideo small_film_model(const Config& config, uint64_t seed,
                             const std::filesystem::path& vae) {
  auto model = VideoModel::fresh(config, seed, at::kCPU);
  const at::NoGradGuard no_graph;
  int64_t number = 0;
  for (auto& [name, tensor] : model.parameters())
    tensor.add_(0.1 * chunk_noise(seed, number++, tensor.sizes()).to(tensor.dtype()));
  return {std::move(model), open_codec(config.codec, nullptr, vae, at::kCPU)};
}

void write_small_film_model(const LoadedVideo& loaded, const std::filesystem::path& folder) {
  io::CheckpointWriter writer(folder);
  writer.tensors("model.safetensors", loaded.model.parameters(), {});
  writer.file("config.json", loaded.model.config().to_json().dump(2));
  writer.commit();
}

void write_small_clips(const std::filesystem::path& folder, const std::string& split, int64_t clips,
                       int64_t frames) {
  std::filesystem::create_directories(folder);
  ClipFormat format;
  format.width = format.height = 16;
  format.rate = 8;
  ClipWriter writer(folder, split, format);
  for (int64_t i = 0; i < clips; ++i) {
    auto clip = make_pan({16, 4, frames, 2, 4}, 5, split == "train" ? 1 : 2, i);
    writer.begin(clip.info);
    writer.add(clip.frames);
  }
  writer.seal();
  writer.commit();
}

}  // namespace lact::test
