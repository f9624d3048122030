#include "task.hpp"

#include "rows.hpp"

#include <plugins/common/packed/packed_set.hpp>
#include <plugins/common/spm/hugging_face.hpp>
#include <plugins/text/model/cost.hpp>
#include <plugins/text/model/model.hpp>
#include <plugins/text/model/model_options.hpp>
#include <plugins/text/packed/packed_tokens.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/units.hpp>

#include <nlohmann/json.hpp>

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

namespace lact::text {
namespace {

namespace fs = std::filesystem;
using train::Batch;
using train::Split;

/// Rows of one split, in the order of the run.
class RowSource final : public train::Source {
 public:
  RowSource(PackedTokens data, int64_t batch, int micro_batches, int64_t length, bool documents,
            bool mask)
      : data_(std::move(data)),
        batch_(batch),
        micro_batches_(micro_batches),
        length_(length),
        documents_(documents),
        mask_(mask) {}

  Batch at(uint64_t seed, int64_t step, int micro) override {
    if (!order_ || seed != seed_) {
      if (documents_)
        order_.emplace(seed, document_rows(data_, length_));
      else
        order_.emplace(seed, data_.tokens(), length_);
    }
    seed_ = seed;
    const int64_t place = train::place_of(step, micro, micro_batches_);
    std::vector<Row> rows;
    for (int64_t row = 0; row < batch_; ++row) rows.push_back(order_->at(place * batch_ + row));
    return make_batch(data_, rows, mask_);
  }

 private:
  PackedTokens data_;
  int64_t batch_;
  int micro_batches_;
  int64_t length_;
  bool documents_, mask_;
  uint64_t seed_ = 0;
  std::optional<RowOrder> order_;
};

class TextTask final : public train::Task {
 public:
  void declare(cli::Options options) override {
    model_options_.declare(options);
    options.group("Model")
        .add("--init-from", init_from_,
             "model directory to take initial weights from, sharded or not")
        .value("DIR");
    auto group = options.group("Data");
    group
        .add("--data", data_folder_,
             "folder of lact-tokenize text encode: train.safetensors, validation.safetensors, "
             "tokenizer.model")
        .value("DIR");
    group.add("--seq-len", seq_len_, "tokens per row").range(2, 1 << 30);
    group
        .add("--rows", rows_,
             "what a row is: the next tokens of the stream of all documents, or of one document "
             "alone, from its beginning on")
        .words({"stream", "documents"});
    group.add("--batch-size", batch_size_, "rows per micro-batch").range(1, 1 << 20);
    group.add("--grad-accum", micro_batches_, "micro-batches per step").range(1, 1 << 20);
    group
        .add("--reset", reset_,
             "state that a document boundary within a row resets: all (fast weights, window, "
             "positions), attention (window and positions, as the published code), none")
        .words({"none", "attention", "all"});
  }

  void configure() override {
    std::optional<io::Checkpoint> start;
    std::optional<Config> base;
    if (!init_from_.empty()) base = Config::of(start.emplace(io::Checkpoint::open(init_from_)));
    config_ = model_options_.resolve(base ? &*base : nullptr);
    if (data_folder_.empty()) return;
    open_data();
    const int64_t vocabulary = data_.at(Split::train).vocab_size();
    if (!base && !model_options_.given("vocab_size")) config_.vocab_size = vocabulary;
    if (start) take_tokenizer(*start);
    if (!base && !tokenizer_.empty()) take_special_ids();
    if (config_.vocab_size < vocabulary)
      throw Error(Exit::config, "vocab_size ", config_.vocab_size, " is smaller than the ",
                  vocabulary, " pieces of the tokenizer in ", data_folder_);
  }

  train::Cost cost(const train::TaskSetup& setup) const override {
    train::Cost cost;
    cost.parameters = nn::count(parameter_shapes(config_));
    const int64_t rows = batch_size_ * micro_batches_;
    cost.tokens = rows * seq_len_;
    const double forward = forward_flops(config_, seq_len_);
    cost.flops = 3 * forward * static_cast<double>(rows);
    const int64_t number = setup.dtype == at::kBFloat16 ? 2 : 4;
    const double activations =
        activation_bytes(config_, batch_size_, seq_len_, number, setup.recompute);
    const double weights = 16.0 * static_cast<double>(cost.parameters);
    cost.memory_bytes = weights + activations;
    cost.activation_bytes = activations;
    cost.blocks = nn::counts_by(parameter_shapes(config_), "model.layers.");
    cost.rows = {
        {"width x layers", concat(config_.hidden_size, " x ", config_.num_hidden_layers)},
        {"fast weights", concat(config_.num_lact_heads, " heads of ", config_.fast_width(), " x ",
                                config_.fast_hidden())},
        {"chunk, window",
         concat(config_.lact_chunk_size, ", ",
                config_.window_size ? std::to_string(*config_.window_size) : "all")},
        {"vocabulary", std::to_string(config_.vocab_size)},
        {"rows a step",
         concat(micro_batches_, " x ", batch_size_, " rows of ", seq_len_, " tokens")},
        {"FLOPs a token, forward", count_text(forward / static_cast<double>(seq_len_))},
        {"weights, gradients, moments", bytes_text(weights)},
        {"activations (estimate)", bytes_text(activations)},
        {"state of one sequence", bytes_text(static_cast<double>(state_bytes(config_, number)))},
    };
    return cost;
  }

