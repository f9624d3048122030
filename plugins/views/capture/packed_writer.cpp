#include "packed.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <system_error>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

// Of one scene: five entries and their checksums, about 800, and of what is common.
constexpr size_t kSceneHeaderBytes = 1024, kHeaderBytes = 4096;
constexpr size_t kMostScenes = 16384;  // of one file: its header stays below 16 MiB

std::string digits(int64_t number, int count) {
  char text[32];
  std::snprintf(text, sizeof text, "%0*lld", count, static_cast<long long>(number));
  return text;
}

/// Cameras and names of a scene, which follow when all images of its file are written.
struct Rest {
  std::string number, names;
  std::vector<double> intrinsics, poses;
};

struct Shard {
  std::string name;
  size_t planned = 0;  // scenes
  std::optional<io::SafeTensorsStream> stream;
  std::vector<Rest> scenes;
  uint64_t bytes = 0;  // of images
};

bool is_shard(const std::string& name, const std::string& split) {
  // SPLIT-00001-of-00002.safetensors
  constexpr size_t kTail = sizeof "-00001-of-00002.safetensors" - 1;
  const auto at = split.size();
  return name.size() == at + kTail && name.compare(0, at + 1, split + "-") == 0 &&
         name.compare(at + 6, 4, "-of-") == 0 && name.compare(at + 15, 12, ".safetensors") == 0;
}

