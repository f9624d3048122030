#include "frame_source.hpp"

#include <lact/cli/run.hpp>
#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

bool is_image(const fs::path& file) {
  auto suffix = file.extension().string();
  for (auto& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg" || suffix == ".webp";
}

constexpr double kLongestStill = 10;  // seconds that a frame is shown, as in packs

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

/// The run of digits at `at`, without zeros in front; `at` moves behind it.
std::string digits(const std::string& text, size_t& at) {
  while (at < text.size() && text[at] == '0') ++at;
  const size_t begin = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  return text.substr(begin, at - begin);
}

}  // namespace

bool natural_less(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto x = digits(a, i), y = digits(b, j);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  if (a.size() - i != b.size() - j) return a.size() - i < b.size() - j;
  return a < b;  // zeros in front
}

FrameSource::FrameSource(const fs::path& place, int64_t width, int64_t height, double rate)
    : width_(width), height_(height), rate_(rate) {
  std::error_code error;
  if (fs::is_directory(place, error)) {
    for (const auto& entry : fs::directory_iterator(place, error))
      if (entry.is_regular_file(error) && is_image(entry.path())) files_.push_back(entry.path());
    if (files_.empty())
      throw Error(Exit::no_input, place.string(), ": no .png, .jpg or .webp in this folder");
    std::sort(files_.begin(), files_.end(), [](const fs::path& x, const fs::path& y) {
      return natural_less(x.filename().string(), y.filename().string());
    });
  } else if (is_image(place)) {
    files_.push_back(place);
  } else {
    film_ = std::make_unique<media::VideoReader>(place, cli::stop_requested);
  }
}

bool FrameSource::is_resampled() const {
  return film_rate() > 0 && std::abs(film_rate() / rate_ - 1) > 1e-3;
}

/// To the next frame of the film. Its clock may jump; here no frame is shown too long, and time
/// goes on where it runs backwards.
bool FrameSource::advance() {
  const double before = film_->time();
  own_ = begun_ ? film_->duration() : 0;
  if (own_ <= media::kClock) own_ = film_->rate() > 0 ? 1 / film_->rate() : 1 / rate_;
  own_ = std::min(own_, kLongestStill);
  over_ = !film_->advance();
  last_ = ahead_;
  if (!over_) range_ = film_->high_dynamic_range();
  if (over_ || !begun_) return !over_;
  const double gap = film_->time() - before;
  ahead_ += gap < 0 ? own_ : std::min(gap, kLongestStill);
  return true;
}

std::optional<media::Image> FrameSource::film_frame() {
  if (!begun_ && advance()) begun_ = true;
  const double time = static_cast<double>(number_++) / rate_;
  while (!over_ && ahead_ <= time + media::kClock) advance();
  if (!begun_ || (over_ && time >= last_ + own_ - media::kClock)) return {};
  return film_->image(/*before=*/true);
}

std::optional<media::Image> FrameSource::image() {
  if (film_) return film_frame();
  if (is_still()) file_ = 0;
  if (file_ == files_.size()) return {};
  return media::read_image(files_[file_++]);
}

Tensor FrameSource::next(int64_t count) {
  std::vector<media::Image> images;
  while (static_cast<int64_t>(images.size()) < count) {
    auto one = image();
    if (!one) break;
    images.push_back(media::cover(media::over(*one), width_, height_).image);
  }
  const auto frames =
      at::empty({static_cast<int64_t>(images.size()), height_, width_, 3}, at::kByte);
  auto* out = frames.mutable_data_ptr<uint8_t>();
  for (const auto& one : images) {
    std::memcpy(out, one.pixels.data(), one.pixels.size());
    out += one.pixels.size();
  }
  return frames;
}

std::vector<media::Image> to_images(const Tensor& frames) {
  const auto rows = frames.to(at::kCPU).contiguous();
  std::vector<media::Image> images;
  const auto* from = rows.const_data_ptr<uint8_t>();
  for (int64_t i = 0; i < rows.size(0); ++i) {
    media::Image image(rows.size(2), rows.size(1));
    std::memcpy(image.pixels.data(), from, image.pixels.size());
    from += image.pixels.size();
    images.push_back(std::move(image));
  }
  return images;
}

}  // namespace lact::video
