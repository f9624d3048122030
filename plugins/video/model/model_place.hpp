#pragma once
// Where a released model lies, and what lies with it.

#include <lact/io/checkpoint.hpp>

#include <filesystem>
#include <initializer_list>
#include <string>

namespace lact::video {

/// io::Checkpoint::open, also of a diffusers pipeline: its transformer/.
/// Errors   as that; 65 for a model of two experts, which is not read
io::Checkpoint open_model(const std::filesystem::path& where);

/// The folder of a released model in which one of these names is, the model's own or, of a
/// pipeline's part, the one above; empty if there is none. `model` as open_model() takes it.
std::filesystem::path beside_model(const std::filesystem::path& model,
                                   std::initializer_list<const char*> names);
/// The folder with Wan's VAE, or with its text encoder, that a released model brings; `given` if
/// that is not empty.
std::filesystem::path vae_of(const std::filesystem::path& given,
                             const std::filesystem::path& model);
std::filesystem::path text_encoder_of(const std::filesystem::path& given,
                                      const std::filesystem::path& model);

/// The file that the tensors are in, or the first of them; the folder of pickled ones.
std::string file_name(const io::Checkpoint& checkpoint);

}  // namespace lact::video
