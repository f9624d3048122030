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

constexpr double kLongestStill = 10;  // seconds that a frame is shown, at most
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
  /// Times before `until` are those of the frame before.
  void pick(double until) {
    std::shared_ptr<const media::Image> image;
    for (; start_ + static_cast<double>(number_) / how_.rate < until - media::kClock; ++number_) {
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
  double before = 0, usual = film.rate() > 0 ? 1 / film.rate() : 0;  // seconds of a frame
  double own = 0;  // what the file says of the one before
  const auto shown = [&] { return own > media::kClock ? own : usual; };
  for (; film.advance(); ++seen.frames) {
    if (stop()) return seen;
    const double now = film.time(), gap = now - before;
    const bool back = gap<0, still = gap> kLongestStill;
    const bool cut = detector.cut(film.luma(kShotSide));
    if (seen.frames > 0) {
      picker.pick(before + std::min(back ? shown() : gap, kLongestStill));
      seen.seconds += back ? shown() : gap;
    }
    if (!back && !still && gap > 0) usual = gap;
    if (cut) ++seen.cuts;
    if (seen.frames == 0 || cut || back || still) picker.begin(now);
    before = now;
    own = film.duration();
    if (seen.range.empty()) seen.range = film.high_dynamic_range();
  }
  seen.damaged = film.damaged();
  if (seen.frames == 0)
    throw Error(Exit::data, file == "-" ? "stdin" : file.string(),
                ": expected a film, found no frame that can be decoded");
  // However short its time, the last one is shown.
  picker.pick(before + std::clamp(shown(), 2 * media::kClock, kLongestStill));
  clipper.end_shot();
  seen.seconds += shown();
  return seen;
}

}  // namespace lact::video
