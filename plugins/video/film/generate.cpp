// lact-generate video: a prompt, a class, first frames, a state or nothing in; a film out, chunk
// by chunk.

#include "film.hpp"
#include "frame_source.hpp"
#include "given.hpp"
#include "sampling_options.hpp"

#include <plugins/common/commands/state_options.hpp>
#include <plugins/common/media/frame_sink.hpp>
#include <plugins/common/media/size.hpp>
#include <plugins/video/commands.hpp>
#include <plugins/video/model/model_place.hpp>

#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/io/closed_pipe.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>
#include <lact/stopwatch.hpp>

#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

namespace lact::video {
namespace {

using at::Tensor;

constexpr int kDigits = 5;  // of a frame's file, however long the film gets

/// A signal in the middle of a chunk, or an output that failed.
struct Stopped {};

struct Texts {
  Tensor prompt, negative;
};

/// Where frames go. An output that fails ends the film, when the others have the chunk.
class Outputs {
 public:
  void open(const std::vector<std::string>& outputs, double rate, int64_t first) {
    for (const auto& output : outputs) try {
        sinks_.emplace_back(output, rate, media::FrameNumbers{first, kDigits});
      } catch (...) {
        if (!error_) error_ = std::current_exception();
      }
  }

  void show(const Tensor& frames) {
    if (sinks_.empty()) return;
    const auto images = to_images(frames);
    each([&](media::FrameSink& sink) {
      for (const auto& image : images) sink.add(image);
    });
  }

  void finish() {
    each([](media::FrameSink& sink) { sink.finish(); });
  }

  /// A reader that went away says less than anything else that went wrong.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
    if (closed_) throw io::ClosedPipe();
  }
  bool failed() const { return error_ || closed_; }

 private:
  /// Those that fail leave the list.
  void each(const std::function<void(media::FrameSink&)>& work) {
    std::vector<media::FrameSink> sound;
    for (auto& sink : sinks_) {
      try {
        work(sink);
        sound.push_back(std::move(sink));
      } catch (const io::ClosedPipe&) {
        closed_ = true;
      } catch (...) {
        if (!error_) error_ = std::current_exception();
      }
    }
    sinks_ = std::move(sound);
  }

