// lact-generate video: a prompt, a class, first frames, a state or nothing in; a film out, chunk
// by chunk.

#include "film.hpp"
#include "frame_source.hpp"
#include "given.hpp"
#include "sources.hpp"

#include <plugins/common/media/frame_sink.hpp>
#include <plugins/video/commands.hpp>

#include <lact/cli/inspect_state.hpp>
#include <lact/error.hpp>
#include <lact/io/closed_pipe.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>

#include <ATen/TensorOperators.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>

namespace lact::video {
namespace {

using at::Tensor;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kUsualSeed = 42;
constexpr int kDigits = 5;  // of a frame's file, however long the film gets

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A signal in the middle of a chunk, or an output that failed.
struct Stopped {};

void poll() {
  if (cli::stop_requested()) throw Stopped();
}

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
    if (failed()) throw Stopped();
  }

  void show(const Tensor& frames) {
    if (sinks_.empty()) return;
    const auto images = to_images(frames);
    each([&](media::FrameSink& sink) {
      for (const auto& image : images) sink.add(image);
    });
    if (failed()) throw Stopped();
  }

  void finish() {
    each([](media::FrameSink& sink) { sink.finish(); });
  }

  /// A reader that went away says less than anything else that went wrong.
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
    if (closed_) throw io::ClosedPipe();
  }

 private:
  bool failed() const { return error_ || closed_; }

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
  int64_t given = 0, made = 0, chunks = 0;  // frames, frames, chunks made
  double seconds = 0, longest = 0;          // of chunks
};

