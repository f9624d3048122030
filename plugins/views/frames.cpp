#include "frames.hpp"

#include <plugins/common/media/sheet.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using at::Tensor;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

Tensor stacked(const std::vector<media::Image>& images, const std::vector<int64_t>& which) {
  const auto& first = images.at(0);
  const auto out =
      at::empty({static_cast<int64_t>(which.size()), first.height, first.width, 3}, at::kByte);
  auto* to = out.data_ptr<uint8_t>();
  for (const int64_t place : which) {
    const auto& image = images.at(static_cast<size_t>(place));
    if (image.width != first.width || image.height != first.height || image.channels != 3)
      throw Error(Exit::internal, "images of different sizes in one scene");
    std::memcpy(to, image.pixels.data(), image.pixels.size());
    to += image.pixels.size();
  }
  return out.movedim(-1, 1);
}

media::Image image_of(const Tensor& tensor) {
  const auto bytes =
      tensor.scalar_type() == at::kByte ? tensor : tensor.mul(255).clamp(0, 255).to(at::kByte);
  const auto rows = bytes.to(at::kCPU).movedim(0, -1).contiguous();
  media::Image image(rows.size(1), rows.size(0));
  std::memcpy(image.pixels.data(), rows.data_ptr<uint8_t>(), image.pixels.size());
  return image;
}

FrameSink::Kind FrameSink::kind_of(const std::string& output) {
  const auto suffix = lower(fs::path(output).extension().string());
  if (output == "-" || suffix == ".mp4" || suffix == ".webm") return Kind::film;
  if (suffix.empty() || fs::is_directory(output)) return Kind::folder;
  if (suffix == ".png" || suffix == ".jpg" || suffix == ".jpeg" || suffix == ".webp")
    return Kind::image;
  throw Error(Exit::usage, "--output ", output, ": expected a folder, .png, .jpg, .webp, .mp4, ",
              ".webm, or - for raw frames");
}

FrameSink::FrameSink(const std::string& output, double rate, int64_t frames)
    : kind_(kind_of(output)),
      output_(output),
      rate_(rate),
      digits_(std::max(3, static_cast<int>(std::to_string(frames - 1).size()))) {
  if (kind_ != Kind::folder) return;
  std::error_code error;
  fs::create_directories(output, error);
  if (error) throw Error(Exit::cannot_create, output, ": ", error.message());
}

FrameSink::~FrameSink() = default;

void FrameSink::add(const media::Image& frame) {
  if (kind_ == Kind::folder) {
    char name[32];
    std::snprintf(name, sizeof name, "%0*lld.png", digits_, static_cast<long long>(count_));
    media::write_image(fs::path(output_) / name, frame);
  } else if (kind_ == Kind::image) {
    sheet_.push_back(frame);
  } else {
    if (!film_)
      film_ = std::make_unique<media::VideoWriter>(output_, frame.width, frame.height, rate_);
    film_->add(frame);
  }
  ++count_;
}

void FrameSink::finish() {
  if (film_) film_->finish();
  if (sheet_.empty()) return;
  media::write_image(output_, sheet_.size() == 1 ? sheet_[0] : gallery(sheet_, 8));
}

media::Image gallery(const std::vector<media::Image>& frames, int64_t columns) {
  const auto count = static_cast<int64_t>(frames.size());
  std::vector<media::SheetRow> rows;
  for (int64_t first = 0; first < count; first += columns) {
    const int64_t end = std::min(first + columns, count);
    rows.push_back({concat(first, end - first > 1 ? concat(" - ", end - 1) : ""),
                    {frames.begin() + first, frames.begin() + end}});
  }
  return media::contact_sheet(rows);
}

}  // namespace lact::views