  std::vector<media::FrameSink> sinks_;
  std::exception_ptr error_;  // the first
  bool closed_ = false;       // stdout
};

/// What was done, for --json.
struct Report {
  int64_t context = 0, made = 0, chunks = 0;  // frames, frames, chunks made
  double seconds = 0, longest = 0;            // of chunks
};

class Generate final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    auto model = options.group("Model");
    model.add("--model", model_, "model directory, run directory, or a tensor file")
        .value("DIR|FILE");
    extras_.declare(model);
    declare_input(options.group("Input"));
    sampling_.declare(options.group("Sampling"));
    declare_film(options.group("Film"));
    state_options_.declare(options.group("States"),
                           "continue from this state as if never interrupted; other prompts, "
                           "sampling or --seed make it a branch",
                           "write everything that the next chunk depends on, at the end");
    processes_.declare(options);
    options.renamed("--width", "--size");
    options.renamed("--height", "--size");
    options.renamed("--frames-limit", "--max-frames");
  }

  void run(cli::Context& context) override {
    if (state_options_.inspect(context)) return;
    processes_.run(context, [&] { work(context); });
  }

 private:
  /// Two processes do the same, but for the branches of guidance and for what rank 0 writes alone.
  void work(const cli::Context& context) {
    check_options(context);
    if (state_options_.loads()) read_state();
    if (!size_text_.empty()) size_ = media::parse_size(size_text_, "--size");
    const auto checkpoint = open_model(model_);
    auto config = Config::of(checkpoint);
    check_prompts(config);
    extras_.look_beside(model_);
    resolve_plain(config);
    if (size_) std::tie(config.width, config.height) = *size_;
    const auto dtype = commands::product_type(context, usual_dtype(context.dtype, config), state_);
    Texts texts;
    if (ModelExtras::has_encoder(config)) texts = embed(config, nullptr, context);
    const auto loaded = extras_.load(checkpoint, config, context.device, dtype);
    if (!ModelExtras::has_encoder(config)) texts = embed(config, &loaded.model, context);
    if (state_ || state_options_.saves()) hash_ = checkpoint.hash();
    auto film = state_ ? continued(loaded, texts, context) : begun(loaded, texts, context);
    if (processes_.size() > 1) {
      processes_.require_same(concat(checkpoint.hash(), ", ", ops::dtype_name(dtype)), "models");
      film.share(processes_);
    }
    make(loaded, film, context);
  }

  // --- options -----------------------------------------------------------------------------------

  void declare_input(cli::Options options) {
    options.add("-p,--prompt", prompt_, "description of the film").value("TEXT");
    options.add("--class", class_, "class of the film, for a model of classes").value("NAME");
    options
        .add("--negative", negative_,
             "prompt that guidance moves away from (default: the empty prompt)")
        .value("TEXT");
    options
        .add("--frames", frames_,
             "frames to continue: a film, at the model's frames per second, an image, held for the "
             "first chunk, or a folder of numbered images; whole chunks are read")
        .value("PATH");
    options.add("--max-frames", max_frames_, "read at most N of --frames").at_least(1).value("N");
  }

  void declare_film(cli::Options options) {
    options
        .add("-n,--n-frames", wanted_,
             "frames to generate, rounded up to whole chunks; 0: only read; -1: until stopped")
        .range(int64_t{-1}, int64_t{1} << 40)
        .value("N");
    options.add("--size", size_text_, "size of the frames (default: as the model was trained)")
        .value("WxH|N");
    options.add("--fps", fps_, "frames per second of the film (default: as the model says)")
        .range(0.1, 1000.0);
    options.flag("--echo", echo_,
                 "write the frames of --frames, too, as the model reconstructs them");
    options
        .add("-o,--output", outputs_,
             "folder of numbered .png files, a pattern (a-%05d.png), a .mp4 or .webm film, - for "
             "raw "
             "RGB frames on stdout, or one .png: a contact sheet of all frames")
        .value("PATH");
  }

  void check_options(const cli::Context& context) const {
    if (model_.empty()) throw Error(Exit::usage, "--model is required");
    if (prompt_ && class_) throw Error(Exit::usage, "--prompt and --class exclude each other");
    if (outputs_.empty() && !state_options_.saves())
      throw Error(Exit::usage, "nothing to do: give --output, or --save-state");
    if (frames_.empty() && (max_frames_ || echo_))
      throw Error(Exit::usage, "--max-frames, --echo: need --frames");
    if (wanted_ == 0 && frames_.empty() && !state_options_.loads())
      throw Error(Exit::usage, "-n 0 makes nothing, and there are no --frames to read");
    int streams = context.json + (state_options_.saves_to_stdout());
    for (const auto& output : outputs_) {
      if (processes_.chief()) media::FrameSink::check(output);
      streams += output == "-";
      if (wanted_ < 0 && media::FrameSink::is_sheet(output))
        throw Error(Exit::usage, "--output ", output,
                    ": a sheet of all frames has no end with -n -1; give a folder or a film");
    }
    if (streams > 1)
      throw Error(Exit::usage, "--output, --save-state, --json: only one of them has stdout");
    if (wanted_ < 0 && state_options_.saves_to_stdout())
      throw Error(Exit::usage, "-n -1 has no end at which --save-state - could be written");
    processes_.require_file(state_options_.file(), "--state");
    processes_.require_file(frames_, "--frames");
    if (processes_.chief()) state_options_.check_folder();
  }

  void check_prompts(const Config& config) const {
    const auto& condition = config.condition;
    if (class_ && condition != "class")
      throw Error(Exit::usage, "--class: this model ",
                  condition == "none" ? "takes no prompt" : "takes a --prompt");
    if (prompt_ && condition == "class")
      throw Error(Exit::usage, "--prompt: this model knows classes; give --class");
    if ((prompt_ || negative_) && condition == "none")
      throw Error(Exit::usage, prompt_ ? "--prompt" : "--negative", ": this model takes no prompt");
    if (!state_) check_negative(negative_.has_value(), sampling_.guidance(config));
  }

  /// Of a model without fast weights no chunk sees another. A released one, which says nothing of
  /// films, makes all frames at once, as it was trained.
  void resolve_plain(Config& config) const {
    if (config.width == 0 && config.codec.type == "wan") {  // as published
      config.width = 832;
      config.height = 480;
      if (!config.fast && !state_ && !state_options_.saves() && wanted_ > 0) {
        config.chunk_frames = 1;
        while (config.codec.frames(config.chunk_frames) < wanted_) ++config.chunk_frames;
      }
    }
    if (config.fast) return;
    const char* why = ": this model has no fast weights: no chunk of a film sees another";
    if (!frames_.empty())
      throw Error(Exit::usage, "--frames", why, ", and it cannot continue anything");
    const int64_t shown = config.codec.frames(config.chunk_frames);
    if (wanted_ < 0 || wanted_ > shown)
      log::warning("-n ", wanted_, why, ", and after every ", shown,
                   " frames another begins that has nothing to do with it");
  }

  // --- making ready ------------------------------------------------------------------------------

  void read_state() {
    state_ = state_options_.load();
    const auto found = state_->metadata.find("reading");
    if (found == state_->metadata.end()) return;
    reading_ = Reading::from_json(found->second, state_->name + ": reading");
    if (frames_.empty())
      throw Error(Exit::usage, state_->name, ": was saved when ", reading_->frames,
                  " frames of --frames were read: give the same --frames again, to go on there");
  }

  /// Of a state's prompts, only those that are given.
  Texts embed(const Config& config, const VideoModel* model, const cli::Context& context) const {
    const auto one = [&](const std::optional<std::string>& text) {
      if (state_ && !text) return Tensor();
      return extras_.embed(config, model, {text.value_or("")}, context.device);
    };
    return {one(class_ ? class_ : prompt_), one(negative_)};
  }

  Film begun(const LoadedVideo& loaded, const Texts& texts, const cli::Context& context) const {
    const auto& config = loaded.model.config();
    if (config.width < 1 || config.height < 1)
      throw Error(Exit::usage, model_, ": does not say how large its frames are; give --size");
    const int64_t tokens = chunk_tokens(loaded, config.width, config.height);
    auto options = sampling_.over(SamplingOptions::usual(config, tokens), config, tokens);
    options.seed = context.seed.value_or(kDefaultSeed);
    return {loaded.model,   *loaded.codec, options,      texts.prompt,
            texts.negative, config.width,  config.height};
  }

  Film continued(const LoadedVideo& loaded, const Texts& texts, const cli::Context& context) const {
    Film film(loaded.model, *loaded.codec, *state_, hash_);
    if (size_ && *size_ != std::pair{film.width(), film.height()})
      throw Error(Exit::usage, "--size: the film of ", state_->name, " has frames of ",
                  film.width(), " x ", film.height());
    const bool branches =
        sampling_.given() || context.seed || texts.prompt.defined() || texts.negative.defined();
    if (!branches) return film;
    const auto& config = loaded.model.config();
    auto options =
        sampling_.over(film.options(), config, chunk_tokens(loaded, film.width(), film.height()));
    options.seed = context.seed.value_or(options.seed);
    check_negative(negative_.has_value(), options.guidance);
    film.change(options, texts.prompt, texts.negative);
    return film;
  }

  // --- the work ----------------------------------------------------------------------------------

  void make(const LoadedVideo& loaded, Film& film, const cli::Context& context) {
    Report report;
    cli::stop_requested();  // from here on a signal is heard
    bool finished = true;
    const double rate = fps_.value_or(loaded.model.config().rate);
    if (!frames_.empty() && !reading_) reading_.emplace();
    const io::ClosedPipeThrows kept;
    Outputs outputs;
    const auto open = [&] {
      if (processes_.chief()) outputs.open(outputs_, rate, film.shown());
    };
    try {
      if (echo_) open();
      if (!frames_.empty()) give(loaded, film, outputs, report);
      if (!echo_) open();
      write(film, outputs, report);
    } catch (const Stopped&) {
      finished = false;
    }
    outputs.finish();
    if (state_options_.saves()) save(loaded, film);
    outputs.rethrow();
    if (processes_.chief()) tell(film, report, rate, context.json);
    if (!finished) throw cli::Interrupted();
  }

  void poll(const Outputs& outputs) const {
    if (processes_.stopping(outputs.failed())) throw Stopped();
  }

  /// Reads what exists, in whole chunks.
  void give(const LoadedVideo& loaded, Film& film, Outputs& outputs, Report& report) {
    const auto& config = loaded.model.config();
    auto source = open_frames(film, config.rate, outputs);
    const int64_t chunk = config.codec.frames(config.chunk_frames);
    const int64_t most = max_frames_.value_or(std::numeric_limits<int64_t>::max());
    int64_t left = 0;
    {
      cli::Progress progress("reading", 0, "frames");
      left = give_frames(
          film, *loaded.codec, config.chunk_frames, loaded.model.device(), source,
          source.is_still() ? std::min(most, std::max(chunk, reading_->frames)) : most, *reading_,
          [&](const Tensor& frames) {
            report.context += frames.size(0);
            outputs.show(frames);
            progress.set(static_cast<double>(report.context));
          },
          [&] { poll(outputs); });
    }
    if (!source.range().empty())
      log::warning(frames_, ": is an HDR film (", source.range(),
                   "), whose colours are taken as they are stored, pale; convert it to BT.709");
    if (source.damaged() > 0)
      log::warning(frames_, ": ", source.damaged(), " damaged frames were passed over");
    if (reading_->frames == 0)
      throw Error(Exit::data, frames_, ": ", left, left == 1 ? " frame does" : " frames do",
                  " not fill a chunk of ", chunk, ", at ", config.rate,
                  " a second: give more, or one image alone, which is held");
    reading_.reset();
    tell_read(source, report.context, left);
  }

  /// A pipe may be waited for, and a signal end that.
  FrameSource open_frames(const Film& film, double rate, const Outputs& outputs) const try {
    return {frames_, film.width(), film.height(), rate};
  } catch (const Error&) {
    poll(outputs);
    throw;
  }

  void tell_read(const FrameSource& source, int64_t read, int64_t left) const {
    log::info("read ", read, " frames",
              source.is_resampled()
                  ? concat(", ", source.rate(), " a second of the film's ", source.film_rate())
                  : "",
              source.is_still() ? ": one image, held for the first chunk" : "",
              left > 0 ? concat("; the last ", left, " fill no chunk and are left") : "");
  }

  int64_t chunks_wanted(const Film& film) const {
    int64_t low = 0, high = 1;
    while (film.frames_of(high) < wanted_) high *= 2;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (film.frames_of(middle) < wanted_)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  void write(Film& film, Outputs& outputs, Report& report) const {
    const int64_t chunks = wanted_ < 0 ? 0 : chunks_wanted(film);
    if (wanted_ > 0 && film.frames_of(chunks) != wanted_)
      log::info("makes ", film.frames_of(chunks), " frames instead of ", wanted_, ": whole chunks");
    const int64_t steps = film.options().steps;
    cli::Progress progress("making", static_cast<double>(chunks * steps), "steps");
    double done = 0;
    while (wanted_ < 0 || report.chunks < chunks) {
      poll(outputs);
      const Stopwatch watch;
      const int64_t before = film.shown();
      const auto latents = film.next([&] {
        poll(outputs);
        progress.set(++done);
      });
      const auto frames = film.frames(latents);
      const double seconds = watch.seconds();
      outputs.show(frames);
      ++report.chunks;
      report.made += frames.size(0);
      report.seconds += seconds;
      report.longest = std::max(report.longest, seconds);
      char time[32];
      std::snprintf(time, sizeof time, "%.3f s", seconds);
      log::debug("chunk ", film.chunks() - 1, ": frames ", before, " to ", film.shown() - 1, ", ",
                 time);
    }
  }

  void save(const LoadedVideo& loaded, const Film& film) const {
    auto state = film.save(hash_);
    auto& words = state.metadata;
    words["dtype"] = ops::dtype_name(loaded.model.compute_dtype());
    const auto keep = [&](const char* key, const std::optional<std::string>& text) {
      if (text) {
        words[key] = *text;
      } else if (state_ && state_->metadata.count(key) > 0) {
        words[key] = state_->metadata.at(key);
      }
    };
    keep("prompt", class_ ? class_ : prompt_);
    keep("negative", negative_);
    if (reading_) words["reading"] = reading_->to_json();
    if (processes_.chief()) state_options_.save(state);
  }

  static void tell(const Film& film, const Report& report, double rate, bool json) {
    const double each = report.chunks > 0 ? report.seconds / static_cast<double>(report.chunks) : 0;
    if (json) {
      const auto& options = film.options();
      const nlohmann::ordered_json all = {
          {"frames", report.made},        {"context_frames", report.context},
          {"chunks", report.chunks},      {"film_frames", film.shown()},
          {"film_chunks", film.chunks()}, {"width", film.width()},
          {"height", film.height()},      {"fps", rate},
          {"sampler", options.sampler},   {"steps", options.steps},
          {"shift", options.shift},       {"guidance", options.guidance},
          {"seed", options.seed},         {"seconds", report.seconds},
          {"seconds_per_chunk", each},    {"longest_chunk_seconds", report.longest}};
      return cli::out(all.dump(2) + "\n");
    }
    if (report.made == 0) return;
    char line[128];
    std::snprintf(line, sizeof line,
                  "made %lld frames of %lld x %lld in %.2f s, %.3f s a chunk, seed %llu",
                  static_cast<long long>(report.made), static_cast<long long>(film.width()),
                  static_cast<long long>(film.height()), report.seconds, each,
                  static_cast<unsigned long long>(film.options().seed));
    log::info(line);
  }

  std::string model_, frames_, size_text_, hash_;
  std::optional<std::string> prompt_, class_, negative_;
  std::vector<std::string> outputs_;
  std::optional<int64_t> max_frames_;
  std::optional<std::pair<int64_t, int64_t>> size_;
  std::optional<double> fps_;
  int64_t wanted_ = 32;
  bool echo_ = false;
  ModelExtras extras_;
  SamplingOptions sampling_;
  commands::StateOptions state_options_;
  cli::Processes processes_;
  std::optional<io::State> state_;
  std::optional<Reading> reading_;  // while --frames are not read to their end
};

}  // namespace

std::unique_ptr<plugin::Command> generate_video() {
  return std::make_unique<Generate>();
}

}  // namespace lact::video