class Generate final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    declare_input(app);
    sampling_.declare(app);
    declare_film(app);
    declare_state(app);
  }

  void run(cli::Context& context) override {
    if (!inspect_.empty()) return cli::out(cli::inspect_state(inspect_, context.json));
    check_options(context);
    if (!state_file_.empty()) read_state();
    const auto checkpoint = io::Checkpoint::open(model_);
    auto config = Config::of(checkpoint);
    check_prompts(config);
    if (width_) config.width = *width_;
    if (height_) config.height = *height_;
    const auto dtype = products(context, config);
    Texts texts;
    if (Surroundings::has_encoder(config)) texts = embed(config, nullptr, context);
    const auto loaded = surroundings_.load(checkpoint, config, context.device, dtype);
    if (!Surroundings::has_encoder(config)) texts = embed(config, &loaded.model, context);
    if (state_ || !save_state_.empty()) hash_ = checkpoint.hash();
    auto film = state_ ? continued(loaded, texts, context) : begun(loaded, texts, context);
    make(loaded, film, context);
  }

 private:
  // --- options -----------------------------------------------------------------------------------

  void declare_input(CLI::App& app) {
    app.add_option("--model", model_, "model directory, run directory, or a tensor file")
        ->type_name("DIR|FILE")
        ->group("Model");
    surroundings_.declare(app);
    const char* group = "Input";
    app.add_option("-p,--prompt", prompt_, "what is to be seen")->type_name("TEXT")->group(group);
    app.add_option("--class", class_, "what is to be seen, of a model that knows classes")
        ->type_name("NAME")
        ->group(group);
    app.add_option("--negative", negative_,
                   "what is not to be seen, under guidance; default: nothing said")
        ->type_name("TEXT")
        ->group(group);
    app.add_option("--frames", frames_,
                   "frames that the film goes on from: a film, an image, or a folder of numbered "
                   "images; whole chunks of them are read")
        ->type_name("PATH")
        ->group(group);
    app.add_option("--frames-limit", frames_limit_, "read at most so many frames")
        ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max()))
        ->type_name("N")
        ->group(group);
  }

  void declare_film(CLI::App& app) {
    const char* group = "Film";
    const auto side = CLI::Range(int64_t{1}, int64_t{1} << 16);
    app.add_option("-n,--n-frames", wanted_,
                   "frames to make, rounded up to whole chunks; 0: only read; -1: until stopped")
        ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40))
        ->capture_default_str()
        ->type_name("N")
        ->group(group);
    app.add_option("--width", width_, "of a frame; default: as the model was trained")
        ->check(side)
        ->group(group);
    app.add_option("--height", height_, "of a frame; default: as the model was trained")
        ->check(side)
        ->group(group);
    app.add_option("--fps", rate_, "frames per second of a film; default: as the model says")
        ->check(CLI::Range(0.1, 1000.0))
        ->group(group);
    app.add_flag("--echo", echo_, "show the frames of --frames too, as the model has them")
        ->group(group);
    app.add_option("-o,--output", outputs_,
                   "folder of numbered .png, a pattern (a-%05d.png), .mp4 or .webm film, - for raw "
                   "RGB frames on stdout, .png for a sheet of all; can be repeated")
        ->type_name("PATH")
        ->group(group);
  }

  void declare_state(CLI::App& app) {
    const char* group = "States";
    app.add_option("--state", state_file_,
                   "go on from this state, as if nobody had stopped; other prompts, sampling or "
                   "--seed branch off")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--save-state", save_state_, "write all that the next chunk needs, at the end")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--inspect-state", inspect_, "print what a state holds, and end")
        ->type_name("FILE")
        ->group(group);
  }

  void check_options(const cli::Context& context) const {
    if (model_.empty()) throw Error(Exit::usage, "--model is required");
    if (prompt_ && class_) throw Error(Exit::usage, "--prompt and --class exclude each other");
    if (outputs_.empty() && save_state_.empty())
      throw Error(Exit::usage, "nothing to do: give --output, or --save-state");
    if (frames_.empty() && (frames_limit_ || echo_))
      throw Error(Exit::usage, "--frames-limit, --echo: need --frames");
    if (wanted_ == 0 && frames_.empty() && state_file_.empty())
      throw Error(Exit::usage, "-n 0 makes nothing, and there are no --frames to read");
    int streams = context.json + (save_state_ == "-");
    for (const auto& output : outputs_) {
      media::FrameSink::check(output);
      streams += output == "-";
      if (wanted_ < 0 && media::FrameSink::is_sheet(output))
        throw Error(Exit::usage, "--output ", output,
                    ": a sheet of all frames has no end with -n -1; give a folder or a film");
    }
    if (streams > 1)
      throw Error(Exit::usage, "--output, --save-state, --json: only one of them has stdout");
    if (wanted_ < 0 && save_state_ == "-")
      throw Error(Exit::usage, "-n -1 has no end at which --save-state - could be written");
    check_folder();
  }

  /// Better said now than after an hour.
  void check_folder() const {
    auto folder = std::filesystem::path(save_state_).parent_path();
    if (folder.empty()) folder = ".";
    if (!save_state_.empty() && save_state_ != "-" && ::access(folder.c_str(), W_OK | X_OK) != 0)
      throw Error(Exit::cannot_create, save_state_, ": ", std::strerror(errno));
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

  // --- making ready ------------------------------------------------------------------------------

  void read_state() {
    state_ = io::load_state(state_file_);
    const auto found = state_->metadata.find("reading");
    if (found == state_->metadata.end()) return;
    reading_ = Reading::from_json(found->second, state_file_ + ": state: reading");
    if (frames_.empty())
      throw Error(Exit::usage, state_file_, ": was saved when ", reading_->frames,
                  " frames of --frames were read: give the same --frames again, to go on there");
  }

  /// A state goes on in the type it was computed in.
  at::ScalarType products(const cli::Context& context, const Config& config) const {
    if (!state_ || context.dtype != "auto")
      return ops::resolve_dtype(usual_dtype(context.dtype, config), context.device);
    const auto found = state_->metadata.find("dtype");
    if (found != state_->metadata.end())
      for (const auto type : {at::kFloat, at::kBFloat16})
        if (found->second == ops::dtype_name(type)) return type;
    throw Error(Exit::data, state_file_, ": state: dtype: expected float32 or bfloat16");
  }

  /// Of a state's prompts, only those that are given.
  Texts embed(const Config& config, const VideoModel* model, const cli::Context& context) const {
    const auto one = [&](const std::optional<std::string>& text) {
      if (state_ && !text) return Tensor();
      return surroundings_.embed(config, model, {text.value_or("")}, context.device);
    };
    return {one(class_ ? class_ : prompt_), one(negative_)};
  }

  Film begun(const LoadedVideo& loaded, const Texts& texts, const cli::Context& context) const {
    const auto& config = loaded.model.config();
    if (config.width < 1 || config.height < 1)
      throw Error(Exit::usage, model_, ": does not say how large its frames are; give --width and ",
                  "--height");
    const int64_t tokens = chunk_tokens(loaded, config.width, config.height);
    auto options = sampling_.over(SamplingOptions::usual(config, tokens), config, tokens);
    options.seed = context.seed.value_or(kUsualSeed);
    return {loaded.model,   *loaded.codec, options,      texts.prompt,
            texts.negative, config.width,  config.height};
  }

  Film continued(const LoadedVideo& loaded, const Texts& texts, const cli::Context& context) const {
    Film film(loaded.model, *loaded.codec, *state_, state_file_, hash_);
    if ((width_ && *width_ != film.width()) || (height_ && *height_ != film.height()))
      throw Error(Exit::usage, "--width, --height: the film of ", state_file_, " has frames of ",
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
    const double rate = rate_.value_or(loaded.model.config().rate);
    if (!frames_.empty() && !reading_) reading_.emplace();
    const io::ClosedPipeThrows kept;
    Outputs outputs;
    try {
      if (echo_) outputs.open(outputs_, rate, film.shown());
      if (!frames_.empty()) give(loaded, film, outputs, report);
      if (!echo_) outputs.open(outputs_, rate, film.shown());
      write(film, outputs, report);
    } catch (const Stopped&) {
      finished = false;
    }
    outputs.finish();
    if (!save_state_.empty()) save(loaded, film);
    outputs.rethrow();
    tell(film, report, rate, context.json);
    if (!finished) throw cli::Interrupted();
  }

  /// Reads what exists, in whole chunks.
  void give(const LoadedVideo& loaded, Film& film, Outputs& outputs, Report& report) {
    FrameSource source(frames_, film.width(), film.height());
    int64_t left = 0;
    {
      cli::Progress progress("reading", 0, "frames");
      left = give_frames(
          film, *loaded.codec, loaded.model.config().chunk_frames, loaded.model.device(), source,
          frames_limit_.value_or(std::numeric_limits<int64_t>::max()), *reading_,
          [&](const Tensor& frames) {
            report.given += frames.size(0);
            outputs.show(frames);
            progress.set(static_cast<double>(report.given));
          },
          poll);
    }
    if (source.damaged() > 0)
      log::warning(frames_, ": ", source.damaged(), " damaged frames were passed over");
    if (reading_->frames == 0)
      throw Error(Exit::data, frames_, ": ", left, " frames do not fill a chunk of ",
                  film.frames_of(1));
    reading_.reset();
    log::info("read ", report.given, " frames",
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
      poll();
      const auto start = Clock::now();
      const int64_t before = film.shown();
      const auto latents = film.next([&] {
        poll();
        progress.set(++done);
      });
      const auto frames = film.frames(latents);
      const double seconds = seconds_since(start);
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
    io::save_state(save_state_, state);
  }

  static void tell(const Film& film, const Report& report, double rate, bool json) {
    const double each = report.chunks > 0 ? report.seconds / static_cast<double>(report.chunks) : 0;
    if (json) {
      const auto& options = film.options();
      const nlohmann::ordered_json all = {
          {"frames", report.made},        {"given_frames", report.given},
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

  std::string model_, frames_, state_file_, save_state_, inspect_, hash_;
  std::optional<std::string> prompt_, class_, negative_;
  std::vector<std::string> outputs_;
  std::optional<int64_t> frames_limit_, width_, height_;
  std::optional<double> rate_;
  int64_t wanted_ = 32;
  bool echo_ = false;
  Surroundings surroundings_;
  SamplingOptions sampling_;
  std::optional<io::State> state_;
  std::optional<Reading> reading_;  // while --frames are not read to their end
};

}  // namespace

std::unique_ptr<plugin::Command> generate_video() {
  return std::make_unique<Generate>();
}

}  // namespace lact::video
