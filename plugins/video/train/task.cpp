#include "task.hpp"

#include "flow.hpp"
#include "training_options.hpp"
#include "training_set.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/video/codec/codec.hpp>
#include <plugins/video/codec/packed_codec.hpp>
#include <plugins/video/condition/condition.hpp>
#include <plugins/video/condition/prompts.hpp>
#include <plugins/video/model/cost.hpp>
#include <plugins/video/model/model.hpp>
#include <plugins/video/model/model_options.hpp>
#include <plugins/video/model/model_place.hpp>
#include <plugins/video/model/names.hpp>

#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/units.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <filesystem>
#include <optional>

namespace lact::video {
namespace {

using at::Tensor;
using train::Batch;
using train::Split;

constexpr double kMostFlops = 5e12;   // of a dry run's write strength
constexpr int kEvaluationTimes = 10;  // in linspace(0.05, 0.95)

class VideoTask final : public train::Task {
 public:
  train::Recipe defaults() const override {
    auto recipe = training().recipe;
    recipe.dtype = dtype_;
    return recipe;
  }

  void declare(cli::Options options) override {
    model_options_.declare(options);
    options_.declare(options);
  }

  void configure() override {
    std::optional<Config> base;
    if (!options_.init_from.empty()) base = Config::of(open_model(options_.init_from));
    config_ = model_options_.resolve(base ? &*base : nullptr);
    if (!options_.data.empty())
      set_ =
          TrainingSet(options_.data, config_, (base && base->fast) || model_options_.codec_given());
    config_.check("model");
    dtype_ = usual_dtype("auto", config_);
    if (config_.width == 0) {  // as published
      config_.width = 832;
      config_.height = 480;
    }
    shape_ = set_.windows(config_, options_.chunks, training().chunks, options_.repeats);
    shift_ = config_.shift > 0 ? config_.shift : auto_shift(extent().tokens);
  }

  train::Cost cost(const train::TaskSetup& setup) const override {
    const auto extent = this->extent();
    const auto videos = static_cast<double>(batch_size() * options_.micro_batches);
    train::Cost cost;
    cost.parameters = nn::count(parameter_shapes(config_));
    cost.tokens = static_cast<int64_t>(videos) * extent.length();
    const double forward = forward_flops(config_, extent);
    cost.flops = 3 * forward * videos;
    // Parameters, then gradients and two moments of those that are trained, and their averages.
    const double weights = 4 * static_cast<double>(cost.parameters);
    const double trained = 4 * static_cast<double>(trained_parameters());
    const double averages = setup.averages ? trained : 0;
    const double number = setup.dtype == at::kBFloat16 ? 2 : 4;
    const double activations = static_cast<double>(batch_size()) *
                               activation_bytes(config_, extent, number, setup.recompute);
    cost.memory_bytes = weights + 3 * trained + averages + activations;
    cost.activation_bytes = activations;
    cost.blocks = nn::counts_by(parameter_shapes(config_), "blocks.");
    // Queries, keys and values to the heads, and back what these make of them: four widths a token,
    // counted in float32's four bytes.
    const double exchanges = setup.recompute ? 3 : 2;
    cost.regrouped = exchanges * number *
                     static_cast<double>(config_.num_layers * config_.dim * batch_size()) *
                     static_cast<double>(extent.length());
    cost.rows = {
        {"width x layers", concat(config_.dim, " x ", config_.num_layers)},
        {"frames", concat(config_.width, " x ", config_.height, ", ", shape_.frames, " of a clip")},
        {"latents", concat(shape_.channels, " x ", shape_.height, " x ", shape_.width, ", ",
                           shape_.chunks, " chunks of ", shape_.chunk_frames)},
        {"tokens of a video", concat(extent.entries(), " entries x ", extent.tokens)},
        {"videos a step", concat(options_.micro_batches, " x ", batch_size())},
        {"FLOPs a video, forward", count_text(forward)},
        {"shift of the times", concat(shift_)},
        {"parameters that are trained", count_text(static_cast<double>(trained_parameters()))},
        {"weights, gradients, moments, averages", bytes_text(weights + 3 * trained + averages)},
        {"activations (estimate)", bytes_text(activations)},
        {"state of one film", bytes_text(state_bytes(config_, extent.tokens))},
    };
    return cost;
  }

