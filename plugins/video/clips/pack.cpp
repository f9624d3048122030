// lact-tokenize video pack: films to packed clips.

#include "encode_clips.hpp"
#include "film_queue.hpp"
#include "films.hpp"
#include "make_set.hpp"

#include <plugins/common/media/frame_sink.hpp>
#include <plugins/common/media/size.hpp>
#include <plugins/common/packed/packed_set.hpp>
#include <plugins/video/commands.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kNoClip[] = "no clip for training can be made of these films";
constexpr int64_t kFrames = 24, kWanFrames = 25;  // of a clip; Wan's VAE takes 1 + 4 k

/// Of one split.
struct Counts {
  int64_t films = 0, skipped = 0, cuts = 0;
};

/// Where clips go: each split's file, through an encoder if there is one.
class Sink {
 public:
  Sink(const std::string& folder, const ClipFormat& format, uint64_t shard_bytes,
       const ClipEncoder* encoder)
      : folder_(folder), format_(format), shard_bytes_(shard_bytes), encoder_(encoder) {}

  void take(const FilmFile& film, ClipPiece&& piece) {
    if (piece.first) {
      auto& writer = writers_[film.validation];
      if (!writer) writer.emplace(folder_, packed::kSplits[film.validation], format_, shard_bytes_);
      writer_ = &*writer;
      writer_->begin({io::printable(film.name), piece.start, film.caption, film.label});
      if (encoder_ != nullptr) clip_.emplace(*encoder_);
    }
    writer_->add(clip_ ? clip_->next(piece.frames) : piece.frames);
  }
  void commit() {
    if (!writers_[0] || writers_[0]->clips() == 0) throw Error(Exit::data, kNoClip);
    if (encoder_ != nullptr)
      encoder_->save(folder_);
    else
      ClipEncoder::remove(folder_);
    video::commit(folder_, *writers_[0], writers_[1] ? &*writers_[1] : nullptr);
  }
  int64_t clips(size_t split) const { return writers_[split] ? writers_[split]->clips() : 0; }
  int64_t frames(size_t split) const { return writers_[split] ? writers_[split]->frames() : 0; }

 private:
  std::string folder_;
  ClipFormat format_;
  uint64_t shard_bytes_;
  const ClipEncoder* encoder_;
  std::optional<ClipWriter> writers_[2];
  ClipWriter* writer_ = nullptr;             // of the clip at hand
  std::optional<ClipEncoder::Stream> clip_;  // its latents
};

