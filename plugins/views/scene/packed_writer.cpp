#include "packed_writer.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/views/camera/world.hpp>

#include <lact/error.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

// Of one scene: five entries and their checksums, about 800, and of what is common.
constexpr size_t kSceneHeaderBytes = 1024, kHeaderBytes = 4096;
constexpr size_t kMostScenes = 16384;  // of one file: its header stays below 16 MiB

std::string six_digits(int64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%06lld", static_cast<long long>(number));
  return text;
}

/// Cameras and names of a scene, which follow when all images of its file are written.
struct Rest {
  std::string number, names;
  std::vector<double> intrinsics, poses;
};

}  // namespace

struct SceneWriter::Impl {
  packed::Shards files;
  std::string split;
  int64_t width, height;
  std::vector<size_t> file_of, scenes_of;  // of a planned scene; of a planned file
  std::vector<Rest> rest;                  // of the open file
  uint64_t images = 0;                     // bytes of them in it
  int64_t scenes = 0, views = 0;
  // Of the scene at hand.
  size_t planned = 0;  // one more than its number among the planned ones
  size_t file = 0;     // where it lies, once it has views
  std::string name;
  Matrix world;
  std::vector<std::string> shots;
  std::vector<size_t> held;

  Impl(const fs::path& folder, std::string split_name, int64_t wide, int64_t high)
      : files(folder, split_name), split(std::move(split_name)), width(wide), height(high) {}
  void plan(const std::vector<int64_t>& views_of, uint64_t shard_bytes);
  void open_scene();
  void close_scene();
  void close_file();
  void write(const std::string& tensor, const char* dtype, const std::vector<int64_t>& row,
             const void* data, size_t bytes);
};

/// In the order given, each file as full as the limit allows.
void SceneWriter::Impl::plan(const std::vector<int64_t>& views_of, uint64_t shard_bytes) {
  uint64_t filled = 0;
  for (const int64_t count : views_of) {
    const auto bytes = static_cast<uint64_t>(count * width * height * 3);
    const bool full = !scenes_of.empty() && filled + bytes > shard_bytes;
    if (scenes_of.empty() || full || scenes_of.back() == kMostScenes) {
      scenes_of.push_back(0);
      filled = 0;
    }
    filled += bytes;
    ++scenes_of.back();
    file_of.push_back(scenes_of.size() - 1);
  }
}

SceneWriter::SceneWriter(const fs::path& folder, std::string split, int64_t width, int64_t height,
                         const std::vector<int64_t>& views, uint64_t shard_bytes)
    : impl_(std::make_unique<Impl>(folder, std::move(split), width, height)) {
  impl_->plan(views, shard_bytes);
}

SceneWriter::~SceneWriter() = default;

int64_t SceneWriter::scenes() const {
  return impl_->scenes;
}
int64_t SceneWriter::views() const {
  return impl_->views;
}

void SceneWriter::begin_scene(const std::string& name, const Matrix& world) {
  auto& at = *impl_;
  at.close_scene();
  if (at.planned++ == at.file_of.size())
    throw Error(Exit::internal, "more scenes than the ", at.file_of.size(), " that were planned");
  at.name = name;
  at.world = world;
}

void SceneWriter::add(const std::string& file, const Camera& camera, const media::Image& image,
                      bool held) {
  auto& at = *impl_;
  if (image.width != at.width || image.height != at.height || image.channels != 3)
    throw Error(Exit::internal, "an image of ", image.width, " x ", image.height, " x ",
                image.channels, " in a pack of ", at.width, " x ", at.height, " x 3");
  if (at.shots.empty()) at.open_scene();
  at.files.append(image.pixels.data(), image.pixels.size());
  at.images += image.pixels.size();
  auto& scene = at.rest.back();
  for (const double one : {camera.fx, camera.fy, camera.cx, camera.cy})
    scene.intrinsics.push_back(one);
  scene.poses.insert(scene.poses.end(), camera.c2w.m.begin(), camera.c2w.m.end());
  if (held) at.held.push_back(at.shots.size());
  at.shots.push_back(file);
  ++at.views;
}

void SceneWriter::Impl::open_scene() {
  if (planned == 0) throw Error(Exit::internal, "a view before a scene");
  const size_t next = file_of[planned - 1];
  if (next != file) close_file();
  file = next;
  if (!files.is_open()) files.open(kHeaderBytes + kSceneHeaderBytes * scenes_of[file]);
  rest.push_back({six_digits(scenes++), {}, {}, {}});
  files.begin(rest.back().number + ".images", "U8", {height, width, 3});
}

void SceneWriter::Impl::close_scene() {
  if (shots.empty()) return;
  nlohmann::json names{{"name", name}, {"files", shots}};
  if (world != Matrix{}) names["world"] = world_json(world);
  if (!held.empty()) names["held"] = held;
  rest.back().names = packed::list_text(names);
  shots.clear();
  held.clear();
}

void SceneWriter::Impl::write(const std::string& tensor, const char* dtype,
                              const std::vector<int64_t>& row, const void* data, size_t bytes) {
  files.begin(tensor, dtype, row);
  files.append(data, bytes);
}

/// Numbers follow the images, behind what aligns them; names are last.
void SceneWriter::Impl::close_file() {
  if (!files.is_open()) return;
  constexpr char kZeros[8] = {};
  if (images % 8 != 0) write(rest.back().number + ".padding", "U8", {}, kZeros, 8 - images % 8);
  for (const auto& scene : rest) {
    write(scene.number + ".intrinsics", "F64", {4}, scene.intrinsics.data(),
          scene.intrinsics.size() * sizeof(double));
    write(scene.number + ".c2w", "F64", {4, 4}, scene.poses.data(),
          scene.poses.size() * sizeof(double));
  }
  for (const auto& scene : rest)
    write(scene.number + ".names", "U8", {}, scene.names.data(), scene.names.size());
  auto metadata = packed::metadata("views", split);
  metadata["width"] = std::to_string(width);
  metadata["height"] = std::to_string(height);
  files.close(metadata);
  rest.clear();
  images = 0;
}

void SceneWriter::seal() {
  auto& at = *impl_;
  if (at.scenes == 0) throw Error(Exit::internal, "a pack without scenes");
  at.close_scene();
  at.close_file();
  at.files.seal({{"scenes", at.scenes}});
}

void SceneWriter::commit() {
  impl_->files.commit();
}

}  // namespace lact::views
