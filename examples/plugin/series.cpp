// lact-series.so: a modality of its own, built outside lact's tree. It learns to continue sensor
// series from CSV files: lact-train series, lact-generate series.

#include "model.hpp"
#include "table.hpp"

#include <lact/error.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/modality.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <optional>

namespace series {
namespace {

using lact::Error;
using lact::Exit;
using lact::train::Batch;
using lact::train::Split;

// --- training ------------------------------------------------------------------------------------

/// Rows of `length` + 1 moments, from places that are a function of seed, step and micro-batch.
class Windows final : public lact::train::Source {
 public:
  Windows(at::Tensor rows, int64_t batch, int64_t length)
      : rows_(std::move(rows)), batch_(batch), length_(length) {}

  Batch at(uint64_t seed, int64_t step, int micro) override {
    const auto place = (static_cast<uint64_t>(step) << 20) + static_cast<uint64_t>(micro);
    const auto generator = at::detail::createCPUGenerator(seed * 1000003 + place);
    const auto begins = at::randint(rows_.size(0) - length_, {batch_}, generator, at::kLong);
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < batch_; ++i)
      rows.push_back(rows_.narrow(0, begins[i].item<int64_t>(), length_ + 1));
    return {{"rows", at::stack(rows)}};
  }

 private:
  at::Tensor rows_;
  int64_t batch_, length_;
};

class SeriesTask final : public lact::train::Task {
 public:
  void declare(lact::cli::Options options) override {
    auto data = options.group("Data");
    data.add("--data", data_, "CSV file to train on: a row per moment, a column per sensor")
        .value("FILE");
    data.add("--validation", validation_, "CSV file to validate on").value("FILE");
    data.add("--seq-len", length_, "moments per row").range(1, 1 << 20);
    data.add("--batch-size", batch_, "rows per step").range(1, 1 << 20);
    auto model = options.group("Model");
    model.add("--width", config_.width, "width of the model").range(1, 1 << 20);
    model.add("--layers", config_.layers, "number of layers").range(1, 1 << 20);
    model.add("--heads", config_.heads, "heads of attention and of fast weights").range(1, 1 << 20);
    model.add("--chunk", config_.chunk, "moments per chunk: moments that share one update")
        .range(1, 1 << 20);
    model.add("--window", config_.window, "moments that attention looks back").range(1, 1 << 20);
  }

  void configure() override {
    if (data_.empty()) throw Error(Exit::usage, "--data is missing: a CSV file");
    if (config_.width % (2 * config_.heads) != 0)
      throw Error(Exit::usage, "--width must be a multiple of twice --heads");
    const auto table = read_csv(data_);
    config_.columns = static_cast<int64_t>(table.columns.size());
    add_rows(Split::train, data_, table);
    if (!validation_.empty()) add_rows(Split::validation, validation_, read_csv(validation_));
  }

  lact::train::Cost cost(const lact::train::TaskSetup&) const override {
    const auto model = Model::fresh(config_, mean(), deviation(), 0);
    lact::train::Cost cost;
    for (const auto& [name, tensor] : model.parameters()) cost.parameters += tensor.numel();
    cost.tokens = batch_ * length_;
    // Products with every parameter, forward and backward; the fast weights' own come on top.
    cost.flops = 6.0 * static_cast<double>(cost.parameters) * static_cast<double>(cost.tokens);
    cost.memory_bytes = 16.0 * static_cast<double>(cost.parameters);
    cost.rows = {{"columns", std::to_string(config_.columns)},
                 {"rows in the file", std::to_string(data(Split::train).size(0))}};
    return cost;
  }

  void build(const lact::train::TaskSetup& setup) override {
    if (setup.device != at::kCPU) throw Error(Exit::unavailable, "series runs on the CPU only");
    model_.emplace(Model::fresh(config_, mean(), deviation(), setup.seed));
    model_->set_compute_dtype(setup.dtype);
    for (auto& [name, tensor] : model_->parameters()) tensor.requires_grad_(true);
  }

  std::vector<lact::train::Parameter> parameters() override {
    std::vector<lact::train::Parameter> all;
    for (const auto& [name, tensor] : model_->parameters())
      all.push_back({name, tensor, /*decay=*/tensor.dim() >= 2, 1.0});
    return all;
  }

  std::unique_ptr<lact::train::Source> source(Split split) override {
    return std::make_unique<Windows>(data(split), batch_, length_);
  }