  std::optional<double> write_strength(const train::TaskSetup& setup) const override {
    if (!config_.use_fast_weights) return {};
    return LanguageModel::fresh_write_strength(config_, setup.seed, setup.device);
  }

  std::string data_identity() const override { return packed::identity(data_folder_, "train"); }

  void build(const train::TaskSetup& setup) override {
    if (data_.count(Split::train) == 0)
      throw Error(Exit::usage,
                  "--data is missing: a folder that lact-tokenize text encode has written");
    setup_ = setup;
    model_.emplace(LanguageModel::fresh(config_, setup.seed, setup.device));
    if (!init_from_.empty()) model_->assign(io::Checkpoint::open(init_from_));
    prepare();
    if (tokenizer_.empty())
      log::warning(
          data_folder_,
          ": has no tokenizer.model: the model will have none, and lact-generate needs it");
  }

  std::vector<train::Parameter> parameters() override {
    std::vector<train::Parameter> all;
    for (const auto& [name, tensor] : model_->parameters()) {
      const bool per_channel = name.find(".qk_scale") != std::string::npos ||
                               name.find(".qk_offset") != std::string::npos;
      all.push_back(
          {name, tensor, /*decay=*/tensor.dim() >= 2 && !per_channel, 1.0, matrices(name, tensor)});
    }
    return all;
  }

  std::unique_ptr<train::Source> source(Split split) override {
    const auto found = data_.find(split);
    if (found == data_.end())
      throw Error(Exit::no_input, data_folder_, ": no validation.safetensors");
    return std::make_unique<RowSource>(found->second, batch_size_, micro_batches_, seq_len_,
                                       rows_ == "documents", mask());
  }

  train::Loss loss(const Batch& batch, const train::StepInfo&) override {
    const auto labels = batch.at("labels").slice(1, 1);
    return {loss_of(batch), static_cast<double>(labels.ne(-100).sum().item<int64_t>()),
            static_cast<double>(labels.numel())};
  }

  int micro_batches() const override { return micro_batches_; }

  dist::Shards shard(const dist::Group& group) override { return model_->shard(group); }

  int64_t validation_batches() const override {
    const auto found = data_.find(Split::validation);
    if (found == data_.end()) return 0;
    const auto rows = static_cast<int64_t>(evaluation_rows(found->second).size());
    return (rows + batch_size_ - 1) / batch_size_;
  }

  /// Summed loss, tokens scored, and the first batch's write strength.
  train::Tally tally(int64_t number) override {
    const at::NoGradGuard no_grad;
    const auto& data = data_.at(Split::validation);
    if (evaluated_.empty()) evaluated_ = evaluation_rows(data);
    const auto& all = evaluated_;
    const auto rows = static_cast<int64_t>(all.size()), first = number * batch_size_;
    const auto batch = make_batch(
        data, {all.begin() + first, all.begin() + std::min(first + batch_size_, rows)}, mask());
    const auto scored =
        static_cast<double>(batch.at("labels").slice(1, 1).ne(-100).sum().item<int64_t>());
    // The mean of nothing is no number.
    const double loss = scored > 0 ? loss_of(batch).item<double>() * scored : 0;
    return {loss, scored,
            number == 0 ? model_->write_strength(batch.at("ids").to(setup_.device)) : 0};
  }

  train::Metrics conclude(const train::Tally& sums) const override {
    const double loss = sums[0], scored = sums[1], strength = sums[2];
    if (scored == 0) return {};
    train::Metrics metrics{{"validation_metrics/loss", loss / scored}};
    if (strength > 0) metrics["validation_metrics/write_strength"] = strength;
    return metrics;
  }

  /// The model as it was begun: what presets mean today is not its concern.
  void load(const io::Checkpoint& checkpoint) override {
    take_tokenizer(checkpoint);
    model_.emplace(LanguageModel::load(checkpoint, setup_.device));
    config_ = model_->config();
    prepare();
  }

  void save(io::CheckpointWriter& writer) const override {
    writer.tensors("model.safetensors", model_->parameters(), {{"format", "pt"}});
    writer.file("config.json", config_.to_json().dump(2) + "\n");
    if (!tokenizer_.empty()) writer.file("tokenizer.model", tokenizer_);
    if (!tokenizer_.empty()) describe_for_transformers(writer);
  }

