#pragma once
// A small model with random parameters, and what stands around it.

#include <plugins/video/film/film.hpp>
#include <plugins/video/film/sampling_options.hpp>

#include <filesystem>
#include <string>

namespace lact::test {

/// 2 frames of 16 x 16 pixels a chunk, prompts of bytes; no parameter is 0.
video::Config small_film_config();
video::LoadedVideo small_film_model(const video::Config& config, uint64_t seed = 1,
                                    const std::filesystem::path& vae = {});
/// A model directory that tools read.
void write_small_film_model(const video::LoadedVideo& loaded, const std::filesystem::path& folder);

/// FOLDER/SPLIT.safetensors: clips of squares that move, `frames` of 16 x 16 each.
void write_small_clips(const std::filesystem::path& folder, const std::string& split, int64_t clips,
                       int64_t frames);

}  // namespace lact::test