  lact::train::Loss loss(const Batch& batch, const lact::train::StepInfo&) override {
    const auto rows = model_->standard(batch.at("rows"));
    const auto predicted = model_->predict(rows.narrow(1, 0, length_));
    return {at::mse_loss(predicted, rows.narrow(1, 1, length_)), static_cast<double>(batch_)};
  }

  int micro_batches() const override { return 1; }

  /// Beside the loss, that of who says "as it is now, so it will be".
  int64_t validation_batches() const override {
    return rows_.count(Split::validation) == 0 ? 0
                                               : (data(Split::validation).size(0) - 1) / length_;
  }
  /// Error, error of who repeats the last row, and their number.
  lact::train::Tally tally(int64_t batch) override {
    const at::NoGradGuard no_grad;
    const auto rows = model_->standard(data(Split::validation));
    const auto now = rows.narrow(0, batch * length_, length_).unsqueeze(0);
    const auto next = rows.narrow(0, batch * length_ + 1, length_).unsqueeze(0);
    return {at::mse_loss(model_->predict(now), next).item<double>(),
            at::mse_loss(now, next).item<double>(), 1};
  }
  lact::train::Metrics conclude(const lact::train::Tally& sums) const override {
    return {{"validation_metrics/loss", sums[0] / sums[2]},
            {"validation_metrics/unchanged", sums[1] / sums[2]}};
  }

  void load(const lact::io::Checkpoint& checkpoint) override { model_->assign(checkpoint); }
  void save(lact::io::CheckpointWriter& writer) const override { model_->save(writer); }

 private:
  void add_rows(Split split, const std::string& file, const Table& table) {
    if (static_cast<int64_t>(table.columns.size()) != config_.columns)
      throw Error(Exit::data, file, ": expected ", config_.columns, " columns as in ", data_,
                  ", found ", table.columns.size());
    if (table.rows.size(0) <= length_)
      throw Error(Exit::data, file, ": has ", table.rows.size(0), " rows; --seq-len ", length_,
                  " needs more");
    rows_.insert_or_assign(split, table.rows);
  }
  const at::Tensor& data(Split split) const { return rows_.at(split); }
  at::Tensor mean() const { return data(Split::train).mean(0); }
  at::Tensor deviation() const { return data(Split::train).std(0).clamp_min(1e-6); }

  std::string data_, validation_;
  int64_t length_ = 512, batch_ = 4;
  Config config_;
  std::map<Split, at::Tensor> rows_;
  std::optional<Model> model_;
};

// --- generation ----------------------------------------------------------------------------------

class Generate final : public lact::plugin::Command {
 public:
  void declare(lact::cli::Options options) override {
    options.add("--model", model_, "model directory, or run directory").value("DIR");
    options.add("-f,--file", file_, "CSV file to continue; -: stdin").value("FILE");
    options.add("-n,--rows", rows_, "rows to generate").range(int64_t{0}, int64_t{1} << 40);
  }

  void run(lact::cli::Context& context) override {
    if (model_.empty()) throw Error(Exit::usage, "--model is required");
    auto model = Model::load(lact::io::Checkpoint::open(model_));
    model.set_compute_dtype(lact::ops::resolve_dtype(context.dtype, at::kCPU));
    const auto table = read_csv(file_);
    if (static_cast<int64_t>(table.columns.size()) != model.config().columns)
      throw Error(Exit::data, file_, ": expected ", model.config().columns, " columns, found ",
                  table.columns.size());
    auto streams = model.start();
    const auto read = model.predict(model.standard(table.rows).unsqueeze(0), streams);
    auto next = read.narrow(1, read.size(1) - 1, 1);
    for (int64_t i = 0; i < rows_ && !lact::cli::stop_requested(); ++i) {
      lact::cli::out(to_csv(model.original(next).squeeze(0)));
      next = model.predict(next, streams);
    }
    if (lact::cli::stop_requested()) throw lact::cli::Interrupted();
  }

 private:
  std::string model_, file_ = "-";
  int64_t rows_ = 100;
};

class Series final : public lact::plugin::Modality {
 public:
  std::vector<lact::plugin::Verb> verbs(lact::plugin::Tool tool) const override {
    if (tool == lact::plugin::Tool::generate) return {{"", "continue a sensor series"}};
    return {};
  }
  std::unique_ptr<lact::plugin::Command> command(lact::plugin::Tool, std::string_view) override {
    return std::make_unique<Generate>();
  }
  std::unique_ptr<lact::train::Task> task() override { return std::make_unique<SeriesTask>(); }
  std::vector<lact::plugin::GoldenKind> verifiers() override { return {}; }
};

}  // namespace
}  // namespace series

LACT_PLUGIN(series::Series, "series", "sensor series from CSV")
