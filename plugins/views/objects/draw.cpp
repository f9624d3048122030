#include "draw.hpp"

#include "raster.hpp"

#include <plugins/common/media/image.hpp>

#include <lact/cli/run.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;

/// Not made durable one by one: sync() does so for all.
void write_file(const fs::path& file, const std::string& bytes) {
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) throw Error(Exit::cannot_create, file.string(), ": ", std::strerror(errno));
  try {
    io::write_all(descriptor, bytes.data(), bytes.size(), file.string());
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  if (::close(descriptor) != 0)
    throw Error(Exit::io, file.string(), ": cannot write: ", std::strerror(errno));
}

/// A folder that appears whole, under its name, or not at all.
class Folder {
 public:
  explicit Folder(fs::path target)
      : target_(std::move(target)),
        part_(target_.parent_path() / ("." + target_.filename().string() + ".part")) {
    std::error_code ignored;
    fs::remove_all(part_, ignored);
    make_folder(part_);
  }
  ~Folder() {
    std::error_code ignored;
    if (!part_.empty()) fs::remove_all(part_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return part_; }
  void commit() {
    std::error_code error;
    fs::remove_all(target_, error);
    if (!error) fs::rename(part_, target_, error);
    if (error) throw Error(Exit::cannot_create, target_.string(), ": ", error.message());
    part_.clear();
  }

 private:
  fs::path target_, part_;
};

double coverage(const media::Image& image) {
  double sum = 0;
  for (size_t i = 3; i < image.pixels.size(); i += 4) sum += image.pixels[i];
  return sum / 255 / static_cast<double>(image.width * image.height);
}

/// Throws what is wrong with the model.
void draw_into(Drawn& result, const Model& model, const DrawSettings& settings,
               const std::atomic<bool>& stop) {
  auto mesh = read_obj(model.file, result.faults);
  stand(mesh, model.rotation, settings.z_up, model.file.string());
  const auto cameras = cameras_of(settings.rig, settings.seed, model.name);
  const auto size = settings.rig.size;
  Renderer renderer(mesh, size, size, settings.samples);
  Folder folder(settings.output / model.name);
  make_folder(folder.path() / "images");
  std::vector<std::string> files;
  double covered = 0;
  for (const auto& camera : cameras) {
    if (stop || cli::stop_requested()) throw cli::Interrupted();
    media::Image image;
    try {
      image = renderer.draw(camera);
    } catch (const Error& error) {
      throw Error(error.code(), model.file.string(), ": ", error.what());
    }
    covered += coverage(image) / static_cast<double>(cameras.size());
    char name[32];
    std::snprintf(name, sizeof name, "images/%03zu.png", files.size());
    files.emplace_back(name);
    write_file(folder.path() / name, media::encode_png(image));
  }
  if (covered < settings.min_coverage) {
    result.invisible = true;
    result.skipped = concat(model.file.string(), ": next to invisible: covers ", covered,
                            " of its pictures; --min-coverage is ", settings.min_coverage);
    return;
  }
  write_file(folder.path() / "opencv_cameras.json",
             cameras_json(cameras, files, size, size).dump() + "\n");
  folder.commit();
}

}  // namespace

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(Exit::cannot_create, folder.string(), ": ", error.message());
}

void sync(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool good = descriptor >= 0 && ::syncfs(descriptor) == 0;
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!good) throw Error(Exit::io, folder.string(), ": cannot sync: ", std::strerror(reason));
}

Drawn draw(const Model& model, const DrawSettings& settings, const std::atomic<bool>& stop) {
  Drawn out;
  try {
    draw_into(out, model, settings, stop);
  } catch (const Error& error) {
    // The model's fault; any other is that of the disk.
    if (error.code() != Exit::data && error.code() != Exit::no_input) throw;
    out.skipped = error.what();
  }
  return out;
}

}  // namespace lact::views::objects
