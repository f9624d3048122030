#include "mesh.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <tiny_obj_loader.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <sstream>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = uint64_t{1} << 30;  // of an OBJ or MTL file

std::string first_line(const std::string& text) {
  return io::printable(text.substr(0, text.find('\n')));
}

/// Reads MTL files where tinyobjloader asks for them.
class Materials final : public tinyobj::MaterialReader {
 public:
  Materials(const std::string& obj, const std::function<std::string(const std::string&)>& read,
            Faults& faults)
      : obj_(obj), read_(read), faults_(faults) {}
  bool operator()(const std::string& file, std::vector<tinyobj::material_t>* materials,
                  std::map<std::string, int>* map, std::string* warn, std::string* err) override {
    try {
      std::istringstream text(read_(file));
      tinyobj::LoadMtl(map, materials, &text, warn, err);
      return true;
    } catch (const Error& error) {
      faults_.push_back(concat(obj_, ": mtllib ", io::printable(file), ": ", error.what()));
    }
    return false;
  }

 private:
  const std::string& obj_;
  const std::function<std::string(const std::string&)>& read_;
  Faults& faults_;
};

Material material_of(const tinyobj::material_t& from) {
  Material out;
  for (size_t c = 0; c < 3; ++c)
    out.colour[c] = std::isfinite(from.diffuse[c]) ? std::clamp(from.diffuse[c], 0.0f, 1.0f) : 0;
  if (std::isfinite(from.dissolve)) out.opacity = std::clamp(from.dissolve, 0.0f, 1.0f);
  out.picture = from.diffuse_texname;
  out.mask = from.alpha_texname;
  if (out.mask == out.picture) out.mask.clear();  // its alpha is in the picture
  // Some programs write d 0 and leave all to the mask.
  if (!from.alpha_texname.empty() && out.opacity == 0) out.opacity = 1;
  out.clamp = from.diffuse_texopt.clamp;
  return out;
}

/// A mesh's triangles as ours, without those that name what is not there.
class Taker {
 public:
  Taker(Mesh& mesh, const tinyobj::attrib_t& from) : mesh_(mesh) {
    for (size_t i = 0; i + 2 < from.vertices.size(); i += 3)
      mesh.places.push_back({from.vertices[i], from.vertices[i + 1], from.vertices[i + 2]});
    for (size_t i = 0; i + 2 < from.normals.size(); i += 3)
      mesh.normals.push_back({from.normals[i], from.normals[i + 1], from.normals[i + 2]});
    for (size_t i = 0; i + 1 < from.texcoords.size(); i += 2)
      mesh.textured.push_back({from.texcoords[i], from.texcoords[i + 1]});
  }

  void take(const tinyobj::mesh_t& from) {
    for (size_t face = 0; face < from.num_face_vertices.size(); ++face) {
      Triangle out;
      if (from.num_face_vertices[face] != 3 || 3 * face + 2 >= from.indices.size() ||
          !corners(from.indices.data() + 3 * face, out)) {
        ++dropped_;
        continue;
      }
      if (face < from.material_ids.size() && from.material_ids[face] >= 0 &&
          static_cast<size_t>(from.material_ids[face]) < mesh_.materials.size())
        out.material = from.material_ids[face];
      mesh_.triangles.push_back(out);
    }
  }

  int64_t dropped() const { return dropped_; }

 private:
  template <class Values>
  static bool within(int index, const Values& values) {
    return index >= 0 && static_cast<size_t>(index) < values.size();
  }
  bool corners(const tinyobj::index_t* from, Triangle& out) const {
    for (auto& corner : out.corners) {
      const auto& index = *from++;
      if (!within(index.vertex_index, mesh_.places)) return false;
      for (const float one : mesh_.places[static_cast<size_t>(index.vertex_index)])
        if (!std::isfinite(one)) return false;
      corner.place = index.vertex_index;
      if (within(index.normal_index, mesh_.normals)) corner.normal = index.normal_index;
      if (within(index.texcoord_index, mesh_.textured)) corner.texture = index.texcoord_index;
    }
    return true;
  }