/// Files of a split in a folder, but for those in `keep`; the index first.
std::vector<fs::path> others(const fs::path& folder, const std::string& split,
                             const std::set<std::string>& keep) {
  std::vector<fs::path> found{folder / (split + ".safetensors.index.json"),
                              folder / (split + ".safetensors")};
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

struct PackedWriter::Impl {
  fs::path folder;
  std::string split;
  int64_t width, height;
  std::deque<Shard> shards;                  // streams cannot be moved
  std::vector<size_t> shard_of;              // a planned scene
  std::map<std::string, std::string> index;  // tensor to file
  uint64_t total = 0;
  int64_t scenes = 0, views = 0;
  std::optional<io::AtomicFile> index_file;
  // Of the scene at hand.
  size_t planned = 0;  // one more than its number among the planned ones
  size_t shard = 0;    // where it lies, once it has views
  std::string name;
  bool nerfstudio = false;
  std::vector<std::string> files;

  void plan(const std::vector<int64_t>& views_of, uint64_t shard_bytes);
  void open_scene();
  void close_scene();
  void close_shard();
  void write(const std::string& tensor, const char* dtype, const std::vector<int64_t>& row,
             const void* data, size_t bytes);
};

/// In the order given, each file as full as the limit allows.
void PackedWriter::Impl::plan(const std::vector<int64_t>& views_of, uint64_t shard_bytes) {
  uint64_t filled = 0;
  for (const int64_t count : views_of) {
    const auto bytes = static_cast<uint64_t>(count * width * height * 3);
    const bool full = !shards.empty() && shards.back().planned > 0 && filled + bytes > shard_bytes;
    if (shards.empty() || full || shards.back().planned == kMostScenes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    ++shards.back().planned;
    shard_of.push_back(shards.size() - 1);
  }
  const auto count = static_cast<int64_t>(shards.size());
  for (int64_t i = 0; i < count; ++i)
    shards[static_cast<size_t>(i)].name =
        split + (count == 1 ? "" : concat("-", digits(i + 1, 5), "-of-", digits(count, 5))) +
        ".safetensors";
}

PackedWriter::PackedWriter(fs::path folder, std::string split, int64_t width, int64_t height,
                           const std::vector<int64_t>& views, uint64_t shard_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->folder = std::move(folder);
  impl_->split = std::move(split);
  impl_->width = width;
  impl_->height = height;
  impl_->plan(views, shard_bytes);
  std::error_code error;
  fs::create_directories(impl_->folder, error);
  if (error) throw Error(Exit::cannot_create, impl_->folder.string(), ": ", error.message());
}

PackedWriter::~PackedWriter() = default;

int64_t PackedWriter::scenes() const {
  return impl_->scenes;
}
int64_t PackedWriter::views() const {
  return impl_->views;
}

void PackedWriter::begin_scene(const std::string& name, bool nerfstudio) {
  auto& at = *impl_;
  at.close_scene();
  if (at.planned++ == at.shard_of.size())
    throw Error(Exit::internal, "more scenes than the ", at.shard_of.size(), " that were planned");
  at.name = name;
  at.nerfstudio = nerfstudio;
}

void PackedWriter::add(const std::string& file, const Camera& camera, const media::Image& image) {
  auto& at = *impl_;
  if (image.width != at.width || image.height != at.height || image.channels != 3)
    throw Error(Exit::internal, "an image of ", image.width, " x ", image.height, " x ",
                image.channels, " in a pack of ", at.width, " x ", at.height, " x 3");
  if (at.files.empty()) at.open_scene();
  auto& shard = at.shards[at.shard];
  shard.stream->append(image.pixels.data(), image.pixels.size());
  shard.bytes += image.pixels.size();
  auto& scene = shard.scenes.back();
  for (const double one : {camera.fx, camera.fy, camera.cx, camera.cy})
    scene.intrinsics.push_back(one);
  scene.poses.insert(scene.poses.end(), camera.c2w.m.begin(), camera.c2w.m.end());
  at.files.push_back(file);
  ++at.views;
}

void PackedWriter::Impl::open_scene() {
  if (planned == 0) throw Error(Exit::internal, "a view before a scene");
  const size_t next = shard_of[planned - 1];
  if (next != shard) close_shard();
  shard = next;
  auto& file = shards[shard];
  if (!file.stream)
    file.stream.emplace(folder / file.name, kHeaderBytes + kSceneHeaderBytes * file.planned);
  const auto number = digits(scenes++, 6);
  file.scenes.push_back({number, {}, {}, {}});
  file.stream->begin(number + ".images", "U8", {height, width, 3});
  index[number + ".images"] = file.name;
}

void PackedWriter::Impl::close_scene() {
  if (files.empty()) return;
  nlohmann::json names{{"name", name}, {"files", files}};
  if (nerfstudio) names["world"] = "nerfstudio";
  // Names of files are bytes; what is no UTF-8 becomes the replacement character.
  shards[shard].scenes.back().names =
      names.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  files.clear();
}

void PackedWriter::Impl::write(const std::string& tensor, const char* dtype,
                               const std::vector<int64_t>& row, const void* data, size_t bytes) {
  shards[shard].stream->begin(tensor, dtype, row);
  shards[shard].stream->append(data, bytes);
  index[tensor] = shards[shard].name;
  total += bytes;
}

/// Numbers follow the images, behind what aligns them; names are last.
void PackedWriter::Impl::close_shard() {
  auto& file = shards[shard];
  if (!file.stream) return;
  total += file.bytes;
  constexpr char kZeros[8] = {};
  if (file.bytes % 8 != 0)
    write(file.scenes.back().number + ".padding", "U8", {}, kZeros, 8 - file.bytes % 8);
  for (const auto& scene : file.scenes) {
    write(scene.number + ".intrinsics", "F64", {4}, scene.intrinsics.data(),
          scene.intrinsics.size() * sizeof(double));
    write(scene.number + ".c2w", "F64", {4, 4}, scene.poses.data(),
          scene.poses.size() * sizeof(double));
  }
  for (const auto& scene : file.scenes)
    write(scene.number + ".names", "U8", {}, scene.names.data(), scene.names.size());
  file.stream->seal({{"lact.kind", "views"},
                     {"lact.version", "1"},
                     {"width", std::to_string(width)},
                     {"height", std::to_string(height)},
                     {"split", split}});
  file.scenes = {};
}

void PackedWriter::seal() {
  auto& at = *impl_;
  if (at.scenes == 0) throw Error(Exit::internal, "a pack without scenes");
  at.close_scene();
  at.close_shard();
  if (at.shards.size() == 1) return;
  const nlohmann::json index{{"metadata", {{"total_size", at.total}, {"scenes", at.scenes}}},
                             {"weight_map", at.index}};
  at.index_file.emplace(at.folder / (at.split + ".safetensors.index.json"));
  at.index_file->write(index.dump(1) + "\n");
  at.index_file->seal();
}

/// At any moment the folder holds the old data, none, or the new. SPLIT.safetensors, if there is
/// one, is read rather than an index.
void PackedWriter::commit() {
  auto& at = *impl_;
  const bool sharded = at.index_file.has_value();
  if (sharded) remove_files({at.folder / (at.split + ".safetensors.index.json")});
  std::set<std::string> ours;
  for (auto& shard : at.shards) {
    if (!shard.stream) continue;
    shard.stream->commit();
    ours.insert(shard.name);
  }
  if (sharded) {
    at.index_file->commit();
    ours.insert(at.split + ".safetensors.index.json");
  }
  remove_files(others(at.folder, at.split, ours));
}

void PackedWriter::remove(const fs::path& folder, const std::string& split) {
  remove_files(others(folder, split, {}));
}

}  // namespace lact::views