  /// Nothing where one block of a chunk is minutes of work.
  std::optional<double> write_strength(const train::TaskSetup& setup) const override {
    auto one = config_;
    one.num_layers = 1;
    if (!one.has_fast(0) || forward_flops(one, {2, 1, extent().tokens}) > kMostFlops) return {};
    return fresh_write_strength(config_, shape_.height, shape_.width, setup.seed, setup.device);
  }

  void build(const train::TaskSetup& setup) override {
    set_.clips(Split::train);  // or there is nothing to train on
    setup_ = setup;
    std::optional<io::Checkpoint> start;
    if (!options_.init_from.empty()) start = open_model(options_.init_from);
    build_model(start ? &*start : nullptr);
    build_codec(start ? &*start : nullptr);
    warn_of_silence();
    const auto encoder = options_.init_from.empty()
                             ? std::filesystem::path(options_.text_encoder)
                             : text_encoder_of(options_.text_encoder, options_.init_from);
    prompts_.emplace(config_, encoder, options_.tokenizer, setup.device);
    for (const auto split : {Split::train, Split::validation})
      if (set_.has(split)) prompts_->prepare(set_.clips(split));
  }

  std::vector<train::Parameter> parameters() override {
    std::vector<train::Parameter> all;
    for (const auto& [name, tensor] : model_->parameters())
      if (trains(name))
        all.push_back({name, tensor, /*decay=*/tensor.dim() > 1,
                       is_addition(name) ? options_.new_rate_factor() : 1.0,
                       matrices(name, tensor)});
    return all;
  }

  std::string data_identity() const override { return packed::identity(options_.data, "train"); }

  std::unique_ptr<train::Source> source(Split split) override {
    const double drop =
        config_.condition == "none" ? 0 : options_.drop_text.value_or(training().drop_text);
    return window_source(set_.clips(split), shape_, {batch_size(), options_.micro_batches, drop});
  }

  train::Loss loss(const Batch& batch, const train::StepInfo&) override {
    const auto latent = latents(batch);
    const auto noise = batch.at("noise").to(setup_.device);
    const auto flow = make_flow_batch(latent, noise, batch.at("times").to(setup_.device), shift_,
                                      config_.chunk_frames);
    const auto text = prompts_->of(set_.clips(Split::train), batch.at("clips"), table());
    const auto* sharing = setup_.sharing;
    const auto velocity = predict(flow, text, latent.size(0), options_.repeats, sharing);
    const auto scored = static_cast<double>(noise.numel());
    if (sharing == nullptr) return {flow_loss(velocity, flow.target, flow.weight), scored};
    // Where others score, velocity and target are zero here.
    const auto own = own_latents(config_.patch_size, noise.size(3), noise.size(5), noise.size(6),
                                 sharing->rank(), sharing->size());
    const auto target = flow.target * own.unsqueeze(1).to(setup_.device);
    const auto processes = static_cast<double>(sharing->size());
    return {processes * flow_loss(velocity, target, flow.weight), scored / processes};
  }

  int micro_batches() const override { return options_.micro_batches; }

  /// Tokens of a chunk are shared out; what passes between them passes head by head.
  bool can_share(int processes) const override {
    const auto divides = [&](int64_t count, const char* what) {
      if (count % processes != 0)
        throw Error(Exit::usage, "--context-parallel-degree ", processes,
                    ": does not divide the model's ", count, " ", what);
    };
    divides(config_.num_heads, "heads of attention");
    if (config_.fast) divides(config_.fast_heads(), "heads of fast weights");
    divides(extent().tokens, "tokens of a chunk");
    return true;
  }

  dist::Shards shard(const dist::Group& group) override { return model_->shard(group); }

  int64_t validation_batches() const override {
    if (!set_.has(Split::validation)) return 0;
    return (set_.clips(Split::validation).size() + batch_size() - 1) / batch_size();
  }

