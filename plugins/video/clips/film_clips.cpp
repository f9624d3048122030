#include "film_clips.hpp"

#include <plugins/common/media/video.hpp>

#include <lact/error.hpp>

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

namespace lact::video {
namespace {

constexpr double kLongestStill = 10;  // seconds that a frame is shown
constexpr double kTie = 1e-6;         // seconds: half-way between two frames is the first one's
constexpr double kShown = 0.9;        // of a frame's time: clocks of milliseconds do not add one
constexpr size_t kPieceFrames = 16;   // of whole shots

/// Frames at the clip's rate become clips.
class Clipper {
 public:
  Clipper(const CutSettings& how, const std::function<void(ClipPiece&&)>& take, FilmSeen& seen)
      : how_(how), take_(take), seen_(seen), stride_(how.stride > 0 ? how.stride : how.frames) {}

  void begin_shot(double start) {
    end_shot();
    start_ = start;
  }
  /// The same frame may come again.
  void add(std::shared_ptr<const media::Image> frame) {
    kept_.push_back(std::move(frame));
    if (how_.frames > 0) return add_fixed();
    if (!begun_ && static_cast<int64_t>(kept_.size()) < how_.at_least) return;
    if (kept_.size() >= kPieceFrames) hand_over(kept_.size());
  }
  void end_shot() {
    const bool enough = begun_ || static_cast<int64_t>(kept_.size()) >= how_.at_least;
    if (how_.frames == 0 && enough && !kept_.empty()) hand_over(kept_.size());
    kept_.clear();
    first_ = skip_ = 0;
    begun_ = false;
  }

 private:
  void add_fixed() {
    if (skip_ > 0) {  // between clips that are further apart than they are long
      kept_.clear();
      --skip_;
      ++first_;
      return;
    }
    if (static_cast<int64_t>(kept_.size()) < how_.frames) return;
    begun_ = false;
    hand_over(kept_.size());
    const auto drop = std::min(stride_, how_.frames);
    kept_.erase(kept_.begin(), kept_.begin() + drop);
    first_ += drop;
    skip_ = stride_ - drop;
  }

  void hand_over(size_t count) {
    ClipPiece piece;
    piece.first = !begun_;
    piece.start = start_ + static_cast<double>(first_) / how_.rate;
    piece.frames = at::empty({static_cast<int64_t>(count), how_.height, how_.width, 3},
                             at::TensorOptions(at::kByte));
    auto* to = piece.frames.mutable_data_ptr<uint8_t>();
    for (size_t i = 0; i < count; ++i) {
      const auto& pixels = kept_[i]->pixels;
      std::memcpy(to, pixels.data(), pixels.size());
      to += pixels.size();
    }
    seen_.clips += piece.first;
    begun_ = true;
    if (how_.frames == 0) kept_.clear();
    take_(std::move(piece));
  }

  const CutSettings& how_;
  const std::function<void(ClipPiece&&)>& take_;
  FilmSeen& seen_;
  int64_t stride_;
  std::deque<std::shared_ptr<const media::Image>> kept_;
  double start_ = 0;              // of the shot
  int64_t first_ = 0, skip_ = 0;  // first_: number of kept_[0] in the shot
  bool begun_ = false;            // a piece of this clip was handed over
};

/// Goes through a film frame by frame, with the one before, and picks by time.
class Picker {
 public:
  Picker(media::VideoReader& film, const CutSettings& how, Clipper& clipper)
      : film_(film), how_(how), clipper_(clipper) {}

  /// A shot begins with the frame at hand.
  void begin(double time) {
    start_ = time;
    number_ = 0;
    clipper_.begin_shot(time);
  }
  /// Times up to `until` are those of the frame before.
  void pick(double until) {
    std::shared_ptr<const media::Image> image;
    for (; start_ + static_cast<double>(number_) / how_.rate <= until + kTie; ++number_) {
      if (!image)
        image = std::make_shared<const media::Image>(
            media::cover(film_.image(/*before=*/true), how_.width, how_.height).image);
      clipper_.add(image);
    }
  }

 private:
  media::VideoReader& film_;
  const CutSettings& how_;
  Clipper& clipper_;
  double start_ = 0;
  int64_t number_ = 0;  // of the next frame of the shot
};

}  // namespace

FilmSeen cut_film(const std::filesystem::path& file, const CutSettings& how,
                  const std::function<void(ClipPiece&&)>& take, bool (*wait_stop)(),
                  const std::function<bool()>& stop) {
  media::VideoReader film(file, wait_stop);
  FilmSeen seen;
  Clipper clipper(how, take, seen);
  Picker picker(film, how, clipper);
  ShotDetector detector(how.threshold);
  double before = 0, shown = film.rate() > 0 ? 1 / film.rate() : 0;  // seconds of the last frame
  while (film.advance()) {
    if (stop()) return seen;
    const double now = film.time(), gap = now - before;
    const bool broken = gap > kLongestStill || gap < 0;
    const bool cut = detector.cut(film.luma(kShotSide));
    if (!broken && gap > 0) shown = gap;
    if (seen.frames > 0)  // to the end of the shot, or half-way to the frame at hand
      picker.pick(before + (cut || broken ? kShown * shown : gap / 2));
    seen.seconds += seen.frames > 0 && !broken ? gap : 0;
    if (cut) ++seen.cuts;
    if (seen.frames == 0 || cut || broken) picker.begin(now);
    before = now;
    ++seen.frames;
  }
  seen.damaged = film.damaged();
  if (seen.frames == 0)
    throw Error(Exit::data, file == "-" ? "stdin" : file.string(),
                ": expected a film, found no frame that can be decoded");
  picker.pick(before + kShown * shown);  // the last one, as long as others
  clipper.end_shot();
  seen.seconds += shown;
  return seen;
}

}  // namespace lact::video
