// safetensors, shards, manifests, states.

#include "../../libs/lact/src/io/safetensors_header.hpp"
#include "targets.hpp"

#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/state.hpp>

#include <ATen/ops/full.h>

namespace lact::fuzz {
namespace {

constexpr uint64_t kBufferBytes = 29;

const std::string kHeader = R"({"__metadata__":{"lact.kind":"state","größe":"\u00fc"},)"
                            R"("w":{"dtype":"F64","shape":[1,3],"data_offsets":[0,24]},)"
                            R"("empty":{"dtype":"F32","shape":[2,0],"data_offsets":[24,24]},)"
                            R"("b.größe":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                            R"("mask":{"dtype":"BOOL","shape":[3],"data_offsets":[26,29]}}  )";

std::string file_of(const std::string& header, const std::string& buffer) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + buffer;
}

std::vector<std::string> header_seeds() {
  return {kHeader, R"({"a":{"dtype":"U8","shape":[29],"data_offsets":[0,29]}})"};
}

void header(const std::string& bytes) {
  const auto read = io::parse_header("f", bytes, kBufferBytes);
  for (const auto& entry : read.entries)
    if (entry.end > kBufferBytes) throw std::logic_error("beyond the buffer: " + entry.name);
  const auto again = io::parse_header("f", io::format_header("f", read), kBufferBytes);
  if (again.metadata != read.metadata || again.entries.size() != read.entries.size())
    throw std::logic_error("a header changed when it was written");
}

std::vector<std::string> file_seeds() {
  return {file_of(kHeader, std::string(kBufferBytes, '\0')),
          file_of(R"({"t":{"dtype":"F4","shape":[2,6],"data_offsets":[0,6]}})", "abcdef"),
          file_of(R"({"t":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,3]}})", "abc")};
}

void look_at(const io::SafeTensors& file) {
  for (const auto& entry : file.entries()) use(file.bytes(entry.name), entry.end - entry.begin);
  for (const auto& entry : file.entries()) {
    const auto tensor = file.tensor(entry.name);
    use(tensor.const_data_ptr(), tensor.nbytes());
  }
}

void file(const std::string& bytes) {
  put(scratch() / "f.safetensors", bytes);
  look_at(io::SafeTensors::open(scratch() / "f.safetensors"));
}

/// Two shards, and an index that names them.
const std::filesystem::path& sharded() {
  static const auto folder = [] {
    const auto path = scratch() / "sharded";
    io::CheckpointWriter writer(path);
    const auto two = at::full({2}, 1.0f);
    writer.tensors("model.safetensors", {{"a", two}, {"b", two}, {"c", two}}, {}, 16);
    writer.commit();
    return path;
  }();
  return folder;
}

constexpr const char* kIndex = "model.safetensors.index.json";

std::vector<std::string> index_seeds() {
  static const auto seed = get(sharded() / kIndex);
  return {seed, R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})"};
}

void index(const std::string& bytes) {
  put(sharded() / kIndex, bytes);
  const auto opened = io::Checkpoint::open(sharded() / kIndex);
  for (const auto& name : opened.names()) {
    const auto tensor = opened.tensor(name);
    use(tensor.const_data_ptr(), tensor.nbytes());
  }
}

const std::filesystem::path& checkpoint() {
  static const auto folder = [] {
    const auto path = scratch() / "step-1";
    io::CheckpointWriter writer(path);
    writer.tensors("model.safetensors", {{"a", at::full({2}, 1.0f)}}, {});
    writer.file("config.json", "{}");
    writer.commit();
    return path;
  }();
  return folder;
}

std::vector<std::string> manifest_seeds() {
  static const auto seed = get(checkpoint() / "manifest.json");
  return {seed};
}

void manifest(const std::string& bytes) {
  put(checkpoint() / "manifest.json", bytes);
  const auto problem = io::verify_checkpoint(checkpoint());
  if (!problem.empty()) throw Error(Exit::data, problem);
}

std::vector<std::string> state_seeds() {
  static const auto seed = [] {
    io::State state{{{"layers.0.gate", at::full({2, 3}, 0.5f)}, {"sampler.ever", at::full({4}, 1)}},
                    {{"modality", "text"}, {"tokens", "12"}}};
    io::save_state(scratch() / "s", state);
    return get(scratch() / "s");
  }();
  return {seed};
}

void state(const std::string& bytes) {
  put(scratch() / "s", bytes);
  const auto loaded = io::load_state(scratch() / "s");
  for (const auto& [name, tensor] : loaded.tensors) use(tensor.const_data_ptr(), tensor.nbytes());
}

}  // namespace

std::vector<Target> io_targets() {
  const std::vector<std::string> tensors = {"__metadata__", "dtype", "shape", "data_offsets", "F32",
                                            "F4",           "BOOL",  "U64",   "\\u0000"};
  const std::vector<Exit> data = {Exit::data};
  return {{"safetensors-header", header_seeds, header, data, tensors},
          {"safetensors", file_seeds, file, data, tensors},
          // A name of a shard that is not there.
          {"index", index_seeds, index, {Exit::data, Exit::no_input}, {"weight_map", "metadata"}},
          {"manifest", manifest_seeds, manifest, data, {"files", "bytes", "xxh3", "version"}},
          {"state", state_seeds, state, data, tensors}};
}

}  // namespace lact::fuzz