  /// Videos, the first batch's write strength, then for each chunk the error summed over videos and
  /// times, and that of the velocity summed over videos.
  train::Tally tally(int64_t number) override {
    const auto& clips = set_.clips(Split::validation);
    const at::NoGradGuard no_grad;
    auto shape = shape_;
    shape.repeats = 1;
    const auto batch = evaluation_windows(clips, shape, number * batch_size(), batch_size());
    const auto summed = [&](double t) { return chunk_errors(clips, batch, t).sum(0); };
    auto all = at::zeros({shape.chunks}, at::kDouble);
    for (int i = 0; i < kEvaluationTimes; ++i)
      all += summed(0.05 + 0.9 * i / (kEvaluationTimes - 1)).to(all.options());
    const auto velocity = summed(kVelocityTime).to(all.options());
    train::Tally tally{static_cast<double>(batch.at("clips").size(0)),
                       number == 0 ? strength_on(clips, batch) : 0};
    for (const auto& sums : {all, velocity})
      tally.insert(tally.end(), sums.const_data_ptr<double>(),
                   sums.const_data_ptr<double>() + shape.chunks);
    return tally;
  }

  train::Metrics conclude(const train::Tally& sums) const override {
    const double videos = sums[0], strength = sums[1];
    const auto chunks = (sums.size() - 2) / 2;
    train::Metrics found;
    double loss = 0;
    for (size_t i = 0; i < chunks; ++i) {
      const double error = sums[2 + i] / (videos * kEvaluationTimes);
      found[concat("validation_metrics/loss_chunk_", i)] = error;
      found[concat("validation_metrics/velocity_chunk_", i)] = sums[2 + chunks + i] / videos;
      loss += error / static_cast<double>(chunks);
    }
    found["validation_metrics/loss"] = loss;
    if (strength > 0) found["validation_metrics/write_strength"] = strength;
    return found;
  }

  void load(const io::Checkpoint& checkpoint) override {
    model_->assign(checkpoint);
    if (config_.codec.type == "pca") take_codec(checkpoint, checkpoint.folder().string());
  }

  void save(io::CheckpointWriter& writer) const override {
    auto tensors = model_->parameters();
    if (codec_)
      for (auto& tensor : codec_->tensors()) tensors.push_back(std::move(tensor));
    writer.tensors("model.safetensors", tensors, {{"format", "pt"}});
    writer.file("config.json", config_.to_json().dump(2) + "\n");
  }

 private:
  Extent extent() const {
    const int64_t rows = shape_.height / config_.patch_size[1];
    const int64_t columns = shape_.width / config_.patch_size[2];
    return {shape_.chunks, shape_.repeats,
            config_.chunk_frames / config_.patch_size[0] * rows * columns};
  }

  // --- model -------------------------------------------------------------------------------------

  /// A model of prompts that trains on clips of which nothing is said learns to listen to none.
  void warn_of_silence() const {
    if (config_.condition != "bytes" && config_.condition != "umt5") return;
    const auto& clips = set_.clips(Split::train);
    int64_t captions = 0;
    for (int64_t i = 0; i < clips.size(); ++i) captions += !clips.info(i).caption.empty();
    const auto words =
        concat(options_.data, ": ", captions, " of ", clips.size(),
               " clips have a caption, which condition ", config_.condition, " reads");
    if (captions == 0)
      log::warning(words, "; pack with captions, or --condition none");
    else if (captions < clips.size())
      log::info(words);
  }

  void build_model(const io::Checkpoint* start) {
    if (start == nullptr) {
      model_.emplace(VideoModel::fresh(config_, setup_.seed, setup_.device));
    } else {
      std::vector<std::string> fresh;
      // What is trained is float32 or better, whatever its products are.
      const auto kept = setup_.dtype == at::kDouble ? at::kDouble : at::kFloat;
      model_.emplace(VideoModel::load(config_, *start, setup_.device, kept, &fresh, setup_.seed));
      if (!fresh.empty())
        log::info(options_.init_from, ": ", fresh.size(),
                  " tensors that it lacks start fresh, from ", fresh.front());
    }
    model_->set_compute_dtype(setup_.dtype);
    model_->set_recompute(setup_.recompute);
    for (auto& [name, tensor] : model_->parameters()) tensor.requires_grad_(trains(name));
  }

  void build_codec(const io::Checkpoint* start) {
    if (config_.codec.type != "pca") {
      const auto vae = options_.init_from.empty() ? std::filesystem::path(options_.vae)
                                                  : vae_of(options_.vae, options_.init_from);
      if (!set_.latents()) codec_ = open_codec(config_.codec, nullptr, vae, setup_.device);
    } else if (start != nullptr && start->contains("codec.mean")) {
      take_codec(*start, options_.init_from);
    } else {
      codec_ = set_.latents() ? packed_codec(set_.clips(Split::train), setup_.device)
                              : set_.fitted_codec(config_, setup_.seed);
    }
  }

