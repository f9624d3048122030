#include "model_place.hpp"

#include <lact/error.hpp>
#include <lact/io/paths.hpp>

#include <system_error>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using io::is_folder;
using io::is_there;

}  // namespace

io::Checkpoint open_model(const fs::path& where) {
  if (!is_folder(where)) return io::Checkpoint::open(where);
  for (const char* second : {"low_noise_model", "transformer_2"})
    if (is_folder(where / second))
      throw Error(Exit::data, where.string(), ": is a model of two experts (", second,
                  "), as Wan 2.2's A14B: only models of one are known; give the folder of one");
  const bool pipeline = is_there(where / "model_index.json") || !is_there(where / "config.json");
  if (pipeline && is_folder(where / "transformer"))
    return io::Checkpoint::open(where / "transformer");
  return io::Checkpoint::open(where);
}

fs::path beside_model(const fs::path& model, std::initializer_list<const char*> names) {
  const auto folder = is_folder(model) ? model : model.parent_path();
  const auto own = folder.empty() ? fs::path(".") : folder;
  std::error_code error;
  auto real = fs::canonical(own, error);
  if (error) return {};
  const bool part = real.filename() == "transformer";
  for (const auto& place : {own, part ? real.parent_path() : own})
    for (const char* name : names)
      if (is_there(place / name)) return place;
  return {};
}

fs::path vae_of(const fs::path& given, const fs::path& model) {
  return given.empty() ? beside_model(model, {"Wan2.1_VAE.pth", "vae"}) : given;
}

fs::path text_encoder_of(const fs::path& given, const fs::path& model) {
  if (!given.empty()) return given;
  return beside_model(model, {"models_t5_umt5-xxl-enc-bf16.pth", "text_encoder"});
}

std::string file_name(const io::Checkpoint& checkpoint) {
  const auto names = checkpoint.names();
  try {
    if (!names.empty()) return checkpoint.file_of(names.front()).path().string();
  } catch (const Error&) {  // pickled tensors have no such file
  }
  return checkpoint.folder().string();
}

}  // namespace lact::video
