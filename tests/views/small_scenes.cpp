#include "small_scenes.hpp"

#include <plugins/views/scene/packed_writer.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/random.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace lact::test {

using namespace lact::views;

namespace {

/// The picture of a ball of radius 0.6: brighter where its normal looks up.
media::Image picture(const Camera& camera, const Vector& middle, const Vector& colour,
                     int64_t size) {
  media::Image image(size, size);
  const auto eye = camera.position();
  for (int64_t y = 0; y < size; ++y)
    for (int64_t x = 0; x < size; ++x) {
      const double u = (static_cast<double>(x) + 0.5 - camera.cx) / camera.fx;
      const double v = (static_cast<double>(y) + 0.5 - camera.cy) / camera.fy;
      Vector ray{};
      for (int r = 0; r < 3; ++r)
        ray[static_cast<size_t>(r)] =
            camera.c2w(r, 0) * u + camera.c2w(r, 1) * v + camera.c2w(r, 2);
      ray = unit(ray);
      const Vector to{middle[0] - eye[0], middle[1] - eye[1], middle[2] - eye[2]};
      const double along = dot(to, ray), off = dot(to, to) - along * along, r2 = 0.36;
      for (size_t c = 0; c < 3; ++c) {
        double value = 1;  // white background
        if (off < r2) {
          const double reach = along - std::sqrt(r2 - off);
          const double up = (eye[2] + reach * ray[2] - middle[2]) / 0.6;
          value = colour[c] * (0.6 + 0.4 * up);
        }
        image.at(x, y)[c] = static_cast<uint8_t>(255 * std::clamp(value, 0.0, 1.0));
      }
    }
  return image;
}

}  // namespace

Scene small_scene(int seed, int64_t views, int64_t size) {
  Random random(static_cast<uint64_t>(seed));
  const Vector middle{0.4 * random.uniform() - 0.2, 0.4 * random.uniform() - 0.2, 0};
  const Vector colour{random.uniform(), random.uniform(), random.uniform()};
  Scene scene;
  scene.name = concat("ball-", seed);
  for (int64_t i = 0; i < views; ++i) {
    const double a = 6.283 * random.uniform(), e = 0.9 * random.uniform();
    const auto f = static_cast<double>(size);
    scene.cameras.push_back({f, f, f / 2, f / 2,
                             look_at({2.7 * std::cos(e) * std::cos(a),
                                      2.7 * std::cos(e) * std::sin(a), 2.7 * std::sin(e)},
                                     {0, 0, 0})});
    scene.images.push_back(picture(scene.cameras.back(), middle, colour, size));
    scene.files.push_back(concat("images/", i, ".png"));
  }
  return scene;
}

void write_scene(const Scene& scene, const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder / "images");
  for (size_t i = 0; i < scene.images.size(); ++i)
    media::write_image(folder / scene.files[i], scene.images[i]);
  const auto& first = scene.images.at(0);
  io::write_text(folder / "opencv_cameras.json",
                 cameras_json(scene.cameras, scene.files, first.width, first.height).dump());
}

void write_packed(const std::filesystem::path& folder, int train, int validation, int64_t views,
                  int64_t size) {
  std::filesystem::create_directories(folder);
  int seed = 0;
  for (const auto& [split, count] :
       {std::pair{"train", train}, std::pair{"validation", validation}}) {
    if (count == 0) continue;
    SceneWriter writer(folder, split, size, size,
                       std::vector<int64_t>(static_cast<size_t>(count), views));
    for (int i = 0; i < count; ++i) {
      const auto scene = small_scene(++seed, views, size);
      writer.begin_scene(scene.name);
      for (size_t v = 0; v < scene.images.size(); ++v)
        writer.add(scene.files[v], scene.cameras[v], scene.images[v]);
    }
    writer.seal();
    writer.commit();
  }
}

}  // namespace lact::test
