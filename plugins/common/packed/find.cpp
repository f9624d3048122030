#include "shards.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <charconv>
#include <system_error>

namespace lact::packed {
namespace {

namespace fs = std::filesystem;

std::string metadata_of(const io::SafeTensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string() : found->second;
}

}  // namespace

fs::path find_split(const fs::path& where, const std::string& split, const char* maker) {
  std::error_code error;
  if (!fs::is_directory(where, error)) return where;
  const fs::path file = where / (split + ".safetensors"), index = file.string() + ".index.json";
  for (const auto& candidate : {file, index})
    if (fs::exists(candidate, error)) return candidate;
  throw Error(Exit::no_input, file.string(), ": not found: expected the output of ", maker);
}

bool is_packed(const fs::path& where) {
  std::error_code error;
  if (!fs::is_directory(where, error)) {
    const auto name = where.filename().string();
    return where.extension() == ".safetensors" || name.find(".safetensors.index.json") != name.npos;
  }
  for (const char* name : {"train.safetensors", "train.safetensors.index.json"})
    if (fs::exists(where / name, error)) return true;
  return false;
}

void check_kind(const io::SafeTensors& file, const std::string& kind, const char* what) {
  if (const auto is = metadata_of(file, "lact.kind"); is != kind)
    throw Error(Exit::data, file.path().string(), ": no ", what, ": lact.kind is ",
                is.empty() ? "missing" : "\"" + io::printable(is) + "\"");
  if (const auto version = metadata_of(file, "lact.version"); version != "1")
    throw Error(Exit::data, file.path().string(), ": written in version ", io::printable(version),
                " of the format; this program reads version 1");
}

int64_t metadata_number(const io::SafeTensors& file, const char* key) {
  if (file.metadata().count(key) == 0)
    throw Error(Exit::data, file.path().string(), ": metadata has no ", key);
  const auto text = metadata_of(file, key);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1 << 20)
    throw Error(Exit::data, file.path().string(), ": metadata ", key, ": \"", io::printable(text),
                "\" is no number from 1 to ", 1 << 20);
  return value;
}

}  // namespace lact::packed
