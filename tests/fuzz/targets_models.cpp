// What the modality views reads of models and paths: OBJ with MTL, furniture catalogues,
// camera_path.json.

#include "targets.hpp"

#include <plugins/views/camera/trajectory.hpp>
#include <plugins/views/objects/models.hpp>
#include <plugins/views/objects/raster.hpp>

namespace lact::fuzz {
namespace {

using namespace views;  // NOLINT: a test

constexpr const char* kMaterials = "#mtl\n";  // what comes behind it is the MTL file

std::vector<std::string> model_seeds() {
  return {
      "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0.5\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\n"
      "g a b\no c\ns 1\nusemtl red\nf 1/1/1 2/2/1 3/3/1 4/1/1\nf -1//-1 -2//-1 -3//-1\n"
      "f 1 2 3\nl 1 2\n#mtl\nnewmtl red\nKd 1 0 0\nd 0.5\nTr 0.5\nillum 2\nmap_Kd -clamp on "
      "-s 1 2 3 a b.png\nmap_d b.png\n",
      "v 0 0 0\nv 4 0 0\nv .5 .5 0\nv 0 4 0\nv 1e-3 -2E+2 3\nf 1 2 3 4\nf 1 2 3 4 5\n",
      "v 1 2 3 1.0\r\n\tv 4 5 6\r\n v 7 8 10 0.1 0.2 0.3\r\nf 1 2 3\r\nf 1/ 2/ 3/\r\n"};
}

void model(const std::string& bytes) {
  const auto at = bytes.find(kMaterials);
  const auto obj = bytes.substr(0, at);
  const auto mtl = at == std::string::npos ? "" : bytes.substr(at);
  objects::Faults faults;
  auto mesh = objects::parse_obj(
      obj, "m.obj", [&](const std::string&) { return mtl; }, faults);
  for (const auto& fault : faults)
    if (fault.size() > 1000 || fault.find('\n') != std::string::npos)
      throw std::logic_error("the fault is no line: " + fault);
  for (const auto& material : mesh.materials) use(material.picture.data(), material.picture.size());
  objects::stand(mesh, {1, 0, 0, 0, 1, 0, 0, 0, 1}, false, "m.obj");
  objects::Renderer renderer(mesh, 8, 8, 2);
  for (const double distance : {2.7, 0.3}) {
    const Camera camera{8, 8, 4, 4, look_at({distance, 0.2 * distance, 0.1}, {0, 0, 0})};
    const auto image = renderer.draw(camera);
    use(image.pixels.data(), image.pixels.size());
  }
  if (!faults.empty()) throw Error(Exit::data, faults[0]);  // said, if not refused
}

std::vector<std::string> catalog_seeds() {
  return {
      "# Copyright\nid#1=a\nname#1=Caf\xe9 \\u00e9\\u20ac\nmodel#1=/x/chair.obj\n"
      "modelRotation#1=1 0 0 0 0 1 0 -1 0\nmodel#2=y.obj\nname#2 = B\n"};
}

void catalog(const std::string& bytes) {
  for (const auto& [path, entry] : objects::parse_catalog(bytes)) {
    use(path.data(), path.size());
    const auto name = objects::plain_name(entry.name, true);
    for (const char c : name)
      if (c == '/' || c == '\0' || static_cast<unsigned char>(c) >= 0x80)
        throw std::logic_error("no name of a folder: " + name);
    use(entry.rotation.data(), sizeof entry.rotation);
  }
}

std::vector<std::string> path_seeds() {
  return {R"({"camera_type": "perspective", "render_width": 64, "render_height": 48, "fps": 24,
"seconds": 2.5, "camera_path": [{"camera_to_world": [1,0,0,0, 0,1,0,0, 0,0,1,3, 0,0,0,1],
"fov": 50, "aspect": 1.33}]})"};
}

void path(const std::string& bytes) {
  const auto found = parse_camera_path(bytes, "p.json", nerfstudio_world());
  if (found.width < 1 || found.height < 1 || !(found.rate > 0) || found.cameras.empty())
    throw std::logic_error("a path without pictures");
  for (const auto& camera : found.cameras)
    if (!fault_of_pose(camera.c2w).empty()) throw std::logic_error("a camera without a pose");
}

std::vector<std::string> dataparser_seeds() {
  return {R"({"transform": [[0, 0, 1, -2], [1, 0, 0, 3], [0, 1, 0, 0.5]], "scale": 0.25})"};
}

void dataparser(const std::string& bytes) {
  const auto pose = placed(parse_dataparser_world(bytes, "d.json"), Matrix{});
  for (int c = 0; c < 3; ++c)
    if (!(std::abs(dot(pose.column(c), pose.column(c)) - 1) < 1e-2))
      throw std::logic_error("a world that bends");
}

}  // namespace

std::vector<Target> model_targets() {
  return {
      {"obj",
       model_seeds,
       model,
       {Exit::data},
       {"mtllib ", "usemtl ", "newmtl ", "\nf ", "\nv ", "\nvt ", "\nvn ", "map_Kd ", "map_d ",
        "//", "#mtl\n", "1e38", "nan"}},
      {"furniture-catalog", catalog_seeds, catalog, {}, {"#1=", "\\u00", "modelRotation#"}},
      {"dataparser", dataparser_seeds, dataparser, {Exit::data}, {"transform", "scale", "1e308"}},
      {"camera-path",
       path_seeds,
       path,
       {Exit::data},
       {"\"camera_to_world\"", "\"fov\"", "\"fps\"", "\"seconds\"", "1e400", "null"}}};
}

}  // namespace lact::fuzz
