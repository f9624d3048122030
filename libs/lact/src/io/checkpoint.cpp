#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <lact/io/paths.hpp>

#include "descriptor.hpp"
#include "pickled_tensors.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace lact::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModel = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
// As diffusers names them.
constexpr const char* kDiffusionModel = "diffusion_pytorch_model.safetensors";
constexpr const char* kDiffusionIndex = "diffusion_pytorch_model.safetensors.index.json";
// As transformers wrote them before safetensors.
constexpr const char* kPickledModel = "pytorch_model.bin";
constexpr const char* kPickledIndex = "pytorch_model.bin.index.json";
constexpr uint64_t kMaxJsonBytes = 100'000'000;

/// What may be a model under a name of its own, by name.
std::vector<fs::path> loose_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& item : fs::directory_iterator(folder))
    if (item.is_regular_file() && item.path().filename() != "training_args.bin" &&
        (is_pickle(item.path()) || item.path().extension() == ".safetensors"))
      files.push_back(item.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// The file that names the tensors: a *.safetensors, a pickle or an index.
fs::path model_file(const fs::path& location) {
  std::error_code error;
  const auto status = fs::status(location, error);
  if (!fs::exists(status))
    throw Error(Exit::no_input, location.string(),
                ": cannot open: ", error ? error.message() : reason(ENOENT));
  if (!fs::is_directory(status)) return location;
  for (const auto* name :
       {kModel, kIndex, kDiffusionModel, kDiffusionIndex, kPickledModel, kPickledIndex})
    if (is_file(location / name)) return location / name;
  if (is_folder(location / "latest")) return model_file(location / "latest");
  // A run that was killed between its first checkpoint and the link to it.
  if (is_folder(location / "checkpoints")) {
    const auto newest = CheckpointStore(location).newest([](const std::string&) {});
    if (!newest.empty()) return model_file(newest);
  }
  const auto others = loose_files(location);
  if (others.size() == 1) return others[0];
  if (is_file(location / ".metadata"))
    throw Error(Exit::data, location.string(),
                ": is a distributed checkpoint of PyTorch; make one file of it: python -m "
                "torch.distributed.checkpoint.format_utils dcp_to_torch ",
                location.string(), " model.pt");
  if (!others.empty())
    throw Error(Exit::no_input, location.string(), ": holds ", others.size(), " files of tensors, ",
                others[0].filename().string(), ", ", others[1].filename().string(),
                ", ...: name the one that is meant");
  throw Error(Exit::no_input, location.string(), ": holds no model: expected ", kModel, ", ",
              kIndex, " or, in a run directory, latest");
}

bool is_index(const fs::path& file) {
  constexpr std::string_view kEnd = ".index.json";
  const auto name = file.filename().string();
  return name.size() > kEnd.size() &&
         name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) == 0;
}

/// Tensor to shard, as the index has it.
std::map<std::string, std::string> read_index(const fs::path& file) {
  const auto index = parse_json(read_text(file, kMaxJsonBytes), file.string());
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty())
    throw Error(Exit::data, file.string(), ": expected weight_map, an object from tensor to shard");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_name(shard.get_ref<const std::string&>()))
      throw Error(Exit::data, file.string(), ": tensor ", printable(tensor),
                  ": expected the name of a file beside the index, found ",
                  printable(shard.dump(-1, ' ', true)));
    shards.emplace(tensor, shard.get<std::string>());
  }
  return shards;
}

template <class Number>
void add(Xxh3& hash, Number value) {
  hash.update(&value, sizeof value);
}

void add(Xxh3& hash, const std::string& text) {
  add(hash, uint64_t{text.size()});
  hash.update(text.data(), text.size());
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& location) {
  const auto file = model_file(location);
  Checkpoint opened;
  // The folder's links are followed, so that a run's `latest` may move on; the file's are not,
  // because caches keep each file elsewhere and only the links side by side.
  std::error_code error;
  const auto parent = file.parent_path();
  opened.folder_ = fs::canonical(parent.empty() ? "." : parent, error);
  if (error) throw Error(Exit::no_input, location.string(), ": cannot open: ", error.message());
  if (is_pickle(file)) {
    opened.take_pickles(open_pickle(file));
    return opened;
  }
  if (!is_index(file)) {
    opened.files_.push_back(SafeTensors::open(file));
    for (const auto& entry : opened.files_[0].entries()) opened.where_[entry.name] = 0;
    return opened;
  }
  opened.open_shards(file);
  return opened;
}

void Checkpoint::take_pickles(std::map<std::string, NamedPickle> pickles) {
  for (const auto& [name, one] : pickles) where_[name] = 0;
  pickles_ = std::make_shared<const std::map<std::string, NamedPickle>>(std::move(pickles));
}