  /// Principal components of a model, which clips that are latents must have been made with.
  void take_codec(const io::Checkpoint& model, const std::string& name) {
    codec_ = open_codec(config_.codec, &model, {}, setup_.device);
    for (const auto split : {Split::train, Split::validation})
      if (set_.has(split)) check_packed_codec(set_.clips(split), *codec_, name);
  }

  bool trains(const std::string& name) const {
    if (options_.train_only == "all") return true;
    if (name.rfind("blocks.", 0) != 0 || name.find(".self_attn.") == std::string::npos)
      return false;
    return config_.has_fast(std::stoll(name.substr(7)));
  }

  /// Those of the blocks; fast weights have one for each head.
  static int64_t matrices(const std::string& name, const Tensor& tensor) {
    if (!name.starts_with("blocks.") || !name.ends_with("weight")) {
      const bool fast = name.ends_with(".w0") || name.ends_with(".w1") || name.ends_with(".w2");
      return fast ? tensor.size(0) : 0;
    }
    return tensor.dim() == 2 && name.find("_proj.") == std::string::npos ? 1 : 0;
  }

  int64_t trained_parameters() const {
    int64_t count = 0;
    for (const auto& [name, shape] : parameter_shapes(config_)) {
      int64_t size = trains(name) ? 1 : 0;
      for (const int64_t n : shape) size *= n;
      count += size;
    }
    return count;
  }

  Tensor table() const { return model_->condition_table(); }

  /// [B, f, c, h, w]
  Tensor latents(const Batch& batch) const {
    const at::NoGradGuard no_grad;
    const auto& frames = batch.at("frames");
    if (set_.latents()) return frames.to(setup_.device).to(at::kFloat);
    return codec_->encode(to_video(frames, setup_.device));
  }

  Tensor predict(const FlowBatch& flow, const Tensor& text, int64_t videos, int64_t repeats,
                 const dist::Group* sharing = nullptr) const {
    const auto all =
        model_->forward(flow.entries, flow.timesteps, text, flow.plan, videos, nullptr, sharing);
    return noisy_outputs(all, flow.plan, videos, repeats).to(flow.target.scalar_type());
  }

  /// Chunks at time t, as evaluation sees them.
  FlowBatch flow_at(const Batch& batch, double t) const {
    const auto latent = latents(batch);
    const auto noise = batch.at("noise").to(setup_.device);
    const auto times = at::full({latent.size(0), 1, shape_.chunks}, t, noise.options());
    return make_flow_batch(latent, noise, times, /*shift=*/1, config_.chunk_frames);
  }

  /// How strongly the first chunk is written; 0 if nothing is learned.
  double strength_on(const PackedClips& clips, const Batch& batch) const {
    return video::write_strength(*model_, latents(batch), batch.at("noise").to(setup_.device),
                                 prompts_->of(clips, batch.at("clips"), table()));
  }

  /// Mean squared error of the velocity at time t, for each video and chunk: [B, chunks].
  Tensor chunk_errors(const PackedClips& clips, const Batch& batch, double t) const {
    const auto flow = flow_at(batch, t);
    const auto velocity = predict(flow, prompts_->of(clips, batch.at("clips"), table()),
                                  batch.at("clips").size(0), 1);
    const auto squared = (velocity - flow.target).square().to(at::kDouble);
    return squared.mean({1, 3, 4, 5, 6}).cpu();
  }

  PresetTraining training() const {
    return options_.init_from.empty() ? PresetTraining::of(model_options_.preset())
                                      : PresetTraining::of_start(options_.train_only);
  }
  int64_t batch_size() const { return options_.batch.value_or(training().batch); }

  ModelOptions model_options_;
  TrainingOptions options_;
  std::string dtype_ = "auto";
  Config config_;
  WindowShape shape_;
  double shift_ = 1;
  train::TaskSetup setup_;
  TrainingSet set_;
  std::optional<VideoModel> model_;
  std::unique_ptr<Codec> codec_;  // none where clips are latents, unless the model holds it
  std::optional<Prompts> prompts_;
};

}  // namespace

std::unique_ptr<train::Task> make_task() {
  return std::make_unique<VideoTask>();
}

}  // namespace lact::video
