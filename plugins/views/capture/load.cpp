#include "capture.hpp"

#include <plugins/common/media/image.hpp>
#include <plugins/common/media/video.hpp>

#include <lact/cli/run.hpp>
#include <lact/log.hpp>

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

namespace lact::views {
namespace {

namespace fs = std::filesystem;

/// Shares of a mask come near to white, and shades are many; numbers of objects are few.
constexpr int kWhite = 240;
constexpr size_t kLabels = 64;
/// What JPEG may make of black, in a mask of colours.
constexpr int kBlack = 15;
/// Beyond it the channels of a pixel differ by more than what JPEG makes of grey.
constexpr int kColour = 32;

/// Masks of segmentation programs are 0 and 1, numbers of objects, or a colour for each: all but
/// black is kept, as COLMAP and nerfstudio do. Shades of grey are shares, and stay, unless `all`
/// that is not 0 shall be kept.
void spread_labels(media::Image& mask, bool all) {
  const auto channels = static_cast<size_t>(mask.channels);
  int brightest = 0, colour = 0;
  std::array<bool, 256> seen{};
  for (size_t i = 0; i < mask.pixels.size(); i += channels) {
    const auto [low, high] = std::minmax({mask.pixels[i], mask.pixels[i + 1], mask.pixels[i + 2]});
    seen[high] = true;
    brightest = std::max<int>(brightest, high);
    colour = std::max(colour, high - low);
  }
  const auto values = static_cast<size_t>(std::count(seen.begin(), seen.end(), true));
  const bool labels = all || (colour <= kColour && brightest < kWhite && values <= kLabels);
  if (!labels && colour <= kColour) return;
  const int black = labels || brightest <= kBlack ? 0 : kBlack;
  for (size_t i = 0; i < mask.pixels.size(); i += channels) {
    const int high = std::max({mask.pixels[i], mask.pixels[i + 1], mask.pixels[i + 2]});
    std::fill_n(mask.pixels.begin() + static_cast<int64_t>(i), 3,
                static_cast<uint8_t>(high > black ? 255 : 0));
  }
}

/// What the image itself has transparent stays so.
media::Image with_alpha(const media::Image& image, const media::Image& mask) {
  media::Image result(image.width, image.height, 4);
  const auto pixels = static_cast<size_t>(image.width * image.height);
  for (size_t i = 0; i < pixels; ++i) {
    const auto* from = image.pixels.data() + i * static_cast<size_t>(image.channels);
    const auto* grey = mask.pixels.data() + i * static_cast<size_t>(mask.channels);
    auto* to = result.pixels.data() + i * 4;
    std::copy(from, from + 3, to);
    const int kept = (grey[0] + grey[1] + grey[2] + 1) / 3,
              own = image.channels == 4 ? from[3] : 255;
    to[3] = static_cast<uint8_t>((kept * own + 127) / 255);
  }
  return result;
}

/// `named`: by the camera file, as nerfstudio does.
void put_mask(media::Image& image, const fs::path& file, bool named) {
  auto mask = media::over(media::read_mask(file), {0, 0, 0});
  spread_labels(mask, named);
  if (mask.width != image.width || mask.height != image.height) {
    // Masks are often smaller; of another form they are not of this image.
    if (std::abs(mask.width * image.height - mask.height * image.width) >
        std::max(image.width, image.height))
      throw Error(Exit::data, file.string(), ": a mask of ", mask.width, " x ", mask.height,
                  " for an image of ", image.width, " x ", image.height);
    mask = media::resize(mask, image.width, image.height);
  }
  image = with_alpha(image, mask);
}

/// One view on its way.
struct View {
  const Shot* shot = nullptr;
  media::Image image;  // a frame of the film at first, then what is wanted
  Camera camera;
  Exit code = Exit::data;
  std::string fault;
};

/// Poses are those of the pixels as they are stored: neither COLMAP nor nerfstudio turns them.
void prepare(View& view, const Preparation& how) {
  const auto& shot = *view.shot;
  if (!shot.image.empty()) view.image = media::read_stored_image(shot.image);
  if (!shot.mask.empty()) put_mask(view.image, shot.mask, how.masks.empty());
  auto camera = pinhole(shot.lens, view.image.width, view.image.height);
  undistort(shot.lens, view.image, camera);
  auto covered = media::cover(view.image, how.width, how.height);
  view.image = media::over(covered.image, how.background);
  const auto left = static_cast<double>(covered.left), top = static_cast<double>(covered.top);
  view.camera = {camera.fx * covered.scale, camera.fy * covered.scale,
                 camera.cx * covered.scale - left, camera.cy * covered.scale - top, shot.c2w};
}

/// Frames of a film in rising order, as the programs see them that find poses: cut, not shown.
class Film {
 public:
  explicit Film(const fs::path& file) : name_(file.string()) {
    try {
      reader_ = std::make_unique<media::VideoReader>(file, cli::stop_requested, media::Pixels::cut);
    } catch (const Error&) {
      if (cli::stop_requested()) throw cli::Interrupted();  // of a pipe only the begin has come
      throw;
    }
  }

