// lact-bench quality video: how far continuations of real clips stay like them.

#include <plugins/common/media/frame_sink.hpp>
#include <plugins/common/media/sheet.hpp>
#include <plugins/video/commands.hpp>
#include <plugins/video/film/continuation.hpp>
#include <plugins/video/film/frame_source.hpp>
#include <plugins/video/film/sampling_options.hpp>
#include <plugins/video/model/model_place.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/cli/bench.hpp>
#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>

namespace lact::video {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using cli::number_text;

constexpr int64_t kColumns = 12;      // of a sheet
constexpr int64_t kLeastHeight = 64;  // of a picture on it
const char* const kBaseline = "last frame repeated";

struct BaselineRow {
  nlohmann::ordered_json chunk;
  std::string frames;
  Likeness likeness;
};

/// A model in the table; `learn` as it continues, `trained` as it was trained, empty: no fast
/// weights.
struct Measured {
  std::string name, trained, learn;
  double strength = 0;
  /// "none", or "none*": not what it was trained with.
  std::string learned() const { return learn == trained ? learn : learn + "*"; }
};

/// Pixels repeated until a picture can be seen.
media::Image enlarged(const Tensor& picture) {
  const int64_t times = std::max<int64_t>(1, kLeastHeight / picture.size(1));
  const auto bytes = picture.mul(255).round().clamp(0, 255).to(at::kByte).permute({1, 2, 0});
  return to_images(bytes.repeat_interleave(times, 0).repeat_interleave(times, 1).unsqueeze(0))[0];
}

class QualityVideo final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "The first --context-chunks of each clip are read, the others are generated and compared\n"
        "with the real frames chunk by chunk, as is a repetition of the last context frame.\n"
        "velocity: squared error of the velocity at t = 0.9 after real chunks (teacher forced).\n"
        "strength: how much of what the fast weights give the first real chunk changes. A model\n"
        "that learned in training and continues with --learn none misses what it relied on (*);\n"
        "the gain of learning is the difference to a model trained with --learn none.");
    options.add("DATA", data_, "packed clips of lact-tokenize video: a folder, or a file")
        .value("DIR|FILE")
        .required();
    auto model = options.group("Model");
    model.add("--model", models_, "model directory, run directory, or a tensor file")
        .value("DIR|FILE");
    model
        .add("--learn", learn_,
             "matrices that an update changes, instead of those the model was trained with; none: "
             "continue with learning off")
        .words({"all", "last", "none"});
    extras_.declare(model);
    auto sampling = options.group("Sampling");
    sampling_.declare(sampling);
    sampling.add("--negative", negative_, "prompt that guidance moves away from").value("TEXT");
    options.add("--split", split_, "split to read from a folder of packed clips");
    options.add("--context-chunks", context_chunks_, "chunks of each clip that are read")
        .range(1, 1 << 20);
    options.add("--chunks", chunks_, "chunks of each clip, context included; 0: all")
        .range(0, 1 << 20);
    options.add("--clips", most_, "measure the first N clips; 0: all")
        .range(int64_t{0}, int64_t{1} << 40)
        .value("N");
    options.add("--seeds", seeds_, "continuations of each clip, averaged").range(1, 1 << 20);
    options.add("--at-once", at_once_, "clips that are continued together").range(1, 1 << 20);
    options.add("--sheet", sheet_, "draw real frames above generated ones into this file")
        .value("FILE");
    options.add("--sheet-clips", sheet_clips_, "clips on the sheet").range(1, 100);
    cli::declare_form(options, format_);
    processes_.declare(options);
    options.renamed("--given", "--context-chunks");
  }

  void run(cli::Context& context) override {
    processes_.run(context, [&] { measure_all(context); });
  }

 private:
  void measure_all(const cli::Context& context) {
    if (models_.empty()) throw Error(Exit::usage, "--model is required");
    if (!sheet_.empty() && processes_.chief())
      media::check_folder(fs::path(sheet_).parent_path(), /*may_be_made=*/false);
    const auto data = PackedClips::open(data_, split_);
    clips_.resize(static_cast<size_t>(most_ > 0 ? std::min(most_, data.size()) : data.size()));
    std::iota(clips_.begin(), clips_.end(), int64_t{0});
    cli::Table table(context.json ? "json" : format_, {{"model", 20},
                                                       {"learn", 6},
                                                       {"chunk", 6, true},
                                                       {"frames", 9, true},
                                                       {"PSNR", 7, true},
                                                       {"SSIM", 7, true},
                                                       {"velocity", 9, true},
                                                       {"strength", 8, true}});
    const auto names = model_names();
    for (size_t i = 0; i < models_.size(); ++i) measure(models_[i], names[i], data, context, table);
    if (!processes_.chief()) return;
    for (const auto& one : baseline_)
      row(table, {kBaseline}, one.chunk, one.frames, one.likeness, {});
    table.finish();
    if (!sheet_.empty()) media::write_image(sheet_, sheet());
  }

  /// The last word of each path; whole paths where words are the same.
  std::vector<std::string> model_names() const {
    std::vector<std::string> names;
    std::map<std::string, int> seen;
    for (const auto& model : models_) {
      auto path = fs::path(model);
      if (path.filename().empty()) path = path.parent_path();
      names.push_back(path.stem().string());
      ++seen[names.back()];
    }
    for (size_t i = 0; i < names.size(); ++i)
      if (seen[names[i]] > 1) names[i] = models_[i];
    return names;
  }

  int64_t chunks(const PackedClips& data, int64_t clip, const LoadedVideo& loaded) const {
    const int64_t all = chunks_of(data, clip, loaded);
    return chunks_ > 0 ? std::min(chunks_, all) : all;
  }

  /// Clips of the same length, at most --at-once in a group, in their order.
  std::vector<std::vector<int64_t>> groups(const PackedClips& data,
                                           const LoadedVideo& loaded) const {
    std::vector<std::vector<int64_t>> all;
    for (const int64_t clip : clips_) {
      const int64_t length = chunks(data, clip, loaded);
      if (length <= context_chunks_)
        throw Error(Exit::usage, "--context-chunks ", context_chunks_, ": clip ", clip, " has ",
                    length, " chunks, of which none is left to be continued");
      const bool joins = !all.empty() && static_cast<int64_t>(all.back().size()) < at_once_ &&
                         chunks(data, all.back().front(), loaded) == length;
      if (!joins) all.emplace_back();
      all.back().push_back(clip);
    }
    return all;
  }

  void measure(const std::string& place, const std::string& name, const PackedClips& data,
               const cli::Context& context, cli::Table& table) {
    const auto checkpoint = open_model(place);
    auto config = Config::of(checkpoint);
    Measured model{name, config.fast ? config.fast->learn : "", {}};
    model.learn = model.trained;
    if (!learn_.empty() && config.fast) model.learn = config.fast->learn = learn_;
    const auto dtype = ops::resolve_dtype(usual_dtype(context.dtype, config), context.device);
    if (processes_.size() > 1)
      processes_.require_same(concat(checkpoint.hash(), ", ", ops::dtype_name(dtype)), "models");
    auto extras = extras_;
    extras.look_beside(place);
    const auto loaded = extras.load(checkpoint, config, context.device, dtype);
    const int64_t tokens = chunk_tokens(loaded, data.width(), data.height());
    ContinuationOptions options;
    options.film = sampling_.over(SamplingOptions::usual(config, tokens), config, tokens);
    check_negative(!negative_.empty(), options.film.guidance);
    options.context = context_chunks_;
    options.seeds.clear();
    for (int64_t i = 0; i < seeds_; ++i)
      options.seeds.push_back(context.seed.value_or(kDefaultSeed) + static_cast<uint64_t>(i));
    auto prompts = extras.prompts(config, context.device);
    prompts.prepare(data);
    const auto negative = extras.embed(config, &loaded.model, {negative_}, context.device);
    const auto all = groups(data, loaded);
    double steps = 0, done = 0;
    for (const auto& group : all)
      steps += static_cast<double>((chunks(data, group[0], loaded) - context_chunks_) * seeds_ *
                                   options.film.steps);
    std::vector<ChunkScore> scores;
    cli::Progress progress("continuing", steps / processes_.size(), "steps");  // rank 0's
    const auto step = [&] {
      if (cli::stop_requested()) throw cli::Interrupted();
      progress.set(++done);
    };
    const auto text_of = [&](const std::vector<int64_t>& group) {
      return prompts.of(data, at::tensor(group), loaded.model.condition_table()).detach();
    };
    const auto read = [&](const std::vector<int64_t>& group) {
      return read_clips(data, group, loaded, chunks(data, group[0], loaded));
    };
    processes_.in_order(
        static_cast<int64_t>(all.size()), 1,
        [&](int64_t part) {
          const auto& group = all[static_cast<size_t>(part)];
          const auto count = static_cast<int64_t>(group.size());
          Tensor made;
          const auto some = continue_clips(loaded, read(group), group, text_of(group),
                                           negative.expand({count, -1, -1}), options, step, &made);
          return cli::to_bytes(some) + (on_sheet(group) ? cli::to_bytes(made) : "");
        },
        [&](int64_t part, const std::string& made) {
          const auto& group = all[static_cast<size_t>(part)];
          const auto length = static_cast<size_t>(chunks(data, group[0], loaded));
          const auto some =
              cli::from_bytes<ChunkScore>(made.substr(0, length * sizeof(ChunkScore)));
          if (scores.size() < some.size()) scores.resize(some.size());
          for (size_t c = 0; c < some.size(); ++c) scores[c].add(some[c]);
          if (part > 0 && !on_sheet(group)) return;
          const auto batch = read(group);
          if (part == 0) model.strength = strength(loaded.model, batch.latents, text_of(group));
          if (on_sheet(group))
            keep(batch,
                 cli::from_bytes(made.substr(length * sizeof(ChunkScore)), at::kFloat,
                                 batch.video.sizes()),
                 name);
        });
    if (processes_.chief()) report(model, loaded, scores, table);
  }

  /// Of the first clips.
  double strength(const VideoModel& model, const Tensor& latents, const Tensor& text) const {
    const auto& config = model.config();
    const int64_t chunks = latents.size(1) / config.chunk_frames;
    const auto noise = chunk_noise(kDefaultSeed, 0,
                                   {latents.size(0), 1, chunks, config.chunk_frames, config.in_dim,
                                    latents.size(3), latents.size(4)});
    return write_strength(model, latents, noise.to(latents.device()), text);
  }

  void report(const Measured& model, const LoadedVideo& loaded,
              const std::vector<ChunkScore>& scores, cli::Table& table) {
    const auto frames = [&](size_t from, size_t to) {
      const auto first = [&](size_t chunk) {
        const auto latents = static_cast<int64_t>(chunk) * loaded.model.config().chunk_frames;
        return latents > 0 ? loaded.codec->frames(latents) : 0;
      };
      return concat(first(from), "-", first(to) - 1);
    };
    const auto context = static_cast<size_t>(context_chunks_);
    ChunkScore sum;
    for (size_t c = 0; c < scores.size(); ++c) {
      row(table, model, static_cast<int64_t>(c), frames(c, c + 1), scores[c].ours, scores[c]);
      if (c >= context) sum.add(scores[c]);
    }
    row(table, model, "mean", frames(context, scores.size()), sum.ours, sum);
    if (!baseline_.empty()) return;
    for (size_t c = context; c < scores.size(); ++c)
      baseline_.push_back({static_cast<int64_t>(c), frames(c, c + 1), scores[c].repeated});
    baseline_.push_back({"mean", frames(context, scores.size()), sum.repeated});
  }

  void row(cli::Table& table, const Measured& model, const nlohmann::ordered_json& chunk,
           const std::string& frames, const Likeness& likeness, const ChunkScore& score) const {
    nlohmann::ordered_json values = {{"model", model.name},    {"chunk", chunk},
                                     {"frames", frames},       {"context_chunks", context_chunks_},
                                     {"clips", clips_.size()}, {"seeds", seeds_}};
    std::vector<std::string> cells = {model.name.substr(0, 20), model.learned(),
                                      chunk.is_string() ? chunk.get<std::string>() : chunk.dump(),
                                      frames};
    const auto put = [&](const char* key, bool known, double value, const char* form) {
      if (known) values[key] = value;
      cells.push_back(known ? number_text(value, form) : "");
    };
    put("psnr", !likeness.empty(), likeness.psnr(), "%.2f");
    const auto ssim = likeness.ssim();
    put("ssim", ssim.has_value(), ssim.value_or(0), "%.4f");
    put("velocity_error", score.velocities > 0, score.velocity / score.velocities, "%.4f");
    put("write_strength", model.strength > 0, model.strength, "%.3g");
    if (!model.learn.empty()) {
      values["learn"] = model.learn;
      values["trained_learn"] = model.trained;
    }
    table.row(values, cells);
  }

  // --- the sheet ---------------------------------------------------------------------------------

  /// The sheet shows some of these clips, which come in their order.
  bool on_sheet(const std::vector<int64_t>& group) const {
    return !sheet_.empty() && group[0] < sheet_clips_;
  }

  /// The first clips' pictures, as they come.
  void keep(const ClipBatch& batch, const Tensor& made, const std::string& name) {
    const auto add = [&](const std::string& part, const Tensor& video) {
      auto& rows = parts_[part];
      if (rows.empty()) order_.push_back(part);
      for (int64_t i = 0; i < video.size(0) && static_cast<int64_t>(rows.size()) < sheet_clips_;
           ++i)
        rows.push_back(video[i].cpu());
    };
    if (name == model_names().front()) add("truth", batch.video);
    add(name, made);
  }

  media::Image sheet() const {
    const auto& truth = parts_.at("truth");
    std::vector<media::SheetRow> rows;
    std::vector<std::string> titles;
    for (size_t clip = 0; clip < truth.size(); ++clip)
      for (const auto& part : order_) {
        const auto& video = parts_.at(part).at(clip);  // [3, F, H, W]
        rows.push_back({part, {}});
        const int64_t frames = video.size(1), columns = std::min(kColumns, frames);
        for (int64_t i = 0; i < columns; ++i) {
          const int64_t frame = columns < 2 ? 0 : i * (frames - 1) / (columns - 1);
          rows.back().images.push_back(enlarged(video.select(1, frame)));
          if (titles.size() < static_cast<size_t>(columns)) titles.push_back(std::to_string(frame));
        }
      }
    return media::contact_sheet(rows, titles);
  }

  std::vector<std::string> models_;
  std::string learn_, data_, split_ = "validation", format_ = "md", sheet_, negative_;
  int64_t context_chunks_ = 2, chunks_ = 0, most_ = 0, seeds_ = 1, at_once_ = 8, sheet_clips_ = 4;
  ModelExtras extras_;
  SamplingOptions sampling_;
  std::vector<BaselineRow> baseline_;  // of the first model's chunks
  std::vector<int64_t> clips_;
  std::vector<std::string> order_;                    // of parts on the sheet
  std::map<std::string, std::vector<Tensor>> parts_;  // a clip each
  cli::Processes processes_;
};

}  // namespace

std::unique_ptr<plugin::Command> quality_video() {
  return std::make_unique<QualityVideo>();
}

}  // namespace lact::video