void Checkpoint::open_pickled_shards(const fs::path& index,
                                     const std::map<std::string, std::string>& shards) {
  std::set<std::string> files;
  for (const auto& [tensor, shard] : shards) files.insert(shard);
  std::map<std::string, NamedPickle> all;
  for (const auto& shard : files)
    for (auto& [name, one] : open_pickle(index.parent_path() / shard))
      if (!all.emplace(name, one).second)
        throw Error(Exit::data, (index.parent_path() / shard).string(), ": tensor ",
                    printable(name), ": is in another shard too");
  for (const auto& [tensor, shard] : shards)
    if (all.count(tensor) == 0)
      throw Error(Exit::data, (index.parent_path() / shard).string(), ": lacks tensor ",
                  printable(tensor), ", which the index places there");
  take_pickles(std::move(all));
}

void Checkpoint::open_shards(const fs::path& index) {
  const auto shards = read_index(index);
  if (is_pickle(shards.begin()->second)) return open_pickled_shards(index, shards);
  std::map<std::string, size_t> number;  // of a shard in files_
  for (const auto& [tensor, shard] : shards) number.emplace(shard, 0);
  std::map<std::string, std::string> found_in;
  for (auto& [shard, at] : number) {
    at = files_.size();
    files_.push_back(SafeTensors::open(index.parent_path() / shard));
    for (const auto& entry : files_.back().entries()) {
      const auto [first, fresh] = found_in.emplace(entry.name, shard);
      if (!fresh)
        throw Error(Exit::data, files_.back().path().string(), ": tensor ", printable(entry.name),
                    ": is in ", printable(first->second), " too");
    }
  }
  for (const auto& [tensor, shard] : shards) {
    const auto& file = files_[number[shard]];
    if (!file.contains(tensor))
      throw Error(Exit::data, file.path().string(), ": lacks tensor ", printable(tensor),
                  ", which the index places there");
    where_[tensor] = number[shard];
  }
}

const fs::path& Checkpoint::folder() const {
  return folder_;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : where_) names.push_back(name);
  return names;
}

bool Checkpoint::contains(const std::string& name) const {
  return where_.count(name) > 0;
}

const SafeTensors& Checkpoint::file_of(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end())
    throw Error(Exit::data, folder_.string(), ": tensor ", printable(name), " is missing");
  if (pickles_)
    throw Error(Exit::data, folder_.string(), ": tensor ", printable(name),
                ": expected a safetensors file, found a pickled one");
  return files_[found->second];
}

const NamedPickle* Checkpoint::pickled(const std::string& name) const {
  if (!pickles_) return nullptr;
  const auto found = pickles_->find(name);
  return found == pickles_->end() ? nullptr : &found->second;
}

at::Tensor Checkpoint::tensor(const std::string& name) const {
  const auto* pickle = pickled(name);
  return pickle != nullptr ? pickle->tensor.read(name) : file_of(name).tensor(name);
}

const SafeTensors::Entry& Checkpoint::entry(const std::string& name) const {
  const auto* pickle = pickled(name);
  return pickle != nullptr ? pickle->entry : file_of(name).entry(name);
}

const Metadata& Checkpoint::metadata() const {
  static const Metadata kNone;
  return pickles_ ? kNone : files_.at(0).metadata();
}

nlohmann::json Checkpoint::config() const {
  auto file = side_file("config.json");
  if (file.empty()) file = folder_ / "config.json";  // the reader says that it is not there
  auto config = parse_json(read_text(file, kMaxJsonBytes), file.string());
  if (!config.is_object()) throw Error(Exit::data, file.string(), ": expected a JSON object");
  return config;
}

fs::path Checkpoint::side_file(const std::string& name) const {
  const auto file = folder_ / name;
  if (!is_file(file)) return {};
  if (const auto problem = verify_file(folder_, name); !problem.empty())
    throw Error(Exit::data, folder_.string(), ": damaged: ", problem,
                "; if that was meant, remove manifest.json");
  return file;
}

std::string Checkpoint::hash() const {
  Xxh3 hash;
  for (const auto& [name, number] : where_) {
    const auto& entry = this->entry(name);
    add(hash, name);  // lengths go in too: no two models give the same stream of bytes
    add(hash, entry.dtype);
    add(hash, uint64_t{entry.shape.size()});
    for (const int64_t size : entry.shape) add(hash, size);
    if (pickles_)
      hash.update(tensor(name).const_data_ptr(), entry.end - entry.begin);
    else
      hash.update(files_[number].bytes(name), entry.end - entry.begin);
  }
  return hash.digest();
}

}  // namespace lact::io
