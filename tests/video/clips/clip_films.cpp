#include "clip_films.hpp"

#include <plugins/common/media/video.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>

#include <algorithm>
#include <cmath>

namespace lact::test {
namespace {

/// Waves that differ in direction, length and mean from scene to scene.
double brightness(int scene, double x, double y) {
  const double a = 0.7 + 2.1 * scene, u = std::cos(a) * x + std::sin(a) * y,
               v = std::cos(2.3 * a) * x - std::sin(2.3 * a) * y;
  return 90 + 35 * (scene % 3) + 45 * std::sin(0.35 * u + scene) +
         35 * std::sin(0.21 * v + 3 * scene);
}

std::string number(uint32_t value, int bytes = 4) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
  return text;
}

std::string box(const std::string& name, const std::string& content) {
  return name + number(static_cast<uint32_t>(content.size())) + content +
         std::string(content.size() % 2, '\0');
}

}  // namespace

void write_numbers(const std::filesystem::path& film, int frames, double rate, int64_t width,
                   int64_t height) {
  media::VideoWriter writer(film, width, height, rate);
  media::Image image(width, height);
  for (int i = 0; i < frames; ++i) {
    std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(20 + 6 * i));
    writer.add(image);
  }
  writer.finish();
}

int number_of(const at::Tensor& frame) {
  return static_cast<int>(std::lround((frame.to(at::kFloat).mean().item<double>() - 20) / 6));
}

void write_shots(const std::filesystem::path& film, const std::vector<int>& frames, double rate) {
  media::VideoWriter writer(film, 64, 48, rate);
  media::Image image(64, 48);
  for (size_t scene = 0; scene < frames.size(); ++scene)
    for (int t = 0; t < frames[scene]; ++t) {
      for (int64_t y = 0; y < 48; ++y)
        for (int64_t x = 0; x < 64; ++x)
          std::fill_n(image.at(x, y), 3,
                      static_cast<uint8_t>(brightness(static_cast<int>(scene),
                                                      static_cast<double>(x) / 2 - t / 2.0,
                                                      static_cast<double>(y) / 1.5)));
      writer.add(image);
    }
  writer.finish();
}

std::vector<uint8_t> small_scene(int scene, double x, double light) {
  std::vector<uint8_t> frame;
  for (int row = 0; row < 32; ++row)
    for (int column = 0; column < 32; ++column)
      frame.push_back(static_cast<uint8_t>(light * brightness(scene, column - x, row)));
  return frame;
}

std::string sound_only() {
  const std::string samples(8000, '\x40');
  const auto head = number(125000) + number(8000) + number(0) + number(0) + number(1) + number(0) +
                    number(1) + number(8000) + number(0) + number(0) + std::string(16, '\0');
  const auto stream = std::string("auds") + number(0) + number(0) + number(0) + number(0) +
                      number(1) + number(8000) + number(0) + number(8000) + number(8000) +
                      number(0) + number(1) + number(0) + number(0);
  const auto form =
      number(1, 2) + number(1, 2) + number(8000) + number(8000) + number(1, 2) + number(8, 2);
  const auto list = [](const std::string& type, const std::string& content) {
    return box("LIST", type + content);
  };
  return box("RIFF", "AVI " +
                         list("hdrl", box("avih", head) +
                                          list("strl", box("strh", stream) + box("strf", form))) +
                         list("movi", box("00wb", samples)));
}

}  // namespace lact::test