class Pack final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.add("FILE", inputs_, "films, folders with films, or - for one film on stdin")
        .required();
    declare_clips(options.group("Clips"));
    declare_captions(options.group("Captions and classes"));
    encode_.declare(options.group("Latents"));
    declare_output(options.group("Output"));
    options.renamed("--rate", "--fps");
    options.renamed("--validation", "--validation-share");
  }

  void run(cli::Context& context) override {
    std::tie(how_.width, how_.height) = media::parse_size(size_, "--size");
    how_.frames = frames_.value_or(encode_.type == "wan" ? kWanFrames : kFrames);
    const auto shard_bytes = parse_shard_size(shard_size_);
    media::check_folder(output_);  // before hours of work
    cli::stop_requested();         // from here on a signal leaves no half file
    const Skip skip = [this](const FilmFile* film, const Error& error) { pass_over(film, error); };
    films_ = find_films(inputs_, skip);
    choose_validation(films_, validation_share_, globs_, context.seed.value_or(kDefaultSeed));
    describe(films_, captions_, label_from_, skip);
    if (films_.empty()) throw Error(Exit::data, kNoClip);
    if (std::all_of(films_.begin(), films_.end(), [](const auto& one) { return one.validation; }))
      throw Error(Exit::data, "all films are for validation, none is left for training");
    format_.width = how_.width;
    format_.height = how_.height;
    format_.rate = how_.rate;
    if (encode_.encodes()) {
      encoder_.emplace(encode_, encode_.fits() ? fit(context) : nullptr, format_, how_.frames,
                       context.device);
      format_ = encoder_->format();
    }
    write(context, shard_bytes);
  }

 private:
  void declare_clips(cli::Options options) {
    options
        .add("--size", size_,
             "size of the frames in pixels; films are scaled to cover it and cropped")
        .value("WxH|N");
    options
        .add("--fps", how_.rate,
             "frames per second; those that the film shows at these times are taken")
        .range(0.01, 1000.0)
        .value("FPS");
    options
        .add("--frames", frames_,
             "frames per clip; 0: each shot is one clip (default: 24; 25 with --codec wan)")
        .range(0, 1 << 20)
        .value("N");
    options
        .add("--stride", how_.stride,
             "frames from the start of one clip to the start of the next; 0: as --frames")
        .range(0, 1 << 20)
        .value("N");
    options.add("--min-frames", how_.at_least, "with --frames 0: leave out shots with fewer frames")
        .range(1, 1 << 20)
        .value("N");
    options
        .add(
            "--cut", how_.threshold,
            "difference from the preceding frame at which a shot begins, if it is also three times "
            "the usual one; 0: never")
        .range(0.0, 10.0)
        .value("THRESHOLD");
  }

  void declare_captions(cli::Options options) {
    options
        .add("--captions", captions_,
             "table with the columns file, caption and, optionally, label, as CSV or JSON lines; "
             "films that it does not name take a text file beside them (FILM.txt)")
        .value("FILE");
    options
        .add("--label-from", label_from_,
             "source of the label: none (the table's), folder (the name of the film's folder), "
             "caption")
        .words({"none", "folder", "caption"});
  }

  void declare_output(cli::Options options) {
    options.add("-o,--output", output_, "folder for train.safetensors and validation.safetensors")
        .value("DIR")
        .required();
    options
        .add("--validation-share", validation_share_, "fraction of films held out for validation")
        .range(0.0, 1.0)
        .value("FRACTION");
    options
        .add("--validation-files", globs_,
             "hold out films whose path or name matches for validation")
        .value("GLOB");
    options
        .add("--shard-size", shard_size_,
             "bytes of frames after which a new file is begun; K, M or G may follow")
        .value("BYTES");
    options.flag("--strict", strict_,
                 "fail at the first film or folder that cannot be used, instead of skipping it or "
                 "using what is sound");
  }

  using Take = std::function<void(const FilmFile&, ClipPiece&&)>;
  using Done = std::function<void(const FilmFile&, const FilmSeen&)>;

  /// All clips of the films, in their order. What is wrong with a film is said by `complain`.
  void each(const std::vector<const FilmFile*>& films, const cli::Context& context,
            const char* doing, bool complain, const Take& take, const Done& done) {
    std::vector<fs::path> paths;
    for (const auto* film : films) paths.push_back(film->path);
    FilmQueue queue(std::move(paths), how_, context.threads);
    cli::Progress progress(doing, static_cast<double>(films.size()), "films");
    int64_t clips = 0;
    for (size_t i = 0; i < films.size(); ++i) {
      const auto before = clips;
      try {
        while (auto piece = queue.next(i)) {
          clips += piece->first;
          take(*films[i], std::move(*piece));
          progress.set(static_cast<double>(i), concat(clips, " clips"));
        }
        const auto seen = queue.seen(i);
        if (complain) judge(*films[i], seen);
        done(*films[i], seen);
      } catch (const Error& error) {
        // Whatever else fails is not the film's fault.
        if (error.code() != Exit::data && error.code() != Exit::no_input) throw;
        if (complain) lost(*films[i], error, clips > before);
      }
      progress.set(static_cast<double>(i + 1), concat(clips, " clips"));
    }
  }

  /// A film whose caption cannot be used, or a folder.
  void pass_over(const FilmFile* film, const Error& error) {
    if (film != nullptr) return lost(*film, error, /*some=*/false);
    if (strict_) throw error;
    ++folders_;
    log::warning(error.what(), "; skipped");
  }

  void lost(const FilmFile& film, const Error& error, bool some) {
    if (strict_) throw error;
    ++(some ? counts_[film.validation].films : counts_[film.validation].skipped);
    log::warning(error.what(), some ? "; its clips before that are used" : "; skipped");
  }

  /// Films without clips, or with damage.
  void judge(const FilmFile& film, const FilmSeen& seen) {
    const auto name = film.path == "-" ? std::string("stdin") : film.path.string();
    if (seen.clips == 0)
      throw Error(Exit::data, name, ": expected a shot of ", std::max(how_.frames, how_.at_least),
                  " frames at ", how_.rate, " a second, found ", seen.cuts + 1,
                  seen.cuts == 0 ? " shot of " : " shots in ",
                  cli::number_text(seen.seconds, "%.3g"), " s");
    if (!seen.range.empty())
      log::warning(name, ": is an HDR film (", seen.range,
                   "), whose colours are packed as they are stored, pale; convert it to BT.709");
    if (seen.damaged == 0) return;
    const auto words = concat(name, ": ", seen.damaged, " damaged packets or frames");
    if (strict_) throw Error(Exit::data, words);
    log::warning(words, " were passed over");
  }

  /// Principal components of the clips that are trained on.
  std::unique_ptr<Codec> fit(const cli::Context& context) {
    for (const auto& film : films_)
      if (std::error_code error; film.path == "-" || !fs::is_regular_file(film.path, error))
        throw Error(Exit::usage, film.name,
                    ": --codec pca reads films twice, which a pipe does not allow");
    if (how_.width % encode_.factor != 0 || how_.height % encode_.factor != 0)
      throw Error(Exit::usage, "--size ", size_, ": expected multiples of --codec-factor ",
                  encode_.factor);
    std::vector<const FilmFile*> films;
    for (const auto& film : films_)
      if (!film.validation) films.push_back(&film);
    PcaFit fit(encode_.factor, encode_.channels);
    int64_t clips = 0;
    each(
        films, context, "fitting", /*complain=*/false,
        [&](const FilmFile&, ClipPiece&& piece) {
          fit.add(to_video(piece.frames.unsqueeze(0), at::kCPU));
          ++clips;
        },
        [](const FilmFile&, const FilmSeen&) {});
    if (clips == 0) throw Error(Exit::data, kNoClip);
    return fit.finish();
  }

  void write(const cli::Context& context, uint64_t shard_bytes) {
    Sink sink(output_, format_, shard_bytes, encoder_ ? &*encoder_ : nullptr);
    std::vector<const FilmFile*> films;
    for (const auto& film : films_) films.push_back(&film);
    each(
        films, context, "packing", /*complain=*/true,
        [&](const FilmFile& film, ClipPiece&& piece) { sink.take(film, std::move(piece)); },
        [&](const FilmFile& film, const FilmSeen& seen) {
          ++counts_[film.validation].films;
          counts_[film.validation].cuts += seen.cuts;
          seen_.push_back({{"film", io::printable(film.name)},
                           {"split", packed::kSplits[film.validation]},
                           {"seconds", seen.seconds},
                           {"frames", seen.frames},
                           {"damaged", seen.damaged},
                           {"cuts", seen.cuts},
                           {"clips", seen.clips}});
        });
    sink.commit();
    report(context, sink);
  }

  void report(const cli::Context& context, const Sink& sink) const {
    auto json = Json::object();
    for (const size_t split : {0, 1}) {
      const auto& counts = counts_[split];
      if (counts.films + counts.skipped == 0) continue;
      const auto clips = sink.clips(split), frames = sink.frames(split);
      json[packed::kSplits[split]] = {
          {"films", counts.films},  {"clips", clips},           {"frames", frames},
          {"width", format_.width}, {"height", format_.height}, {"fps", format_.rate},
          {"codec", format_.codec}, {"cuts", counts.cuts},      {"skipped", counts.skipped}};
      log::info(packed::kSplits[split], ": ", clips, clips == 1 ? " clip, " : " clips, ", frames,
                encoder_ ? " latent frames of " : " frames of ", format_.width, " x ",
                format_.height, ", from ", counts.films,
                counts.films == 1 ? " film with " : " films with ", counts.cuts,
                counts.cuts == 1 ? " cut, " : " cuts, ", counts.skipped, " skipped");
    }
    if (folders_ > 0)
      log::info(folders_, folders_ == 1 ? " folder was" : " folders were", " skipped");
    json["skipped_folders"] = folders_;
    json["films"] = seen_;
    if (context.json) cli::out(json.dump(2) + "\n");
  }

  std::vector<std::string> inputs_, globs_;
  std::string output_, size_ = "64", captions_, label_from_ = "none", shard_size_ = "4G";
  double validation_share_ = 0;
  bool strict_ = false;
  std::optional<int64_t> frames_;
  CutSettings how_;
  EncodeOptions encode_;

  std::vector<FilmFile> films_;
  ClipFormat format_;
  std::optional<ClipEncoder> encoder_;
  Counts counts_[2];
  int64_t folders_ = 0;  // that could not be read
  Json seen_ = Json::array();
};

}  // namespace

std::unique_ptr<plugin::Command> tokenize_pack() {
  return std::make_unique<Pack>();
}

}  // namespace lact::video
