#include "made_clips.hpp"

#include <plugins/common/media/image.hpp>

#include <lact/error.hpp>
#include <lact/random.hpp>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// Moves digit `from`, in front of black, to x, y of a grey frame.
void draw(const Digit& from, int64_t size, uint8_t* frame, int64_t width, int64_t x, int64_t y,
          bool add) {
  for (int64_t row = 0; row < size; ++row) {
    auto* to = frame + (y + row) * width + x;
    const auto* ink = from.pixels.data() + row * size;
    for (int64_t i = 0; i < size; ++i) {
      const int both = add ? to[i] + ink[i] : std::max(to[i], ink[i]);
      to[i] = static_cast<uint8_t>(std::min(both, 255));
    }
  }
}

}  // namespace

DigitImages resized(const DigitImages& digits, int64_t size) {
  if (size == digits.size) return digits;
  DigitImages all{size, {}};
  media::Image image(digits.size, digits.size);
  for (const auto& digit : digits.digits) {
    for (size_t i = 0; i < digit.pixels.size(); ++i)
      std::fill_n(&image.pixels[3 * i], 3, digit.pixels[i]);
    const auto small = media::resize(image, size, size);
    Digit one{digit.label, {}};
    for (size_t i = 0; i < small.pixels.size(); i += 3) one.pixels.push_back(small.pixels[i]);
    all.digits.push_back(std::move(one));
  }
  return all;
}

double bounced(double place, double span) {
  if (span <= 0) return 0;
  const double folded = std::fmod(std::abs(place), 2 * span);
  return folded <= span ? folded : 2 * span - folded;
}

std::string digits_caption(std::vector<int64_t> labels) {
  std::sort(labels.begin(), labels.end());
  std::string text;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (i > 0) text += i + 1 == labels.size() ? " and " : ", ";
    text += concat(labels[i] == 8 ? "an " : "a ", labels[i]);
  }
  return text;
}

MovingDigits::MovingDigits(DigitImages pictures, DigitSettings settings)
    : pictures_(std::move(pictures)), settings_(std::move(settings)) {
  if (pictures_.size > std::min(settings_.width, settings_.height))
    throw Error(Exit::usage, "digits of ", pictures_.size, " pixels do not fit into frames of ",
                settings_.width, " x ", settings_.height);
}

MadeClip MovingDigits::make(uint64_t seed, uint64_t purpose, int64_t number) const {
  const auto& how = settings_;
  auto random = random_stream(seed, purpose, number);
  const auto all = static_cast<int64_t>(pictures_.digits.size());
  const auto free_x = static_cast<double>(how.width - pictures_.size),
             free_y = static_cast<double>(how.height - pictures_.size);
  std::vector<uint8_t> grey(static_cast<size_t>(how.frames * how.height * how.width));
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < how.digits; ++i) {
    const auto& digit = pictures_.digits[static_cast<size_t>(random.below(all))];
    labels.push_back(digit.label);
    const auto place = [&](double free) {
      if (how.grid == 0) return random.uniform() * free;
      return static_cast<double>(how.grid *
                                 random.below(static_cast<int64_t>(free) / how.grid + 1));
    };
    const double x = place(free_x), y = place(free_y), angle = random.uniform() * 2 * kPi,
                 speed = how.speeds[static_cast<size_t>(
                     random.below(static_cast<int64_t>(how.speeds.size())))];
    for (int64_t t = 0; t < how.frames; ++t) {
      const bool hidden = t >= how.hide_from && t <= how.hide_to;
      if (hidden || (how.alternate > 0 && t / how.alternate % how.digits != i)) continue;
      const double way = speed * static_cast<double>(t);
      draw(digit, pictures_.size, grey.data() + t * how.height * how.width, how.width,
           std::llround(bounced(x + way * std::cos(angle), free_x)),
           std::llround(bounced(y + way * std::sin(angle), free_y)), how.add);
    }
  }
  MadeClip clip;
  clip.info.caption = digits_caption(labels);
  std::sort(labels.begin(), labels.end());
  for (const auto label : labels)
    clip.info.label += concat(clip.info.label.empty() ? "" : "+", label);
  clip.frames = at::empty({how.frames, how.height, how.width, 3}, at::TensorOptions(at::kByte));
  auto* to = clip.frames.mutable_data_ptr<uint8_t>();
  for (const auto value : grey) to = std::fill_n(to, 3, value);
  return clip;
}

MadeClip make_pan(const PanSettings& how, uint64_t seed, uint64_t purpose, int64_t number) {
  auto random = random_stream(seed, purpose, number);
  const int64_t texture = how.size + how.step * how.way;
  const int64_t wide = (texture + how.block - 1) / how.block,
                high = (how.size + how.block - 1) / how.block;
  std::vector<uint8_t> blocks(static_cast<size_t>(wide * high * 3));
  for (auto& value : blocks) value = static_cast<uint8_t>(random.below(256));
  MadeClip clip;
  clip.frames = at::empty({how.frames, how.size, how.size, 3}, at::TensorOptions(at::kByte));
  auto* to = clip.frames.mutable_data_ptr<uint8_t>();
  for (int64_t t = 0; t < how.frames; ++t) {
    const int64_t round = t % (2 * how.way),
                  offset = how.step * (round <= how.way ? round : 2 * how.way - round);
    for (int64_t y = 0; y < how.size; ++y)
      for (int64_t x = 0; x < how.size; ++x)
        to = std::copy_n(
            &blocks[static_cast<size_t>((y / how.block * wide + (x + offset) / how.block) * 3)], 3,
            to);
  }
  return clip;
}

}  // namespace lact::video
