// lact-tokenize video digits and pan: sets of clips that are computed.

#include "make_set.hpp"

#include <plugins/common/media/size.hpp>
#include <plugins/video/commands.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/random.hpp>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>

namespace lact::video {
namespace {

class Digits final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add("PATH", where_,
             "pictures of digits: train-images-idx3-ubyte with train-labels-idx1-ubyte beside it "
             "(MNIST), or digits.csv (scikit-learn), gzipped or not, or a folder with either")
        .required();
    auto group = options.group("Digits");
    group.add("--size", size_, "size of the frames in pixels").value("WxH|N");
    group.add("--frames", how_.frames, "frames per clip").range(1, 1 << 16).value("N");
    group.add("--digits", how_.digits, "digits per clip").range(1, 100).value("N");
    group
        .add("--digit-size", digit_size_,
             "side of a digit in pixels; 0: 28/64 of the frame's shorter side")
        .range(0, 512)
        .value("N");
    group
        .add("--speed", speed_,
             "pixels per frame, a list to choose from (2,3.5 or 1-4+0.5) (default: a tenth of the "
             "shorter free path)")
        .value("LIST");
    group.add("--overlap", overlap_, "brightness where digits overlap: the larger one, or the sum")
        .words({"max", "add"});
    group
        .add("--hide", hide_,
             "frames in which nothing is drawn, counted from 0, the last included: longer than a "
             "model's window they test its memory")
        .value("FROM-TO");
    group
        .add("--alternate", how_.alternate,
             "show the digits in turn, each for this many frames; 0: all at once")
        .range(0, 1 << 16)
        .value("N");
    group.add("--grid", how_.grid, "pixels that first places are multiples of; 0: any place")
        .range(0, 512)
        .value("N");
    set_.declare(options.group("Output"));
  }

  void run(cli::Context& context) override {
    parse_hide();
    std::tie(how_.width, how_.height) = media::parse_size(size_, "--size");
    const auto side = std::min(how_.width, how_.height);
    const auto digit = digit_size_ > 0 ? digit_size_ : std::max<int64_t>((side * 28 + 32) / 64, 1);
    how_.add = overlap_ == "add";
    how_.speeds = speed_.empty() ? std::vector<double>{0.1 * static_cast<double>(side - digit)}
                                 : cli::parse_reals(speed_, "--speed");
    for (const double speed : how_.speeds)
      if (!(speed >= 0 && speed <= 1e4))
        throw Error(Exit::usage, "--speed ", speed_, ": expected speeds from 0 to 10000");
    const auto seed = context.seed.value_or(kDefaultSeed);
    const auto all = resized(read_digits(where_), digit);
    // Pictures that validation shows are never seen in training.
    const bool split = set_.validation > 0;
    const auto parts = split ? split_digits(all, seed) : std::make_pair(all, all);
    const MovingDigits train(parts.first, how_), validation(parts.second, how_);
    make_set(
        set_, how_.width, how_.height,
        [&](uint64_t purpose, int64_t number) { return train.make(seed, purpose, number); },
        [&](uint64_t purpose, int64_t number) { return validation.make(seed, purpose, number); },
        context);
  }

 private:
  void parse_hide() {
    if (hide_.empty()) return;
    char rest = 0;
    const int found = std::sscanf(hide_.c_str(), "%" SCNd64 "-%" SCNd64 "%c", &how_.hide_from,
                                  &how_.hide_to, &rest);
    if (found != 2 || how_.hide_from < 0 || how_.hide_to < how_.hide_from ||
        how_.hide_to >= how_.frames)
      throw Error(Exit::usage, "--hide ", hide_, ": expected two frames of 0 to ", how_.frames - 1,
                  ", as in 2-5");
  }

  std::string where_, size_ = "64", speed_, overlap_ = "max", hide_;
  int64_t digit_size_ = 0;
  DigitSettings how_;
  MadeSetOptions set_;
};

class Pan final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    auto group = options.group("Texture and path");
    group.add("--size", size_, "size of the frames in pixels; they are square").value("WxH|N");
    group.add("--block", how_.block, "side of a block of one colour in pixels").range(1, 1 << 12);
    group.add("--frames", how_.frames, "frames per clip").range(1, 1 << 12);
    group.add("--step", how_.step, "pixels that the camera moves per frame").range(1, 1 << 12);
    group.add("--way", way_, "steps before the camera returns; 0: half of the frames")
        .range(0, 1 << 12);
    set_.declare(options.group("Output"));
  }

  void run(cli::Context& context) override {
    const auto [width, height] = media::parse_size(size_, "--size");
    if (width != height) throw Error(Exit::usage, "--size ", size_, ": frames of a pan are square");
    how_.size = width;
    how_.way = way_ > 0 ? way_ : std::max<int64_t>(how_.frames / 2, 1);
    const auto seed = context.seed.value_or(kDefaultSeed);
    const auto make = [&](uint64_t purpose, int64_t number) {
      return make_pan(how_, seed, purpose, number);
    };
    make_set(set_, how_.size, how_.size, make, make, context);
  }

 private:
  std::string size_ = "16";
  int64_t way_ = 0;
  PanSettings how_;
  MadeSetOptions set_;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_digits() {
  return std::make_unique<Digits>();
}

std::unique_ptr<plugin::Command> tokenize_pan() {
  return std::make_unique<Pan>();
}

}  // namespace lact::video
