#include "world.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace lact::views {
namespace {

using nlohmann::json;

constexpr uint64_t kMostBytes = uint64_t{1} << 20;

/// How long the first axis of a similarity is.
double scale_of(const Matrix& world) {
  const auto x = world.column(0);
  return std::sqrt(dot(x, x));
}

/// What is wrong with it; "" for a rotation with a shift and a scale.
std::string fault_of_world(Matrix world) {
  const double scale = scale_of(world);
  if (!(scale > 1e-12 && scale < 1e12)) return "not a scale and a rotation";
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) world(r, c) /= scale;
  return fault_of_pose(world);
}

/// 3 or 4 rows of 4 numbers.
Matrix rows_of(const json& value, const std::string& what) {
  const auto is_row = [](const json& row) {
    return row.is_array() && row.size() == 4 &&
           std::all_of(row.begin(), row.end(), [](const json& one) { return one.is_number(); });
  };
  if (!value.is_array() || value.size() < 3 || value.size() > 4 ||
      !std::all_of(value.begin(), value.end(), is_row))
    throw Error(Exit::data, what, ": expected 3 or 4 rows of 4 numbers");
  Matrix out;
  for (size_t r = 0; r < value.size(); ++r)
    for (size_t c = 0; c < 4; ++c) out.m[4 * r + c] = value[r][c].get<double>();
  return out;
}

/// Undoes x -> scale * (turned * x).
Matrix undone(const Matrix& turned, double scale, const std::string& what) {
  Matrix done = turned;
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 4; ++c) done(r, c) *= scale;
  if (const auto fault = fault_of_world(done); !fault.empty())
    throw Error(Exit::data, what, ": ", fault);
  return inverse(done);
}

double scale_in(const json& file, const char* key, const std::string& what) {
  const auto found = file.find(key);
  if (found == file.end()) return 1;
  if (!found->is_number()) throw Error(Exit::data, what, ": ", key, ": expected a number");
  return found->get<double>();
}

}  // namespace

Matrix opencv_axes(Matrix pose) {
  for (int r = 0; r < 3; ++r) pose(r, 1) = -pose(r, 1), pose(r, 2) = -pose(r, 2);
  return pose;
}

Matrix placed(const Matrix& world, const Matrix& pose) {
  auto out = world * pose;
  const double scale = scale_of(world);
  if (scale == 1) return out;
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) out(r, c) /= scale;
  return out;
}

Matrix nerfstudio_world() {
  return {{0, 1, 0, 0, 1, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1}};
}

Matrix undone_import(const json& file, const std::string& what) {
  const auto found = file.find("applied_transform");
  const bool none = found == file.end() || found->is_null();
  const auto scaled = file.find("applied_scale");
  const double scale =
      scaled != file.end() && scaled->is_null() ? 1 : scale_in(file, "applied_scale", what);
  if (none && scale == 1) return {};
  const auto where = what + ": applied_transform";
  return undone(none ? Matrix{} : rows_of(*found, where), scale, where);
}

Matrix parse_dataparser_world(std::string_view text, const std::string& name) {
  const auto file = io::parse_json(text, name);
  const auto found = file.is_object() ? file.find("transform") : file.end();
  if (!file.is_object() || found == file.end())
    throw Error(Exit::data, name,
                ": no dataparser_transforms.json: expected \"transform\" and "
                "\"scale\"");
  return undone(rows_of(*found, name + ": transform"), scale_in(file, "scale", name),
                name + ": transform");
}

Matrix read_dataparser_world(const std::filesystem::path& file) {
  return parse_dataparser_world(io::read_text(file, kMostBytes), file.string());
}

json world_json(const Matrix& world) {
  return world.m;
}

Matrix world_of(const json& value, const std::string& what) {
  if (value == "nerfstudio") return nerfstudio_world();
  if (value == "opencv") return {};
  const auto is_number = [](const json& one) { return one.is_number(); };
  if (!value.is_array() || value.size() != 16 ||
      !std::all_of(value.begin(), value.end(), is_number))
    throw Error(Exit::data, what, ": expected a world, 16 numbers");
  Matrix world;
  for (size_t i = 0; i < 16; ++i) world.m[i] = value[i].get<double>();
  if (const auto fault = fault_of_world(world); !fault.empty())
    throw Error(Exit::data, what, ": ", fault);
  return world;
}

}  // namespace lact::views