 private:
  /// All of the folder is of one tokenizer: ids mean nothing without it.
  void open_data() {
    const auto folder = fs::path(data_folder_);
    if (!fs::is_directory(folder))
      throw Error(Exit::no_input, data_folder_,
                  ": no such folder; --data says where the data lie, also to a run that goes on");
    const auto open = [&](Split split, const char* name) {
      data_.emplace(split, PackedTokens::open(folder / name));
    };
    open(Split::train, "train.safetensors");
    const auto& data = data_.at(Split::train);
    const auto validation = folder / "validation.safetensors";
    if (fs::exists(validation)) {
      open(Split::validation, "validation.safetensors");
      data_.at(Split::validation)
          .require_tokenizer(data.tokenizer(), validation, "train.safetensors is of");
    }
    const auto file = folder / "tokenizer.model";
    if (!fs::exists(file)) return;
    tokenizer_ = io::read_text(file);
    data.require_tokenizer(hash(tokenizer_), folder / "train.safetensors",
                           "tokenizer.model beside it is");
  }
  /// Ids of another tokenizer would go on without a word where the model's were.
  void take_tokenizer(const io::Checkpoint& checkpoint) {
    if (const auto ends = generation_ends(checkpoint); !ends.empty()) ends_ = ends;
    const auto file = checkpoint.side_file("tokenizer.model");
    if (file.empty()) return;
    const auto bytes = io::read_text(file);
    data_.at(Split::train)
        .require_tokenizer(hash(bytes), fs::path(data_folder_) / "train.safetensors",
                           concat(file.string(), " is"));
    tokenizer_ = bytes;
  }
  /// What begins and ends a text is the tokenizer's to say, unless it was said here.
  void take_special_ids() {
    const auto model = spm::ModelFile::parse(tokenizer_, "tokenizer.model");
    if (!model_options_.given("bos_token_id"))
      config_.bos_token_id = model.control(model.bos_piece);
    if (!model_options_.given("eos_token_id"))
      config_.eos_token_id = model.control(model.eos_piece);
  }
  /// What transformers reads of a model folder beside its weights and config.json.
  void describe_for_transformers(io::CheckpointWriter& writer) const {
    const auto model = spm::ModelFile::parse(tokenizer_, "tokenizer.model");
    if (const auto whole = spm::tokenizer_json(model); !whole.empty())
      writer.file("tokenizer.json", whole);
    writer.file("tokenizer_config.json",
                spm::tokenizer_config_json(model, config_.max_position_embeddings));
    auto generation = nlohmann::ordered_json::object();
    const auto put = [&](const char* key, const std::optional<int64_t>& id) {
      if (id) generation[key] = *id;
    };
    put("bos_token_id", config_.bos_token_id);
    put("eos_token_id", config_.eos_token_id);
    put("pad_token_id", config_.pad_token_id);
    const auto& ends = ends_.size() > 1 ? ends_ : config_.eos_token_ids;
    if (!ends.empty()) generation["eos_token_id"] = ends;
    writer.file("generation_config.json", generation.dump(2) + "\n");
  }
  static std::string hash(const std::string& bytes) { return io::xxh3(bytes.data(), bytes.size()); }

  void prepare() {
    model_->set_compute_dtype(setup_.dtype);
    model_->set_recompute(setup_.recompute);
    for (auto& [name, tensor] : model_->parameters()) tensor.requires_grad_(true);
  }
  /// Those of the blocks: queries, keys and values are three, fast weights one for each head.
  static int64_t matrices(const std::string& name, const at::Tensor& tensor) {
    if (name.ends_with(".qkv.weight")) return 3;
    if (tensor.dim() == 3) return tensor.size(0);
    return name.ends_with(".o_proj.weight") || name.find(".mlp.") != std::string::npos ? 1 : 0;
  }
  std::vector<Row> evaluation_rows(const PackedTokens& data) const {
    if (rows_ == "documents") return document_rows(data, seq_len_);
    const int64_t length = std::min(seq_len_, data.tokens());
    std::vector<Row> all;
    for (int64_t end = length; end <= data.tokens(); end += length)
      all.push_back({end - length, end});
    return all;
  }
  bool mask() const { return reset_ != "none"; }
  Reset reset() const {
    return reset_ == "all" ? Reset::all : reset_ == "attention" ? Reset::attention : Reset::none;
  }
  at::Tensor loss_of(const Batch& batch) const {
    const auto there = [&](const char* name) { return batch.at(name).to(setup_.device); };
    return model_->loss(there("ids"), there("labels"), batch.at("documents"), reset());
  }

  ModelOptions model_options_;
  std::vector<int64_t> ends_;  ///< those of generation_config.json of the model it begins with
  std::string tokenizer_;      ///< the bytes of tokenizer.model, which every checkpoint gets
  std::string data_folder_, init_from_, reset_ = "all", rows_ = "stream";
  int64_t seq_len_ = 1024, batch_size_ = 4;
  int micro_batches_ = 1;
  Config config_;
  train::TaskSetup setup_;
  std::map<Split, PackedTokens> data_;
  std::vector<Row> evaluated_;  ///< of the validation split, once the first is scored
  std::optional<LanguageModel> model_;
};

}  // namespace

std::unique_ptr<train::Task> make_task() {
  return std::make_unique<TextTask>();
}

}  // namespace lact::text
