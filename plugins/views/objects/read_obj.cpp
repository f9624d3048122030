// A model with all its files.

#include "mesh.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <algorithm>
#include <map>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of an OBJ or MTL file

/// A file that an MTL names: as written, with Windows' slashes, or by its name alone.
fs::path find(const fs::path& folder, std::string name) {
  std::replace(name.begin(), name.end(), '\\', '/');
  const fs::path written(name);
  for (const auto& candidate : {folder / written, folder / written.filename()}) {
    std::error_code ignored;
    if (fs::is_regular_file(candidate, ignored)) return candidate;
  }
  throw Error(Exit::no_input, (folder / written).string(), ": no such file");
}

/// The image of a picture with the mask as its alpha; either may be missing.
media::Image combined(const fs::path& folder, const Material& material) {
  if (material.mask.empty()) return media::read_image(find(folder, material.picture));
  auto mask = media::read_image(find(folder, material.mask));
  media::Image picture(mask.width, mask.height);
  std::fill(picture.pixels.begin(), picture.pixels.end(), uint8_t{255});
  if (!material.picture.empty()) picture = media::read_image(find(folder, material.picture));
  if (mask.width != picture.width || mask.height != picture.height)
    mask = media::resize(mask, picture.width, picture.height);
  media::Image out(picture.width, picture.height, 4);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      std::copy_n(picture.at(x, y), 3, out.at(x, y));
      const auto* m = mask.at(x, y);
      // Brightness, unless the mask has an alpha of its own.
      out.at(x, y)[3] = mask.channels == 4
                            ? m[3]
                            : static_cast<uint8_t>((299 * m[0] + 587 * m[1] + 114 * m[2]) / 1000);
    }
  return out;
}

void load_textures(Mesh& mesh, const fs::path& file, Faults& faults) {
  std::map<std::pair<std::string, std::string>, int> loaded;  // -1: could not be
  for (auto& material : mesh.materials) {
    if (material.picture.empty() && material.mask.empty()) continue;
    const auto [at, fresh] = loaded.try_emplace({material.picture, material.mask}, -1);
    if (fresh) try {
        mesh.textures.emplace_back(combined(file.parent_path(), material));
        at->second = static_cast<int>(mesh.textures.size() - 1);
      } catch (const Error& error) {
        faults.push_back(concat(file.string(), ": texture: ", error.what()));
      }
    material.texture = at->second;
  }
}

}  // namespace

Mesh read_obj(const fs::path& file, Faults& faults) {
  const auto read = [&](const std::string& name) {
    return io::read_text(find(file.parent_path(), name), kMostBytes);
  };
  auto mesh = parse_obj(io::read_text(file, kMostBytes), file.string(), read, faults);
  load_textures(mesh, file, faults);
  return mesh;
}

}  // namespace lact::views::objects