  media::Image frame(int64_t number) {
    while (at_ < number) {
      auto next = reader_->next();
      if (cli::stop_requested()) throw cli::Interrupted();
      if (!next) throw Error(Exit::data, name_, " has only ", at_ + 1, " frames");
      last_ = std::move(*next);
      if (++at_ > 0) continue;
      if (const auto range = reader_->high_dynamic_range(); !range.empty())
        log::warning(name_, ": is an HDR film (", range,
                     "), whose colours are read as they are stored, pale; convert it to BT.709");
    }
    return last_;
  }

 private:
  std::string name_;
  std::unique_ptr<media::VideoReader> reader_;
  media::Image last_;
  int64_t at_ = -1;
};

}  // namespace

void load(const Capture& capture, const Preparation& how, Faults& faults,
          const std::function<void(const Shot&, const Camera&, media::Image&&)>& take) {
  std::optional<Film> film;
  if (!how.video.empty()) film.emplace(how.video);
  const auto batch = static_cast<size_t>(2 * at::get_num_threads());
  for (size_t begin = 0; begin < capture.shots.size(); begin += batch) {
    if (cli::stop_requested()) throw cli::Interrupted();
    std::vector<View> views(std::min(batch, capture.shots.size() - begin));
    const auto guarded = [&](View& view, const auto& work) {
      try {
        if (view.fault.empty()) work();
      } catch (const Error& error) {
        view.code = error.code();
        view.fault = error.what();
      }
    };
    for (size_t i = 0; i < views.size(); ++i) {
      auto& view = views[i];
      view.shot = &capture.shots[begin + i];
      if (film) guarded(view, [&] { view.image = film->frame(view.shot->frame); });
    }
    at::parallel_for(0, static_cast<int64_t>(views.size()), 1, [&](int64_t first, int64_t end) {
      for (auto i = first; i < end; ++i) {
        auto& view = views[static_cast<size_t>(i)];
        guarded(view, [&] { prepare(view, how); });
      }
    });
    for (auto& view : views) {
      if (view.fault.empty())
        take(*view.shot, view.camera, std::move(view.image));
      else
        faults.add(view.code, where_of(capture, *view.shot) + view.fault);
    }
  }
}

Scene read_scene(const fs::path& where, const Preparation& how, Skipped& skipped) {
  Faults faults(how.strict, skipped);
  const auto before = skipped.lines.size();
  const auto capture = list_capture(where, how, faults);
  for (const auto& note : capture.notes) log::warning(note);
  Scene scene;
  scene.name = capture.name;
  scene.world = capture.world;
  load(capture, how, faults, [&](const Shot& shot, const Camera& camera, media::Image&& image) {
    scene.files.push_back(shot.file);
    scene.cameras.push_back(camera);
    if (shot.held) scene.held.push_back(static_cast<int64_t>(scene.images.size()));
    scene.images.push_back(std::move(image));
  });
  if (scene.images.empty())
    throw Error(Exit::data, capture.file.string(),
                ": none of its views can be used; the first: ", skipped.lines.at(before));
  return scene;
}

}  // namespace lact::views
