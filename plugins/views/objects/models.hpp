#pragma once
// Which models there are, and what they are called.

#include "mesh.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lact::views::objects {

/// What a furniture library of Sweet Home 3D says of a model.
struct CatalogEntry {
  std::string name;  ///< as its users read it, in Latin-1
  Rotation rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
};
/// By the path of the OBJ, relative to the folder of the catalogue.
using Catalog = std::unordered_map<std::string, CatalogEntry>;
/// The text of a PluginFurnitureCatalog.properties. What it does not understand it passes over.
Catalog parse_catalog(std::string_view text);

struct Model {
  std::filesystem::path file;
  std::string name;  ///< of its folder in the output; no two are alike
  Rotation rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
};

/// OBJ files, and all below folders, ordered by path. A model is called NAME.FILE where a catalogue
/// above it has a name ("chair.designChair"), else by its path below the folder that was given.
/// Errors   66 for what does not exist, 64 if nothing is an OBJ file
std::vector<Model> find_models(const std::vector<std::string>& where);

/// Letters, digits, and - in place of all else; letters of Latin-1 lose their accents if `latin1`,
/// other bytes stay.
std::string plain_name(std::string_view text, bool latin1 = false);

}  // namespace lact::views::objects
