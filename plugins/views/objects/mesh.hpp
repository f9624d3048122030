#pragma once
// A model as Wavefront's OBJ and MTL files hold it: triangles with colours and textures.

#include "texture.hpp"

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lact::views::objects {

using Point = std::array<float, 3>;

struct Material {
  std::array<float, 3> colour{0.8f, 0.8f, 0.8f};  ///< Kd
  float opacity = 1;                              ///< d
  std::string picture, mask;                      ///< files of map_Kd, map_d; empty: none
  bool clamp = false;                             ///< the texture is not repeated
  int texture = -1;                               ///< of Mesh::textures, once loaded; -1: none
};

struct Corner {
  int32_t place = 0;                  ///< of Mesh::places
  int32_t normal = -1, texture = -1;  ///< of Mesh::normals and ::textured; -1: none
};

struct Triangle {
  std::array<Corner, 3> corners;
  int32_t material = -1;  ///< -1: Material{}
};

struct Mesh {
  std::vector<Point> places, normals;
  std::vector<std::array<float, 2>> textured;  ///< u, v
  std::vector<Triangle> triangles;
  std::vector<Material> materials;
  std::vector<Texture> textures;
};

/// What is wrong with a model that can still be used: a line each.
using Faults = std::vector<std::string>;

/// Polygons become triangles; lines and points are left out. `read` gives the text of an MTL file
/// by its name in the OBJ, or throws lact::Error. Textures are named, not read. Indices are
/// checked. Errors   65 naming the file if it is malformed or holds no face
Mesh parse_obj(std::string_view text, const std::string& name,
               const std::function<std::string(const std::string&)>& read, Faults& faults);

/// An OBJ file with the MTL and image files it names, relative to its folder. What cannot be read
/// of those is a fault; the surfaces then have the plain colour. Errors   65, 66
Mesh read_obj(const std::filesystem::path& file, Faults& faults);

/// Row by row.
using Rotation = std::array<double, 9>;

/// Turns the model by `rotation`, then its y axis upright (world z) unless z is up already; puts
/// the middle of its bounding box into the origin and makes its farthest corner 1 away from it.
/// Errors   65 naming `name` if it has no extent
void stand(Mesh& mesh, const Rotation& rotation, bool z_up, const std::string& name);

}  // namespace lact::views::objects
