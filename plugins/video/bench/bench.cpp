// lact-bench video: time and memory of a chunk, however long the film, and of a training step.

#include <plugins/common/media/size.hpp>
#include <plugins/video/commands.hpp>
#include <plugins/video/film/film.hpp>
#include <plugins/video/film/sampling_options.hpp>
#include <plugins/video/model/cost.hpp>
#include <plugins/video/model/model_options.hpp>
#include <plugins/video/model/model_place.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/ops/peak_memory.hpp>
#include <lact/random.hpp>
#include <lact/train/optimizer.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>

namespace lact::video {
namespace {

using at::Tensor;
using cli::number_text;

/// Noise as a chunk's latents [rows, frames, c, h, w].
Tensor latents(const Config& config, int64_t rows, int64_t frames, int64_t h, int64_t w,
               int64_t number) {
  return chunk_noise(7, number, {rows, frames, config.in_dim, h, w});
}

struct Sample {
  std::vector<double> seconds;
  std::optional<int64_t> peak_bytes;
};

/// What a row of the table stands for.
struct Test {
  std::string name, kind;
  int64_t chunk = 0, tokens = 0;
  double flops = 0;
};

class BenchVideo final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "A film of random latents: chunk N is generated after N - 1 others, each time by reading\n"
        "the preceding chunk and taking all sampler steps. Time and memory must not depend on N.\n"
        "Encoders and decoders are not measured. train: a training step, forward, backward and\n"
        "AdamW. 'strength' is how much of what the fast weights give one chunk of random latents\n"
        "changes. LIST is N, A-B, A-B+STEP, A-B*FACTOR, or a list of these.");
    options.add("--model", model_, "model to measure (default: a new --preset)").value("DIR|FILE");
    options_.declare(options);
    options.add("--steps", steps_, "sampler steps per chunk (default: 20; Wan: 50)").range(1, 1000);
    options
        .add("--guidance", guidance_,
             "guidance scale; any but 1 doubles the work (default: 1; Wan: 5)")
        .range(-1000.0, 1000.0);
    options.add("--size", size_, "size of the frames (default: as the model was trained, else 64)")
        .value("WxH|N");
    options.add("--chunks", chunks_, "chunks of the film to measure, counted from 1")
        .value("LIST")
        .initially("1,10,50");
    options.add("--train-rows", rows_, "films in a training step; 0: no training")
        .range(0, 1 << 20);
    options.add("--train-chunks", train_chunks_, "chunks per film in a training step")
        .range(1, 1 << 20);
    bench_.declare(options.group("Measuring"));
    options.renamed("--width", "--size");
    options.renamed("--height", "--size");
  }

  void run(cli::Context& context) override {
    context_ = &context;
    auto chunks = cli::parse_numbers(chunks_, "--chunks", {1, 10, 50});
    std::sort(chunks.begin(), chunks.end());
    if (!chunks.empty() && chunks[0] < 1)
      throw Error(Exit::usage, "--chunks: the first chunk is 1, not ", chunks[0]);
    auto model = load();
    const auto& config = model.config();
    const int64_t factor = config.codec.factor;
    std::pair<int64_t, int64_t> size{config.width > 0 ? config.width : 64,
                                     config.height > 0 ? config.height : 64};
    if (!size_.empty()) size = media::parse_size(size_, "--size");
    w_ = size.first / factor;
    h_ = size.second / factor;
    if (h_ < 1 || w_ < 1 || h_ % config.patch_size[1] != 0 || w_ % config.patch_size[2] != 0)
      throw Error(Exit::usage, "--size ", size.first, "x", size.second,
                  ": this model takes multiples of ", factor * config.patch_size[2], " x ",
                  factor * config.patch_size[1]);
    tokens_ = model.chunk_tokens(h_, w_);
    ceiling_ = ops::product_rate(context.device, model.compute_dtype());
    cli::Table table(context.json ? "json" : bench_.format, {{"test", 14},
                                                             {"tokens", 8, true},
                                                             {"seconds", 16, true},
                                                             {"tokens/s", 9, true},
                                                             {"GFLOP/s", 9, true},
                                                             {"% of max", 8, true},
                                                             {"peak MiB", 9, true},
                                                             {"process MiB", 11, true},
                                                             {"strength", 8, true}});
    strength_ = strength(model);
    film(model, chunks, table);
    if (rows_ > 0) training(model, table);
    table.finish();
  }

 private:
  double strength(const VideoModel& model) const {
    const uint64_t seed = context_->seed.value_or(kDefaultSeed);
    return model_.empty() ? fresh_write_strength(model.config(), h_, w_, seed, context_->device)
                          : write_strength(model, h_, w_, seed);
  }

  VideoModel load() {
    const auto resolve = [this](const Config& config) {
      const auto dtype = ops::resolve_dtype(usual_dtype(context_->dtype, config), context_->device);
      dtype_ = ops::dtype_name(dtype);
      return dtype;
    };
    if (model_.empty()) {
      const auto config = options_.resolve(nullptr);
      auto model =
          VideoModel::fresh(config, context_->seed.value_or(kDefaultSeed), context_->device);
      model.set_compute_dtype(resolve(config));
      return model;
    }
    if (options_.given())
      throw Error(Exit::usage, "--model excludes --preset and the other options of the model");
    const auto checkpoint = open_model(model_);
    const auto config = Config::of(checkpoint);
    return VideoModel::load(config, checkpoint, context_->device, resolve(config));
  }

  static void poll() {
    if (cli::stop_requested()) throw cli::Interrupted();
  }

  Sample repeat(const std::function<void()>& work) const {
    Sample sample;
    const auto device = context_->device;
    for (int i = bench_.no_warmup ? 0 : -1; i < bench_.repetitions; ++i) {
      poll();
      double seconds = 0;
      const auto once = [&] { seconds = cli::timed(device, work); };
      if (!sample.peak_bytes) {
        sample.peak_bytes = ops::peak_bytes(device, once);  // of the first run, as of all
      } else {
        once();
      }
      if (i >= 0) sample.seconds.push_back(seconds);
    }
    return sample;
  }

  // --- a film ------------------------------------------------------------------------------------

  /// FLOPs of appending a chunk and of all steps towards the next; of the first chunk, steps alone.
  double chunk_flops(const Config& config, const FilmOptions& film, bool first) const {
    const double alone = forward_flops(config, Extent{1, 1, tokens_});
    const auto steps = static_cast<double>(film.steps);
    const double branches = film.guidance == 1 ? 1 : 2;
    if (first) return branches * steps * alone;
    // Two chunks: noisy, clean, noisy; the last one looks at the clean one too.
    const double pair = forward_flops(config, Extent{2, 1, tokens_}) - alone;
    double window = 0;
    for (int64_t i = 0; i < config.num_layers; ++i)
      if (config.has_fast(i)) {
        const int64_t kv = config.fast->kv_cache_size;
        const auto keys = static_cast<double>(kv < 0 ? tokens_ : std::min(kv, tokens_));
        window += 4 * static_cast<double>(tokens_) * keys * static_cast<double>(config.dim);
      }
    return branches * (pair + (steps - 1) * (alone + window));
  }

  void film(const VideoModel& model, const std::vector<int64_t>& chunks, cli::Table& table) const {
    const auto& config = model.config();
    auto options = SamplingOptions::usual(config, tokens_);
    options.steps = steps_.value_or(options.steps);
    options.guidance = guidance_.value_or(options.guidance);
    const auto prompt = at::zeros({1, 1, config.text_dim});
    Rollout past(model, options, prompt, prompt);
    for (const int64_t chunk : chunks) {
      // Chunk N follows N - 1, of which the last is appended within its time.
      while (past.chunks() < chunk - 2) {
        poll();
        past.append(latents(config, 1, config.chunk_frames, h_, w_, past.chunks()));
      }
      const auto before = latents(config, 1, config.chunk_frames, h_, w_, chunk - 2);
      const auto noise = latents(config, 1, config.chunk_frames, h_, w_, chunk);
      const auto sample = repeat([&] {
        auto film = past;
        if (chunk > 1) film.append(before);
        film.make(noise, poll);
      });
      report({concat("chunk ", chunk), "chunk", chunk, tokens_,
              chunk_flops(config, options, chunk == 1)},
             config, sample, table);
    }
  }

  // --- training ----------------------------------------------------------------------------------

  void training(const VideoModel& model, cli::Table& table) const {
    const auto& config = model.config();
    std::vector<train::Parameter> parameters;
    for (auto& [name, tensor] : model.parameters()) {
      tensor.requires_grad_(true);
      parameters.push_back({name, tensor});
    }
    train::Optimizer optimizer(parameters, {});
    const Extent sequence{train_chunks_, 1, tokens_};
    const int64_t frames = config.chunk_frames, chunks = train_chunks_;
    const auto device = context_->device;
    const auto latent = latents(config, rows_, chunks * frames, h_, w_, 1).to(device);
    const auto noise = latents(config, rows_, chunks * frames, h_, w_, 2)
                           .view({rows_, 1, chunks, frames, config.in_dim, h_, w_})
                           .to(device);
    const auto batch =
        make_flow_batch(latent, noise, at::zeros({rows_, 1, chunks}).add(0.5).to(device),
                        config.shift > 0 ? config.shift : auto_shift(tokens_), frames);
    const auto text = at::zeros({rows_, 1, config.text_dim}).to(device);
    const auto sample = repeat([&] {
      const auto out = model.forward(batch.entries, batch.timesteps, text, batch.plan, rows_);
      flow_loss(noisy_outputs(out, batch.plan, rows_, 1), batch.target, batch.weight).backward();
      const double norm = train::global_norm(optimizer.parameters());
      train::scale_gradients(optimizer.parameters(), std::min(1.0, 1 / (norm + 1e-6)));
      optimizer.step(/*learning_rate=*/1e-5);
      optimizer.zero_grad();
    });
    report({concat("train ", rows_, " x ", chunks), "train", chunks, rows_ * sequence.length(),
            3 * static_cast<double>(rows_) * forward_flops(config, sequence)},
           config, sample, table);
  }

  // --- what came out -----------------------------------------------------------------------------

  void report(const Test& test, const Config& config, const Sample& sample,
              cli::Table& table) const {
    const auto time = cli::spread(sample.seconds);
    const auto tokens = static_cast<double>(test.tokens);
    const double used = 100 * test.flops / time.mean / ceiling_;
    const auto process = static_cast<double>(ops::process_peak_bytes());
    nlohmann::ordered_json values = {{"test", test.kind},
                                     {"chunk", test.chunk},
                                     {"model_n_params", nn::count(parameter_shapes(config))},
                                     {"dtype", dtype_},
                                     {"n_threads", context_->threads},
                                     {"width", w_ * config.codec.factor},
                                     {"height", h_ * config.codec.factor},
                                     {"tokens", test.tokens},
                                     {"avg_seconds", time.mean},
                                     {"stddev_seconds", time.deviation},
                                     {"tokens_per_second", tokens / time.mean},
                                     {"flops", test.flops},
                                     {"ceiling_flops_per_second", ceiling_},
                                     {"utilisation_percent", used},
                                     {"peak_rss_bytes", process}};
    if (sample.peak_bytes) values["peak_bytes"] = *sample.peak_bytes;
    if (strength_ > 0) values["write_strength"] = strength_;
    values["samples_seconds"] = sample.seconds;
    const auto mebibytes = [](double bytes) { return number_text(bytes / 1048576, "%.1f"); };
    table.row(values, {test.name, number_text(tokens, "%.0f"), cli::spread_text(time, 3),
                       number_text(tokens / time.mean, "%.0f"),
                       number_text(test.flops / time.mean / 1e9, "%.1f"), number_text(used, "%.1f"),
                       sample.peak_bytes ? mebibytes(static_cast<double>(*sample.peak_bytes)) : "",
                       mebibytes(process), strength_ > 0 ? number_text(strength_, "%.3g") : ""});
  }

  std::string model_, size_, dtype_;
  ModelOptions options_;
  std::optional<int64_t> steps_;
  std::optional<double> guidance_;
  std::vector<std::string> chunks_;
  int64_t rows_ = 1, train_chunks_ = 8;
  cli::BenchOptions bench_;
  const cli::Context* context_ = nullptr;
  double ceiling_ = 0, strength_ = 0;
  int64_t h_ = 0, w_ = 0, tokens_ = 0;
};

}  // namespace

std::unique_ptr<plugin::Command> bench_video() {
  return std::make_unique<BenchVideo>();
}

}  // namespace lact::video
