// lact-tokenize video digits and pan: sets of clips that are computed.

#include "make_set.hpp"

#include <plugins/common/media/size.hpp>
#include <plugins/video/commands.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

constexpr uint64_t kSeed = 42;

class Digits final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    const char* group = "Digits";
    app.add_option(
           "PATH", where_,
           "pictures of digits: train-images-idx3-ubyte with train-labels-idx1-ubyte beside "
           "it (MNIST), digits.csv (scikit-learn), compressed by gzip or not, or their "
           "folder")
        ->required();
    app.add_option("--size", size_, "pixels of the frames, N for squares")
        ->type_name("WxH")
        ->capture_default_str()
        ->group(group);
    app.add_option("--frames", how_.frames, "frames of a clip")
        ->type_name("N")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
        ->capture_default_str()
        ->group(group);
    app.add_option("--digits", how_.digits, "digits in a clip")
        ->type_name("N")
        ->check(CLI::Range(int64_t{1}, int64_t{100}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--digit-size", digit_size_,
                   "pixels of a digit's side; 0: 28 of 64 of the frame's shorter side")
        ->type_name("N")
        ->check(CLI::Range(int64_t{0}, int64_t{512}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--speed", speed_,
                   "pixels per frame, a list to choose from (2,3.5 or 1-4+0.5); without it a tenth "
                   "of the shorter way that is free")
        ->type_name("LIST")
        ->group(group);
    app.add_option("--overlap", overlap_, "brightness where digits overlap: the larger, or the sum")
        ->type_name("HOW")
        ->check(CLI::IsMember({"max", "add"}))
        ->capture_default_str()
        ->group(group);
    set_.declare(app);
  }

  void run(cli::Context& context) override {
    std::tie(how_.width, how_.height) = media::parse_size(size_, "--size");
    const auto side = std::min(how_.width, how_.height);
    const auto digit = digit_size_ > 0 ? digit_size_ : std::max<int64_t>((side * 28 + 32) / 64, 1);
    how_.add = overlap_ == "add";
    how_.speeds = speed_.empty() ? std::vector<double>{0.1 * static_cast<double>(side - digit)}
                                 : cli::parse_reals(speed_, "--speed");
    for (const double speed : how_.speeds)
      if (!(speed >= 0 && speed <= 1e4))
        throw Error(Exit::usage, "--speed ", speed_, ": expected speeds from 0 to 10000");
    const auto seed = context.seed.value_or(kSeed);
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
  std::string where_, size_ = "64", speed_, overlap_ = "max";
  int64_t digit_size_ = 0;
  DigitSettings how_;
  MadeSetOptions set_;
};

class Pan final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    const char* group = "Texture and way";
    const auto number = [&](const char* name, int64_t& value, const char* words) {
      app.add_option(name, value, words)
          ->type_name("N")
          ->check(CLI::Range(int64_t{1}, int64_t{1} << 12))
          ->capture_default_str()
          ->group(group);
    };
    number("--size", how_.size, "pixels of the frames' sides");
    number("--block", how_.block, "pixels of the sides of a block of one colour");
    number("--frames", how_.frames, "frames of a clip");
    number("--step", how_.step, "pixels that the camera moves from frame to frame");
    app.add_option("--way", way_, "steps before it returns; 0: half of the frames")
        ->type_name("N")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 12))
        ->capture_default_str()
        ->group(group);
    set_.declare(app);
  }

  void run(cli::Context& context) override {
    how_.way = way_ > 0 ? way_ : std::max<int64_t>(how_.frames / 2, 1);
    const auto seed = context.seed.value_or(kSeed);
    const auto make = [&](uint64_t purpose, int64_t number) {
      return make_pan(how_, seed, purpose, number);
    };
    make_set(set_, how_.size, how_.size, make, make, context);
  }

 private:
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
