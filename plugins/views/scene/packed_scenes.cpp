#include "packed_scenes.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/views/camera/world.hpp>

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <ATen/ops/from_blob.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using Entry = io::SafeTensors::Entry;

struct PackedScene {
  std::string name;
  std::vector<std::string> files;
  Matrix world;
  std::vector<int64_t> held;
  std::vector<Camera> cameras;
  const std::byte* images = nullptr;
};

constexpr char kMaker[] = "lact-tokenize views pack";

void check_kind(const io::SafeTensors& file) {
  packed::check_kind(file, "views", "packed scenes");
}

/// One scene's tensors, checked as they are taken.
class SceneReader {
 public:
  SceneReader(const io::Checkpoint& file, std::string scene, int64_t width, int64_t height)
      : file_(file), scene_(std::move(scene)), width_(width), height_(height) {}

  PackedScene read() const {
    const auto& home = file_.file_of(scene_ + ".images");
    check_kind(home);
    if (packed::metadata_number(home, "width") != width_ ||
        packed::metadata_number(home, "height") != height_)
      fail("images", concat("the file says another size than ", width_, " x ", height_));
    PackedScene scene;
    read_names(scene);
    const auto views = static_cast<int64_t>(scene.files.size());
    expect("images", "U8", {views, height_, width_, 3});
    scene.images = home.bytes(scene_ + ".images");
    read_cameras(scene, views);
    return scene;
  }

 private:
  [[noreturn]] void fail(const std::string& tensor, const std::string& what) const {
    const auto name = scene_ + "." + tensor;
    throw Error(Exit::data, file_.file_of(name).path().string(), ": tensor ", name, ": ", what);
  }

  const Entry& expect(const std::string& tensor, const char* dtype,
                      const std::vector<int64_t>& shape) const {
    const auto& entry = file_.entry(scene_ + "." + tensor);
    if (entry.dtype != dtype || entry.shape != shape)
      fail(tensor, concat("expected ", dtype, " ", at::IntArrayRef(shape), ", found ", entry.dtype,
                          " ", at::IntArrayRef(entry.shape)));
    return entry;
  }

  void read_names(PackedScene& scene) const {
    const auto tensor = scene_ + ".names";
    const auto json = packed::read_list(file_.file_of(tensor), tensor);
    const auto name = json.is_object() ? json.find("name") : json.end();
    const auto files = json.is_object() ? json.find("files") : json.end();
    if (name == json.end() || !name->is_string() || files == json.end() || !files->is_array() ||
        files->empty())
      fail("names", "expected a name and a list of files");
    scene.name = name->get<std::string>();
    for (const auto& file : *files) {
      if (!file.is_string()) fail("names", "expected a list of names of files");
      scene.files.push_back(file.get<std::string>());
    }
    if (const auto world = json.find("world"); world != json.end())
      scene.world = world_of(
          *world, concat(file_.file_of(tensor).path().string(), ": tensor ", tensor, ": world"));
    if (const auto held = json.find("held"); held != json.end()) read_held(*held, scene);
  }

  void read_held(const nlohmann::json& held, PackedScene& scene) const {
    const auto is_view = [&](const nlohmann::json& one) {
      return one.is_number_unsigned() && one.get<uint64_t>() < scene.files.size();
    };
    if (!held.is_array() || !std::all_of(held.begin(), held.end(), is_view))
      fail("names", "held: expected a list of views");
    scene.held = held.get<std::vector<int64_t>>();
  }

  void read_cameras(PackedScene& scene, int64_t views) const {
    expect("intrinsics", "F64", {views, 4});
    expect("c2w", "F64", {views, 4, 4});
    const auto intrinsics = file_.tensor(scene_ + ".intrinsics"),
               c2w = file_.tensor(scene_ + ".c2w");
    const auto* four = intrinsics.const_data_ptr<double>();
    const auto* pose = c2w.const_data_ptr<double>();
    for (int64_t i = 0; i < views; ++i, four += 4, pose += 16) {
      Camera camera{four[0], four[1], four[2], four[3], {}};
      std::memcpy(camera.c2w.m.data(), pose, sizeof camera.c2w.m);
      if (!(four[0] > 0 && four[1] > 0 && std::isfinite(four[0] + four[1] + four[2] + four[3])))
        fail("intrinsics", concat("view ", i, ": no focal lengths and centre"));
      if (const auto fault = fault_of_pose(camera.c2w); !fault.empty())
        fail("c2w", concat("view ", i, ": ", fault));
      scene.cameras.push_back(camera);
    }
  }

  const io::Checkpoint& file_;
  std::string scene_;
  int64_t width_, height_;
};

}  // namespace

struct PackedScenes::Impl {
  io::Checkpoint file;
  fs::path path;
  int64_t width = 0, height = 0;
  std::vector<PackedScene> scenes;

  const PackedScene& scene(int64_t number) const {
    if (number < 0 || number >= static_cast<int64_t>(scenes.size()))
      throw Error(Exit::internal, path.string(), ": scene ", number, " of ", scenes.size());
    return scenes[static_cast<size_t>(number)];
  }
};

PackedScenes PackedScenes::open(const fs::path& where, const std::string& split) {
  auto impl = std::make_shared<Impl>();
  impl->path = packed::find_split(where, split, kMaker);
  impl->file = io::Checkpoint::open(impl->path);
  constexpr std::string_view kImages = ".images";
  for (const auto& name : impl->file.names()) {
    const auto at = name.size() - std::min(name.size(), kImages.size());
    if (name.compare(at, name.npos, kImages) != 0) continue;
    if (impl->scenes.empty()) {
      const auto& first = impl->file.file_of(name);
      check_kind(first);
      impl->width = packed::metadata_number(first, "width");
      impl->height = packed::metadata_number(first, "height");
    }
    impl->scenes.push_back(
        SceneReader(impl->file, name.substr(0, at), impl->width, impl->height).read());
  }
  if (impl->scenes.empty())
    throw Error(Exit::data, impl->path.string(), ": no packed scenes: expected the output of ",
                kMaker);
  PackedScenes packed;
  packed.impl_ = std::move(impl);
  return packed;
}

int64_t PackedScenes::size() const {
  return static_cast<int64_t>(impl_->scenes.size());
}
int64_t PackedScenes::width() const {
  return impl_->width;
}
int64_t PackedScenes::height() const {
  return impl_->height;
}
const std::string& PackedScenes::name(int64_t scene) const {
  return impl_->scene(scene).name;
}
const Matrix& PackedScenes::world(int64_t scene) const {
  return impl_->scene(scene).world;
}
const std::vector<int64_t>& PackedScenes::held(int64_t scene) const {
  return impl_->scene(scene).held;
}

const std::vector<std::string>& PackedScenes::files(int64_t scene) const {
  return impl_->scene(scene).files;
}
const std::vector<Camera>& PackedScenes::cameras(int64_t scene) const {
  return impl_->scene(scene).cameras;
}

at::Tensor PackedScenes::images(int64_t scene) const {
  const auto& one = impl_->scene(scene);
  // from_blob has no tensors for reading only. The lambda keeps the mapping alive.
  auto* data = const_cast<std::byte*>(one.images);
  return at::from_blob(
      data, {static_cast<int64_t>(one.files.size()), impl_->height, impl_->width, 3},
      [keep = impl_](void*) {}, at::TensorOptions(at::kByte));
}

void PackedScenes::verify() const {
  packed::verify(impl_->file);
}

}  // namespace lact::views
