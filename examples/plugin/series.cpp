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

#include <CLI/CLI.hpp>

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

  Batch at(uint64_t seed, int64_t step, int micro, lact::train::Rank rank) override {
    const auto place = (static_cast<uint64_t>(step) << 20) + static_cast<uint64_t>(micro) * 1024 +
                       static_cast<uint64_t>(rank.rank);
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
  void declare(CLI::App& app) override {
    const auto size = CLI::Range(int64_t{1}, int64_t{1} << 20);
    const auto add = [&](const char* name, int64_t& value, const char* help, const char* group) {
      app.add_option(name, value, help)->check(size)->capture_default_str()->group(group);
    };
    app.add_option("--data", data_, "CSV file to learn from: a row per moment, a column per sensor")
        ->group("Data");
    app.add_option("--validation", validation_, "CSV file to judge by")->group("Data");
    add("--seq-len", length_, "moments of a row", "Data");
    add("--batch-size", batch_, "rows of a step", "Data");
    add("--width", config_.width, "of the model", "Model");
    add("--layers", config_.layers, "of the model", "Model");
    add("--heads", config_.heads, "of attention and fast weights", "Model");
    add("--chunk", config_.chunk, "moments that the fast weights learn at a time", "Model");
    add("--window", config_.window, "moments that attention looks back", "Model");
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
  lact::train::Metrics evaluate(int64_t batches, const std::function<bool()>& stop) override {
    if (rows_.count(Split::validation) == 0) return {};
    const at::NoGradGuard no_grad;
    const auto rows = model_->standard(data(Split::validation));
    double loss = 0, unchanged = 0;
    int64_t done = 0;
    for (int64_t begin = 0; begin + length_ < rows.size(0) && done < batches && !stop();
         begin += length_, ++done) {
      const auto now = rows.narrow(0, begin, length_).unsqueeze(0);
      const auto next = rows.narrow(0, begin + 1, length_).unsqueeze(0);
      loss += at::mse_loss(model_->predict(now), next).item<double>();
      unchanged += at::mse_loss(now, next).item<double>();
    }
    if (done == 0) return {};
    return {{"validation_metrics/loss", loss / static_cast<double>(done)},
            {"validation_metrics/unchanged", unchanged / static_cast<double>(done)}};
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
  void declare(CLI::App& app) override {
    app.add_option("--model", model_, "model directory, or run directory")->type_name("DIR");
    app.add_option("-f,--file", file_, "CSV file to continue; - is stdin")->type_name("FILE");
    app.add_option("-n,--rows", rows_, "rows to write")
        ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
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
