#include "packed_set.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/json.hpp>

#include <nlohmann/json.hpp>

#include <charconv>
#include <system_error>

namespace lact::packed {

namespace fs = std::filesystem;

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

io::Metadata metadata(const std::string& kind, const std::string& split) {
  return {{"lact.kind", kind}, {"lact.version", "1"}, {"split", split}};
}

void check_kind(const io::SafeTensors& file, const std::string& kind, const char* what) {
  const auto is = file.metadata().find("lact.kind");
  if (is == file.metadata().end() || is->second != kind)
    throw Error(Exit::data, file.path().string(), ": no ", what, ": lact.kind is ",
                is == file.metadata().end() ? "missing" : "\"" + io::printable(is->second) + "\"");
  if (const auto& version = metadata_text(file, "lact.version"); version != "1")
    throw Error(Exit::data, file.path().string(), ": written in version ", io::printable(version),
                " of the format; this program reads version 1");
}

const std::string& metadata_text(const io::SafeTensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    throw Error(Exit::data, file.path().string(), ": metadata has no ", key);
  return found->second;
}

int64_t metadata_number(const io::SafeTensors& file, const char* key, int64_t low, int64_t high) {
  const auto& text = metadata_text(file, key);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    throw Error(Exit::data, file.path().string(), ": metadata ", key, ": \"", io::printable(text),
                "\" is no number from ", low, " to ", high);
  return value;
}

std::string list_text(const nlohmann::json& list) {
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::json read_list(const io::SafeTensors& file, const std::string& tensor) {
  const auto where = concat(file.path().string(), ": tensor ", io::printable(tensor));
  if (!file.contains(tensor)) throw Error(Exit::data, where, " is missing");
  const auto& entry = file.entry(tensor);
  if (entry.dtype != "U8" || entry.shape.size() != 1)
    throw Error(Exit::data, where, ": expected U8 [n]");
  file.verify(tensor);
  const auto* text = reinterpret_cast<const char*>(file.bytes(tensor));
  return io::parse_json({text, static_cast<size_t>(entry.end - entry.begin)}, where);
}

void verify(const io::Checkpoint& files) {
  for (const auto& name : files.names()) files.file_of(name).verify(name);
}

std::string identity(const std::filesystem::path& where, const std::string& split) {
  const auto files = io::Checkpoint::open(find_split(where, split, ""));
  std::string all;
  for (const auto& name : files.names()) {  // in order
    const auto& entry = files.entry(name);
    if (entry.xxh3.empty()) return {};
    all += concat(name, ' ', entry.xxh3, '\n');
  }
  return io::xxh3(all.data(), all.size());
}

}  // namespace lact::packed
