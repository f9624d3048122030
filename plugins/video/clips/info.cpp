// lact-tokenize video info: what packed clips, or films, hold.

#include "films.hpp"
#include "shots.hpp"

#include <plugins/common/media/frame_sink.hpp>
#include <plugins/common/media/sheet.hpp>
#include <plugins/common/media/video.hpp>
#include <plugins/common/packed/packed_set.hpp>
#include <plugins/video/commands.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kLookedAt = 1024;  // frames of a set whose brightness is summed up
constexpr size_t kSheetRows = 12, kSheetColumns = 8;
constexpr int64_t kSheetSide = 64;  // smaller frames are enlarged to about that

/// Mean and deviation of many values.
struct Moments {
  double n = 0, sum = 0, squares = 0;
  void add(const at::Tensor& values) {
    const auto x = values.to(at::kDouble);
    const auto count = static_cast<double>(x.numel());
    n += count;
    sum += x.mean().item<double>() * count;
    squares += (x * x).mean().item<double>() * count;
  }
  void add(const media::Image& image) {
    for (const auto value : image.pixels) {
      sum += value / 255.0;
      squares += value / 255.0 * (value / 255.0);
    }
    n += static_cast<double>(image.pixels.size());
  }
  double mean() const { return n > 0 ? sum / n : 0; }
  double deviation() const {
    return n > 0 ? std::sqrt(std::max(squares / n - mean() * mean(), 0.0)) : 0;
  }
};

/// A packed split, or a film.
struct ClipSummary {
  std::string name, codec;
  int64_t clips = 0, frames = 0, width = 0, height = 0, captions = 0, damaged = 0;
  int64_t shortest = 0, longest = 0;  // frames of a clip
  double rate = 0, seconds = 0;
  std::set<std::string> labels;
  Moments values;
};

media::Image image_of(const at::Tensor& frame) {
  media::Image image(frame.size(1), frame.size(0));
  const auto plain = frame.contiguous();
  std::memcpy(image.pixels.data(), plain.const_data_ptr(), image.pixels.size());
  return image;
}

/// Each pixel a square, so that small frames can be seen.
media::Image enlarged(const media::Image& image) {
  const auto times = std::max<int64_t>(kSheetSide / std::max(image.width, image.height), 1);
  media::Image large(image.width * times, image.height * times);
  for (int64_t y = 0; y < large.height; ++y)
    for (int64_t x = 0; x < large.width; ++x)
      std::copy_n(image.at(x / times, y / times), 3, large.at(x, y));
  return large;
}

/// For the margin of a sheet.
std::string label_of(const std::string& text) {
  return media::plain_letters(text).substr(0, 40);
}

