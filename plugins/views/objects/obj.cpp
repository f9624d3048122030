// OBJ and MTL, through tinyobjloader.

#include "mesh.hpp"
#include "polygon.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <tiny_obj_loader.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <stdexcept>

namespace lact::views::objects {
namespace {

std::string first_line(const std::string& text) {
  return io::printable(text.substr(0, text.find('\n')));
}

/// Without what surrounds it: names of materials are the rest of their lines.
std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

/// MTL text in which materials are called by their numbers; `names` gets what they were called. A
/// name is the rest of its line, of which some versions of the library read the first word.
std::string numbered(const std::string& text, std::vector<std::string>& names) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line); out += '\n') {
    const auto begin = line.find_first_not_of(" \t");
    const bool is = begin != std::string::npos && line.compare(begin, 6, "newmtl") == 0 &&
                    line.find_first_of(" \t\r", begin) == begin + 6;
    out += is ? concat("newmtl ", names.size()) : line;
    if (is) names.push_back(trimmed(line.substr(begin + 6)));
  }
  return out;
}

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

/// Takes what tinyobjloader finds, polygon by polygon. (Its own triangles are wrong for some
/// concave polygons, and it counts corners modulo 256.)
class Taker final : public tinyobj::MaterialReader {
 public:
  Taker(const std::string& name, const std::function<std::string(const std::string&)>& read,
        Faults& faults)
      : name_(name), read_(read), faults_(faults) {
    calls_.vertex_cb = [](void* self, float x, float y, float z, float) {
      static_cast<Taker*>(self)->mesh_.places.push_back({x, y, z});
    };
    calls_.normal_cb = [](void* self, float x, float y, float z) {
      static_cast<Taker*>(self)->mesh_.normals.push_back({x, y, z});
    };
    calls_.texcoord_cb = [](void* self, float u, float v, float) {
      static_cast<Taker*>(self)->mesh_.textured.push_back({u, v});
    };
    calls_.index_cb = [](void* self, tinyobj::index_t* corners, int count) {
      static_cast<Taker*>(self)->face(corners, static_cast<size_t>(count));
    };
    calls_.usemtl_cb = [](void* self, const char* material, int) {
      static_cast<Taker*>(self)->use(material);
    };
  }

  Mesh read(std::string_view text) {
    std::istringstream stream{std::string(text)};
    std::string warnings, errors;
    try {
      if (!tinyobj::LoadObjWithCallback(stream, calls_, this, this, &warnings, &errors))
        throw Error(Exit::data, name_, ": no OBJ file that can be read: ", first_line(errors));
    } catch (const std::out_of_range& error) {
      throw Error(Exit::data, name_, ": no OBJ file that can be read: ", first_line(error.what()));
    } catch (const std::length_error& error) {
      throw Error(Exit::data, name_, ": no OBJ file that can be read: ", first_line(error.what()));
    }
    if (mesh_.triangles.empty()) throw Error(Exit::data, name_, ": holds no face");
    if (dropped_ > 0)
      faults_.push_back(concat(name_, ": ", dropped_, dropped_ == 1 ? " face" : " faces",
                               " left out: a corner is no vertex of the file, or no number"));
    // Where an MTL file itself is missing, that was said.
    if (!unknown_.empty() && !missing_)
      faults_.push_back(
          concat(name_, ": material ", io::printable(unknown_), " is in none of its MTL files"));
    return std::move(mesh_);
  }

 private:
  bool operator()(const std::string& file, std::vector<tinyobj::material_t>* materials,
                  std::map<std::string, int>* map, std::string* warn, std::string* err) override {
    std::vector<std::string> names;
    try {
      std::istringstream text(numbered(read_(file), names));
      tinyobj::LoadMtl(map, materials, &text, warn, err);
    } catch (const Error& error) {
      missing_ = true;
      faults_.push_back(concat(name_, ": mtllib ", io::printable(file), ": ", error.what()));
      return false;
    }
    for (size_t i = mesh_.materials.size(); i < materials->size(); ++i) {
      mesh_.materials.push_back(material_of((*materials)[i]));
      const auto& number = (*materials)[i].name;  // none in a file without a material
      known_.emplace(number.empty() ? "" : names.at(std::stoul(number)), static_cast<int32_t>(i));
    }
    return true;
  }

  void use(const std::string& material) {
    const auto found = known_.find(trimmed(material));
    material_ = found == known_.end() ? -1 : found->second;
    if (material_ < 0 && unknown_.empty()) unknown_ = trimmed(material);
  }

  /// From 1, or backwards from the last one; -1 if there is no such value.
  template <class Values>
  static int32_t place(int index, const Values& values) {
    const auto size = static_cast<int64_t>(values.size());
    const int64_t at = index > 0 ? int64_t{index} - 1 : size + index;
    return index != 0 && at >= 0 && at < size ? static_cast<int32_t>(at) : -1;
  }

  void face(const tinyobj::index_t* from, size_t count) {
    std::vector<Corner> corners(count);
    std::vector<Point> places(count);
    for (size_t i = 0; i < count; ++i) {
      corners[i] = {place(from[i].vertex_index, mesh_.places),
                    place(from[i].normal_index, mesh_.normals),
                    place(from[i].texcoord_index, mesh_.textured)};
      bool good = corners[i].place >= 0;
      if (good) places[i] = mesh_.places[static_cast<size_t>(corners[i].place)];
      for (const float one : places[i]) good &= std::isfinite(one);
      if (!good) {
        ++dropped_;
        return;
      }
    }
    for (const auto& [a, b, c] : triangulate(places))
      mesh_.triangles.push_back({{corners[a], corners[b], corners[c]}, material_});
  }

  const std::string& name_;
  const std::function<std::string(const std::string&)>& read_;
  Faults& faults_;
  tinyobj::callback_t calls_;
  Mesh mesh_;
  std::map<std::string, int32_t> known_;  // materials
  int32_t material_ = -1;
  std::string unknown_;
  bool missing_ = false;
  int64_t dropped_ = 0;
};

}  // namespace

Mesh parse_obj(std::string_view text, const std::string& name,
               const std::function<std::string(const std::string&)>& read, Faults& faults) {
  return Taker(name, read, faults).read(text);
}

}  // namespace lact::views::objects