  Mesh& mesh_;
  int64_t dropped_ = 0;
};

// --- textures ------------------------------------------------------------------------------------

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

Mesh parse_obj(std::string_view text, const std::string& name,
               const std::function<std::string(const std::string&)>& read, Faults& faults) {
  tinyobj::attrib_t places;
  std::vector<tinyobj::shape_t> shapes;
  std::vector<tinyobj::material_t> materials;
  std::string warnings, errors;
  const size_t before = faults.size();
  std::istringstream stream{std::string(text)};
  Materials reader(name, read, faults);
  bool sound = false;
  try {
    sound = tinyobj::LoadObj(&places, &shapes, &materials, &warnings, &errors, &stream, &reader);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    errors = error.what();
  }
  if (!sound) throw Error(Exit::data, name, ": no OBJ file that can be read: ", first_line(errors));
  Mesh mesh;
  for (const auto& one : materials) mesh.materials.push_back(material_of(one));
  Taker taker(mesh, places);
  for (const auto& shape : shapes) taker.take(shape.mesh);
  if (mesh.triangles.empty()) throw Error(Exit::data, name, ": holds no face");
  if (taker.dropped() > 0)
    faults.push_back(concat(name, ": ", taker.dropped(),
                            " triangles left out: a vertex that does not exist or is no number"));
  // One line; where the MTL file itself is missing, that was said.
  const auto lost = warnings.find("material [");
  if (lost != std::string::npos && faults.size() == before)
    faults.push_back(concat(name, ": ", first_line(warnings.substr(lost))));
  return mesh;
}

Mesh read_obj(const fs::path& file, Faults& faults) {
  const auto read = [&](const std::string& name) {
    return io::read_text(find(file.parent_path(), name), kMostBytes);
  };
  auto mesh = parse_obj(io::read_text(file, kMostBytes), file.string(), read, faults);
  load_textures(mesh, file, faults);
  return mesh;
}

void stand(Mesh& mesh, const Rotation& rotation, bool z_up, const std::string& name) {
  const auto& r = rotation;
  const auto turn = [&](const Point& p) {
    const double q[3] = {r[0] * p[0] + r[1] * p[1] + r[2] * p[2],
                         r[3] * p[0] + r[4] * p[1] + r[5] * p[2],
                         r[6] * p[0] + r[7] * p[1] + r[8] * p[2]};
    return z_up ? std::array<double, 3>{q[0], q[1], q[2]}
                : std::array<double, 3>{q[0], -q[2], q[1]};
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::array<double, 3> low{kInfinity, kInfinity, kInfinity},
      high{-kInfinity, -kInfinity, -kInfinity}, middle{};
  const auto each_used = [&](const auto& call) {  // vertices that no face names do not count
    for (const auto& triangle : mesh.triangles)
      for (const auto& corner : triangle.corners)
        call(turn(mesh.places[static_cast<size_t>(corner.place)]));
  };
  each_used([&](const std::array<double, 3>& p) {
    for (size_t i = 0; i < 3; ++i)
      low[i] = std::min(low[i], p[i]), high[i] = std::max(high[i], p[i]);
  });
  for (size_t i = 0; i < 3; ++i) middle[i] = (low[i] + high[i]) / 2;
  double radius = 0;
  each_used([&](const std::array<double, 3>& p) {
    radius = std::max(radius, std::hypot(p[0] - middle[0], p[1] - middle[1], p[2] - middle[2]));
  });
  if (!(radius > 0 && std::isfinite(radius)))
    throw Error(Exit::data, name, ": the model has no extent");
  for (auto& place : mesh.places) {
    const auto p = turn(place);
    for (size_t i = 0; i < 3; ++i) place[i] = static_cast<float>((p[i] - middle[i]) / radius);
  }
  for (auto& normal : mesh.normals) {
    const auto p = turn(normal);
    for (size_t i = 0; i < 3; ++i) normal[i] = static_cast<float>(p[i]);
  }
}

}  // namespace lact::views
