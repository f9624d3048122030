#include "shards.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <system_error>

namespace lact::packed {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".safetensors";

std::string index_name(const std::string& split) {
  return split + kSuffix + ".index.json";
}

std::string five_digits(size_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%05zu", number);
  return text;
}

/// Of shard i of n, both from 1.
std::string shard_name(const std::string& split, size_t i, size_t n) {
  return split + (n == 1 ? "" : "-" + five_digits(i) + "-of-" + five_digits(n)) + kSuffix;
}

/// Until all are there and their number is known.
std::string early_name(const std::string& split, size_t i) {
  return split + kSuffix + "." + five_digits(i);
}

bool is_shard(const std::string& name, const std::string& split) {
  const auto fits = [&](std::string_view form) {  // # is a digit
    if (name.size() != split.size() + form.size() || name.compare(0, split.size(), split) != 0)
      return false;
    for (size_t i = 0; i < form.size(); ++i) {
      const char is = name[split.size() + i];
      if (form[i] == '#' ? is < '0' || is > '9' : is != form[i]) return false;
    }
    return true;
  };
  return fits("-#####-of-#####.safetensors") || fits(".safetensors.#####");
}

/// Files of a split in a folder, but for those in `keep`; the index first.
std::vector<fs::path> others(const fs::path& folder, const std::string& split,
                             const std::set<std::string>& keep) {
  std::vector<fs::path> found{folder / index_name(split), folder / (split + kSuffix)};
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end;
       item.increment(error))
    if (is_shard(item->path().filename().string(), split)) found.push_back(item->path());
  found.erase(std::remove_if(
                  found.begin(), found.end(),
                  [&](const fs::path& file) { return keep.count(file.filename().string()) > 0; }),
              found.end());
  return found;
}

void remove_files(const std::vector<fs::path>& files) {
  for (const auto& file : files) {
    std::error_code error;
    fs::remove(file, error);
    if (error) throw Error(Exit::io, file.string(), ": cannot remove: ", error.message());
  }
}

}  // namespace

struct Shards::Impl {
  fs::path folder;
  std::string split;
  std::deque<io::SafeTensorsStream> files;  // streams cannot be moved
  std::map<std::string, size_t> where;      // tensor to file
  bool open = false;
  uint64_t total = 0, before = 0;  // bytes; of the closed files
  size_t committed = 0;
  std::optional<io::AtomicFile> index;

  std::string name(size_t i) const { return shard_name(split, i + 1, files.size()); }
};

Shards::Shards(fs::path folder, std::string split) : impl_(std::make_unique<Impl>()) {
  impl_->folder = std::move(folder);
  impl_->split = std::move(split);
  std::error_code error;
  fs::create_directories(impl_->folder, error);
  if (error) throw Error(Exit::cannot_create, impl_->folder.string(), ": ", error.message());
}

/// What was committed but not renamed to its last name is of no use.
Shards::~Shards() {
  for (size_t i = 0; i < impl_->committed; ++i) {
    std::error_code ignored;
    fs::remove(impl_->folder / early_name(impl_->split, i + 1), ignored);
  }
}

void Shards::open(size_t header_bytes) {
  if (impl_->open) throw Error(Exit::internal, impl_->split, ": a file is open already");
  impl_->files.emplace_back(impl_->folder / early_name(impl_->split, impl_->files.size() + 1),
                            header_bytes);
  impl_->open = true;
}

bool Shards::is_open() const {
  return impl_->open;
}

uint64_t Shards::bytes() const {
  return impl_->total - impl_->before;
}

void Shards::begin(const std::string& tensor, const std::string& dtype,
                   const std::vector<int64_t>& row) {
  if (!impl_->open) throw Error(Exit::internal, impl_->split, ": a tensor before a file");
  impl_->files.back().begin(tensor, dtype, row);
  impl_->where[tensor] = impl_->files.size() - 1;
}

void Shards::append(const void* data, size_t bytes) {
  if (!impl_->open) throw Error(Exit::internal, impl_->split, ": bytes before a file");
  impl_->files.back().append(data, bytes);
  impl_->total += bytes;
}

void Shards::close(const io::Metadata& metadata) {
  if (!impl_->open) return;
  impl_->files.back().seal(metadata);
  impl_->open = false;
  impl_->before = impl_->total;
}

void Shards::seal(const nlohmann::json& about) {
  auto& at = *impl_;
  if (at.files.empty() || at.open)
    throw Error(Exit::internal, at.split, ": sealed without a closed file");
  if (at.files.size() == 1) return;
  nlohmann::json index{{"metadata", about}, {"weight_map", nlohmann::json::object()}};
  index["metadata"]["total_size"] = at.total;
  for (const auto& [tensor, file] : at.where) index["weight_map"][tensor] = at.name(file);
  at.index.emplace(at.folder / index_name(at.split));
  at.index->write(index.dump(1) + "\n");
  at.index->seal();
}

/// At any moment the folder holds the old data, none, or the new. SPLIT.safetensors, if there is
/// one, is read rather than an index.
void Shards::commit() {
  auto& at = *impl_;
  for (; at.committed < at.files.size(); ++at.committed) at.files[at.committed].commit();
  if (at.index) remove_files({at.folder / index_name(at.split)});
  std::set<std::string> ours;
  for (size_t i = 0; i < at.files.size(); ++i) {
    std::error_code error;
    const auto file = at.folder / at.name(i);
    fs::rename(at.folder / early_name(at.split, i + 1), file, error);
    if (error) throw Error(Exit::io, file.string(), ": cannot rename: ", error.message());
    ours.insert(at.name(i));
  }
  io::sync_folder(at.folder);
  if (at.index) {
    at.index->commit();
    ours.insert(index_name(at.split));
  }
  at.committed = 0;
  remove_files(others(at.folder, at.split, ours));
}

void Shards::remove(const fs::path& folder, const std::string& split) {
  remove_files(others(folder, split, {}));
}

}  // namespace lact::packed