class Info final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options
        .add(
            "PATH", inputs_,
            "packed clips (a folder of lact-tokenize video, or one of its files), films or folders "
            "of films")
        .required();
    options.add("--sheet", sheet_, "draw frames of some clips or films, as PNG, JPEG or WebP")
        .value("FILE");
    options.flag("--no-check", no_check_, "do not compare packed clips with their checksums");
  }

  void run(cli::Context& context) override {
    std::vector<ClipSummary> all;
    if (!sheet_.empty()) media::check_folder(fs::path(sheet_).parent_path(), /*may_be_made=*/false);
    std::optional<Error> first;  // of what was named and cannot be read
    for (const auto& input : inputs_) try {
        look(input, all);
      } catch (const Error& error) {
        if (cli::stop_requested()) throw cli::Interrupted();
        if (inputs_.size() == 1 || error.code() == Exit::internal) throw;
        if (first) log::warning(first->what());
        first = error;
      }
    if (!sheet_.empty()) {
      if (rows_.empty()) throw Error(Exit::usage, "--sheet: latents are no pictures");
      media::write_image(sheet_, media::contact_sheet(rows_));
    }
    print(all, context.json);
    if (first) throw Error(*first);
  }

 private:
  void look(const std::string& input, std::vector<ClipSummary>& all) {
    if (input != "-" && packed::is_packed(input)) {
      std::error_code error;
      if (!fs::is_directory(input, error)) return all.push_back(set(input, input));
      for (const char* split : packed::kSplits)
        for (const char* suffix : {".safetensors", ".safetensors.index.json"})
          if (const auto file = fs::path(input) / concat(split, suffix); fs::exists(file, error)) {
            all.push_back(set(file, (fs::path(input) / split).string()));
            break;
          }
      return;
    }
    bool alone = false;
    const Skip skip = [&](const FilmFile*, const Error& error) {
      if (alone) throw error;
      log::warning(error.what());
    };
    auto films = find_films({input}, skip);
    alone = films.size() == 1;
    describe(films, "", "none", skip);
    for (const auto& one : films) {
      if (cli::stop_requested()) throw cli::Interrupted();
      try {
        all.push_back(film(one));
      } catch (const Error& error) {
        if (alone) throw;
        log::warning(error.what());
      }
    }
  }

  ClipSummary set(const fs::path& file, const std::string& name) {
    const auto clips = PackedClips::open(file);
    if (!no_check_) clips.verify();
    ClipSummary seen;
    seen.name = name;
    seen.codec = clips.codec();
    seen.clips = clips.size();
    seen.width = clips.width();
    seen.height = clips.height();
    seen.rate = clips.rate();
    seen.shortest = std::numeric_limits<int64_t>::max();
    int64_t shown = 0;  // frames of films
    for (int64_t i = 0; i < clips.size(); ++i) {
      const auto frames = clips.frames(i);
      seen.frames += frames;
      shown += clips.codec() == "wan" ? 4 * frames - 3 : frames;
      seen.shortest = std::min(seen.shortest, frames);
      seen.longest = std::max(seen.longest, frames);
      seen.captions += !clips.info(i).caption.empty();
      if (!clips.info(i).label.empty()) seen.labels.insert(clips.info(i).label);
    }
    seen.seconds = static_cast<double>(shown) / seen.rate;
    const auto step = std::max<int64_t>(seen.frames / kLookedAt, 1);
    int64_t next = 0;  // of the frames of all clips
    for (int64_t i = 0; i < clips.size(); next -= clips.frames(i++)) {
      if (cli::stop_requested()) throw cli::Interrupted();
      for (; next < clips.frames(i); next += step) {
        const auto frame = clips.read(i, next, 1);
        seen.values.add(seen.codec.empty() ? frame.to(at::kFloat) / 255 : frame);
      }
    }
    if (!sheet_.empty() && seen.codec.empty()) draw(clips);
    return seen;
  }

  /// Some clips of a set, evenly spread, and some frames of each.
  void draw(const PackedClips& clips) {
    const auto count = std::min<int64_t>(clips.size(), kSheetRows);
    for (int64_t k = 0; k < count && rows_.size() < kSheetRows; ++k) {
      const auto clip = k * clips.size() / count;
      const auto& info = clips.info(clip);
      const auto& words = info.caption.empty() ? info.label : info.caption;
      media::SheetRow row{label_of(concat(clip, " ", words.empty() ? info.source : words)), {}};
      const auto frames = clips.frames(clip), columns = std::min<int64_t>(frames, kSheetColumns);
      for (int64_t c = 0; c < columns; ++c)
        row.images.push_back(enlarged(image_of(clips.read(clip, c * frames / columns, 1)[0])));
      rows_.push_back(std::move(row));
    }
  }

  ClipSummary film(const FilmFile& file) {
    media::VideoReader film(file.path, cli::stop_requested);
    ClipSummary seen;
    seen.name = file.path == "-" ? file.name : file.path.string();
    seen.width = film.width();
    seen.height = film.height();
    seen.captions = !file.caption.empty();
    ShotDetector detector;
    std::vector<media::Image> pictures;
    double before = 0, next = 0, last = 0;  // last: seconds of that frame
    std::string range;
    for (; film.advance(); ++seen.frames) {
      if (cli::stop_requested()) throw cli::Interrupted();
      seen.clips += detector.cut(film.luma(kShotSide)) || seen.frames == 0;
      before = std::max(before, film.time());
      last = film.duration();
      range = film.high_dynamic_range();
      if (film.time() < next) continue;
      next = std::floor(film.time()) + 1;  // a picture a second
      const auto image = film.image();
      seen.values.add(image);
      if (!sheet_.empty() && rows_.size() < kSheetRows)
        pictures.push_back(
            media::cover(image, std::max<int64_t>(kSheetSide * image.width / image.height, 1),
                         kSheetSide)
                .image);
    }
    if (seen.frames == 0)
      throw Error(Exit::data, seen.name, ": expected a film, found no frame that can be decoded");
    if (!range.empty()) log::info(seen.name, ": is an HDR film (", range, ")");
    seen.damaged = film.damaged();
    seen.rate = film.rate() > 0 ? film.rate() : 0;
    const double usual = seen.rate > 0 ? 1 / seen.rate : 0;
    seen.seconds = before + (last > 0 ? last : usual);
    if (!pictures.empty()) {
      media::SheetRow row{label_of(file.name), {}};
      const auto columns = std::min(pictures.size(), kSheetColumns);
      for (size_t c = 0; c < columns; ++c)
        row.images.push_back(pictures[c * pictures.size() / columns]);
      rows_.push_back(std::move(row));
    }
    return seen;
  }

  static void print(const std::vector<ClipSummary>& all, bool json) {
    size_t width = 5;
    int64_t clips = 0;
    double seconds = 0;
    for (const auto& seen : all) {
      width = std::max(width, io::printable(seen.name).size());
      clips += seen.clips;
      seconds += seen.seconds;
    }
    cli::Table table(json ? "json" : "md", {{"clips", width, false},
                                            {"number", 6, true},
                                            {"frames", 8, true},
                                            {"of each", 7, true},
                                            {"size", 11, true},
                                            {"fps", 6, true},
                                            {"seconds", 8, true},
                                            {"captions", 8, true},
                                            {"labels", 6, true},
                                            {"codec", 9, false},
                                            {"mean", 6, true},
                                            {"deviation", 9, true}});
    for (const auto& seen : all) row(table, seen);
    table.finish(concat(clips, clips == 1 ? " clip, " : " clips, ",
                        cli::number_text(seconds, "%.4g"), " s"));
  }

  /// Frames of a packed clip.
  static std::string of_each(const ClipSummary& seen) {
    if (seen.longest == 0) return "";
    return seen.shortest == seen.longest ? std::to_string(seen.longest)
                                         : concat(seen.shortest, "-", seen.longest);
  }

  static void row(cli::Table& table, const ClipSummary& seen) {
    const auto name = io::printable(seen.name);
    const auto codec = seen.codec.empty() ? std::string("pixels") : io::printable(seen.codec);
    Json values{{"name", name},
                {"clips", seen.clips},
                {"frames", seen.frames},
                {"shortest", seen.shortest},
                {"longest", seen.longest},
                {"width", seen.width},
                {"height", seen.height},
                {"fps", seen.rate},
                {"seconds", seen.seconds},
                {"captions", seen.captions},
                {"labels", std::vector<std::string>(seen.labels.begin(), seen.labels.end())},
                {"codec", codec},
                {"damaged", seen.damaged},
                {"mean", seen.values.mean()},
                {"deviation", seen.values.deviation()}};
    table.row(values, {name, std::to_string(seen.clips), std::to_string(seen.frames), of_each(seen),
                       concat(seen.width, " x ", seen.height), cli::number_text(seen.rate, "%.4g"),
                       cli::number_text(seen.seconds, "%.4g"), std::to_string(seen.captions),
                       std::to_string(seen.labels.size()), codec,
                       cli::number_text(seen.values.mean(), "%.3g"),
                       cli::number_text(seen.values.deviation(), "%.3g")});
  }

  std::vector<std::string> inputs_;
  std::string sheet_;
  bool no_check_ = false;
  std::vector<media::SheetRow> rows_;
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_info() {
  return std::make_unique<Info>();
}

}  // namespace lact::video
