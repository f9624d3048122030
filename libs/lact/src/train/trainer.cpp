#include <lact/cli/agreement.hpp>
#include <lact/cli/processes.hpp>
#include <lact/dist/connect.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/stopwatch.hpp>
#include <lact/train/averages.hpp>
#include <lact/train/gradient_sum.hpp>
#include <lact/train/lr_schedule.hpp>
#include <lact/train/mesh.hpp>
#include <lact/train/norm_history.hpp>
#include <lact/train/optimizer.hpp>
#include <lact/train/run_config.hpp>
#include <lact/train/run_directory.hpp>
#include <lact/train/step_rule.hpp>
#include <lact/train/trainer.hpp>

#include "machine.hpp"
#include "model_card.hpp"
#include "resolved.hpp"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

namespace lact::train {
namespace {

// In a folder of their own: what lies beside it is the model, as others take it.
constexpr const char* kTraining = "training";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kCounters = "trainer.json";

using nlohmann::json;
using nlohmann::ordered_json;

/// One line of words with numbers, as printf does it.
template <class... Values>
std::string format(const char* form, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, form, values...);
  return text;
}

/// What one step did.
struct StepResult {
  double loss = 0, max_loss = 0, norm = 0, learning_rate = 0;
  std::string skipped;  ///< why, if it was
};

/// Time and work since the last logged line.
struct Interval {
  Stopwatch start;
  double data_seconds = 0, aside_seconds = 0;  ///< aside: evaluating, saving
  double communication_seconds = 0;            ///< waiting for other processes
  int64_t steps = 0;
};

class Run {
 public:
  Run(Task& task, const TrainOptions& options, const cli::Context& context,
      const Observer& observer)
      : task_(task),
        options_(options),
        context_(context),
        observer_(observer),
        output_(checked_output(options)),
        place_(dist::place([](const char* name) { return std::getenv(name); })),
        connection_(dist::connect(place_, how_to_connect())),
        world_(connection_->world()),
        store_(output_, world_.size() > 1 ? &connection_->files() : nullptr),
        chief_(world_.rank() == 0) {
    if (chief_) directory_.emplace(options.output);
    if (chief_ && !options.export_to.empty()) io::check_model_folder(options.export_to);
    schedule_ = {LrSchedule::shape_from(options.schedule),
                 options.learning_rate,
                 options.min_lr_ratio,
                 options.warmup_steps,
                 options.steps,
                 options.warmup_from_zero,
                 options.decay_ratio};
    rule_ = {options.max_norm,        options.skip_norm,  options.skip_above,
             options.skip_above_from, options.norms_from, options.warmup_steps};
  }

  Outcome go() {
    try {
      const auto outcome = work();
      saved();
      connection_->leave();
      return outcome;
    } catch (const dist::PeerLost&) {
      // Who it is, the alarm knows, and ends the process; or everyone is silent.
      std::this_thread::sleep_for(dist::kNaming);
      throw;
    }
  }

 private:
  // --- the processes of the run ------------------------------------------------------------------

  dist::ConnectOptions how_to_connect() const {
    dist::ConnectOptions how;
    how.init_timeout = std::chrono::seconds(options_.comm_init_timeout);
    how.train_timeout = std::chrono::seconds(options_.comm_train_timeout);
    how.interface = options_.comm_interface;
    how.lost = [this](int rank) {
      const auto line = concat("rank ", rank, " of ", place_.world,
                               " is gone; --resume goes on from the last checkpoint");
      if (observer_.lost) observer_.lost(line);
    };
    return how;
  }

  /// What rank 0 says, to all.
  std::string from_chief(const std::string& said) const {
    return world_.size() == 1 ? said : world_.gather(chief_ ? said : std::string())[0];
  }
  /// True if it is on any rank.
  bool on_any(bool here) const {
    if (world_.size() == 1) return here;
    for (const auto& rank : world_.gather(std::vector<double>{here ? 1.0 : 0.0}))
      if (rank[0] != 0) return true;
    return false;
  }
  /// Errors   78 naming a rank and what it has otherwise than rank 0
  void require_same(const std::string& mine, const char* what) const {
    if (world_.size() > 1) cli::require_same(world_.gather(mine), what);
  }

  void share_out() {
    mesh_ = mesh_of(world_.rank(), world_.size(), options_, task_, context_.program);
    if (mesh_.sharing > 1) sharing_ = connection_->neighbours(mesh_.sharing);
    if (mesh_.shards == 1) return;
    shard_group_ = connection_->neighbours(mesh_.shards);
    replicas_ = connection_->counterparts(mesh_.shards);
  }

  Outcome work() {
    require_same(cli::common_lines(context_.resolved_config), "options");
    share_out();
    if (world_.size() > 1) cores_each_ = cli::cores_each(world_);
    if (chief_) {
      store_.clean();
      settle_options();
    }
    share_settings();
    build();
    const auto checkpoint = options_.resume ? restore() : std::filesystem::path();
    if (chief_) metrics_.emplace(directory_->folder() / "metrics.jsonl", step_);
    begin(checkpoint);
    Outcome outcome = make_up_evaluation() ? Outcome::done : Outcome::interrupted;
    interval_ = {};
    while (step_ < options_.steps && outcome == Outcome::done) outcome = advance();
    saved();
    if (outcome == Outcome::done && !options_.export_to.empty()) export_model();
    if (outcome == Outcome::interrupted)
      info("stopped after step ", step_, "; --resume goes on");
    else
      info("done: ", step_, " steps, ", tokens_, " tokens, in ", store_.folder(step_).string());
    return outcome;
  }

  // --- start -------------------------------------------------------------------------------------

  static const std::string& checked_output(const TrainOptions& options) {
    if (options.output.empty())
      throw Error(Exit::usage, "--output: missing: the directory of the run");
    return options.output;
  }

  /// Options, device, dtype, threads and seed: the run's, if there is one.
  void settle_options() {
    const bool exists = directory_->holds_run();
    const std::string anew =
        directory_->holds_checkpoint() ? "" : "; it has no checkpoint yet: remove it to start anew";
    if (exists && !options_.resume)
      throw Error(Exit::cannot_create, options_.output,
                  ": holds a run; give --resume to go on with it, or another --output", anew);
    if (options_.resume && !exists) info("no run in ", options_.output, " yet: starting one");
    const auto stored = exists ? translated(directory_->config(), context_.renamed) : std::string();
    resolved_ = exists ? resolved_before(context_, stored, options_.output)
                       : resolve(context_, options_.dtype);
    if (!exists && cores_each_ > 0 && config_value(context_.resolved_config, "threads") == "0")
      resolved_.threads = cores_each_;
    config_ = run_config(context_, resolved_);
    if (!exists) return;
    steps_before_ = stored_steps(stored);
    // The file says what the run was started with; where its data lie today is for today.
    if (const auto data = config_value(stored, "data"); !data.empty())
      config_ = edit_config(config_, {{"data", json(data).dump()}}, "options");
    const auto differences = contradictions(stored, config_);
    if (differences.empty()) return;
    const size_t more = differences.size() - 1;
    throw Error(Exit::usage, options_.output,
                "/run.toml: a run goes on with its own options: ", differences.front(),
                more > 0 ? concat(" (and ", more, " more)") : "", anew);
  }

  /// Rank 0 has settled them for all.
  void share_settings() {
    if (world_.size() == 1) return at::set_num_threads(resolved_.threads);
    const json mine = {
        {"device", resolved_.device}, {"dtype", resolved_.dtype}, {"threads", resolved_.threads},
        {"seed", resolved_.seed},     {"config", config_},        {"before", steps_before_}};
    const auto settled =
        json::parse(from_chief(mine.dump(-1, ' ', true, json::error_handler_t::replace)));
    resolved_ = {settled["device"], settled["dtype"], settled["threads"], settled["seed"]};
    config_ = settled["config"];
    steps_before_ = settled["before"];
    at::set_num_threads(resolved_.threads);
  }

  void build() {
    const auto dtype = ops::resolve_dtype(resolved_.dtype, context_.device);
    const TaskSetup setup{context_.device, dtype, resolved_.seed,
                          // Or gathered blocks would be kept for the backward pass.
                          options_.recompute || shard_group_ != nullptr, options_.ema > 0,
                          sharing_.get()};
    cost_ = task_.cost(setup);
    // Measured before the generators are seeded: it draws numbers.
    if (cost_.flops > 0) ceiling_ = ops::product_rate(context_.device, dtype);
    seed_generators(resolved_.seed, context_.device);
    task_.build(setup);
    data_ = task_.data_identity();
    require_same(data_, "data");
    source_ = task_.source(Split::train);
    // Whatever building drew, the first step starts from the seed.
    seed_generators(resolved_.seed, context_.device);
  }

  /// Takes up the newest intact checkpoint. Returns its folder, empty if the run has none yet.
  std::filesystem::path restore() {
    const auto folder = store_.newest([this](const std::string& line) { warning(line); });
    if (folder.empty()) {
      if (chief_ && directory_->holds_checkpoint())
        throw Error(Exit::data, options_.output,
                    "/checkpoints: none is intact; remove them to "
                    "start again from step 0");
      return {};
    }
    task_.load(io::Checkpoint::open(folder));
    make_optimizer();
    // Beside the model in checkpoints of before.
    const auto own = folder / kTraining;
    const auto training = std::filesystem::exists(own) ? own : folder;
    restore_optimizer(training);
    restore_counters(training / kCounters);
    return folder;
  }

  /// A schedule belongs to a length: who lengthens a run may not expect another learning rate.
  void tell_stretched() const {
    if (steps_before_ == options_.steps) return;
    auto before = schedule_;
    before.total_steps = steps_before_;
    const double was = before.at(step_), is = schedule_.at(step_);
    if (std::abs(is - was) > 0.01 * std::max(was, is))
      warning(format(
          "--steps %lld instead of %lld: the schedule is drawn out, the learning rate goes "
          "on at %.3g instead of %.3g",
          static_cast<long long>(options_.steps), static_cast<long long>(steps_before_), is, was));
  }

  /// 0: the file does not say.
  static int64_t stored_steps(const std::string& stored) {
    return std::strtoll(config_value(stored, "steps").c_str(), nullptr, 10);
  }

  void make_optimizer() {
    std::optional<MuonOptions> muon;
    if (options_.optimizer == "muon") {
      muon = {options_.muon_momentum, options_.weight_decay, {}};
      // Where the model's products are worth rounding, its optimizer's are.
      if (resolved_.dtype == "bfloat16") muon->iterate = at::kBFloat16;
    }
    auto parameters = task_.parameters();
    if (shard_group_) shard(parameters);
    optimizer_.emplace(
        std::move(parameters),
        AdamWOptions{options_.beta1, options_.beta2, options_.adam_epsilon, options_.weight_decay},
        muon, options_.muon_lr / options_.learning_rate);
    if (options_.ema == 0) return;
    io::NamedTensors averaged;
    for (const auto& parameter : optimizer_->parameters())
      averaged.emplace_back(parameter.name, parameter.tensor);
    averages_.emplace(averaged, options_.ema);
  }

  /// Of each block only this process's parts are left. They stand for the whole in `parameters`,
  /// whose other properties are those of the whole.
  void shard(std::vector<Parameter>& parameters) {
    shards_ = task_.shard(*shard_group_);
    if (shards_.empty())
      throw Error(Exit::config, "--data-parallel-shard-degree: ", context_.program,
                  " keeps its parameters whole");
    for (const auto& block : shards_)
      for (size_t i = 0; i < block->parts().size(); ++i)
        cut_.emplace(block->parts()[i].first, std::pair{block.get(), i});
    for (auto& parameter : parameters)
      if (const auto found = cut_.find(parameter.name); found != cut_.end())
        parameter.tensor = found->second.first->parts()[found->second.second].second;
  }

  /// Parameters that every process has, and those of which it has a part.
  std::pair<std::vector<Parameter>, std::vector<Parameter>> whole_and_parts() const {
    std::vector<Parameter> whole, parts;
    for (const auto& parameter : optimizer_->parameters())
      (cut_.count(parameter.name) > 0 ? parts : whole).push_back(parameter);
    return {whole, parts};
  }

  using Cut = std::pair<const dist::Sharded*, size_t>;
  /// Of a parameter, or of what the optimizer keeps of it ("exp_avg.NAME"); null: it is whole.
  const Cut* cut_of(const std::string& name) const {
    auto found = cut_.find(name);
    if (found == cut_.end()) found = cut_.find(name.substr(name.find('.') + 1));
    return found == cut_.end() ? nullptr : &found->second;
  }

  std::optional<io::CheckpointWriter::Whole> whole(const std::string& name,
                                                   const at::Tensor& part) const {
    const auto* cut = cut_of(name);
    if (cut == nullptr) return std::nullopt;
    return io::CheckpointWriter::Whole{cut->first->shape(cut->second), [cut, part] {
                                         return cut->first->whole(cut->second, part);
                                       }};
  }

  void begin(const std::filesystem::path& checkpoint) {
    if (!optimizer_) make_optimizer();
    const auto [whole, parts] = whole_and_parts();
    sums_.emplace_back(std::make_unique<GradientSum>(
        options_.reduce_order == "fixed" ? ReduceOrder::fixed : ReduceOrder::fast, world_, whole));
    // What a block's processes have summed already is summed over those that have the same part.
    if (shard_group_)
      sums_.emplace_back(std::make_unique<GradientSum>(ReduceOrder::fast, *replicas_, parts));
    if (chief_) directory_->write_config(config_);
    started_at_ = step_;
    if (!checkpoint.empty()) {
      info("going on from ", checkpoint.string());
      if (chief_ && steps_before_ > 0) tell_stretched();
      // Killed between the checkpoint and the link to it: the same bytes again.
      std::error_code none;
      if (on_any(chief_ &&
                 !std::filesystem::equivalent(directory_->folder() / "latest", checkpoint, none)))
        save();
    }
    stopping();  // from here on a signal is heard
    info(format("%.2fM parameters, %lld tokens a step, %s on %s, %d threads",
                static_cast<double>(cost_.parameters) / 1e6, static_cast<long long>(cost_.tokens),
                resolved_.dtype.c_str(), resolved_.device.c_str(), resolved_.threads) +
         (ceiling_ > 0 ? format(", products at most %.1f GFLOP/s", ceiling_ / 1e9) : ""));
  }

  /// A signal between a step and its evaluation left that to us. False if another came.
  bool make_up_evaluation() {
    const bool missing =
        chief_ && step_ > 0 && evaluation_due() && metrics_->last_evaluation().step != step_;
    if (!on_any(missing)) return true;
    if (!evaluate()) return false;
    save();  // the same, and a card that names it
    return true;
  }

  // --- one step ----------------------------------------------------------------------------------

  Outcome advance() {
    const auto result = take_step();
    ++step_;
    ++interval_.steps;
    tokens_ += cost_.tokens;
    count(result);
    if (step_ == 1 || step_ % options_.log_every == 0 || step_ == options_.steps) log(result);
    const Stopwatch aside;
    const bool interrupted = evaluation_due() ? !evaluate() : all_stop();
    const bool given_up = skips_in_row_ > options_.max_skips;
    const bool due = options_.save_every > 0 && step_ % options_.save_every == 0;
    if (given_up) skips_in_row_ = 0;  // who goes on has as many tries again
    if (due || interrupted || given_up || step_ == options_.steps) save();
    if (given_up) {
      saved();
      connection_->leave();
      give_up(result);
    }
    interval_.aside_seconds += aside.seconds();
    if (chief_ && observer_.progress)
      observer_.progress(static_cast<double>(step_ - started_at_),
                         static_cast<double>(options_.steps - started_at_),
                         format("loss %.4f", result.loss));
    return interrupted ? Outcome::interrupted : Outcome::done;
  }

  /// Gradients of all micro-batches, then the optimizer, unless the step is bad.
  StepResult take_step() {
    StepResult result;
    result.learning_rate = schedule_.at(step_);
    const double weight = accumulate(result);
    const auto& parameters = optimizer_->parameters();
    result.norm = norm_of_all() / weight;
    const auto fault = rule_.fault(step_, result.loss, result.norm, norms_.median());
    result.skipped = fault.why;
    if (fault.by_median && skips_in_row_ >= StepRule::kPatience) {
      warning(concat("step ", step_ + 1, ": ", fault.why, " for the ", skips_in_row_ + 1,
                     "th time in a row: norms are what they are now; going on, clipped"));
      result.skipped.clear();
      norms_ = NormHistory();
    }
    if (result.skipped.empty()) {
      const double factor = rule_.factor(step_, result.norm) / weight;
      if (factor != 1) scale_gradients(parameters, factor);
      optimizer_->step(result.learning_rate);
      if (averages_) averages_->update();
      norms_.add(result.norm);
    }
    optimizer_->zero_grad();
    return result;
  }

  /// Adds up the gradients of all micro-batches, each times the share of it that is scored.
  /// Returns the sum of these shares; fills in the losses.
  double accumulate(StepResult& result) {
    const int first = mesh_.first_micro, last = first + mesh_.micro_batches - 1;
    std::vector<std::pair<at::Tensor, double>> scored(static_cast<size_t>(mesh_.micro_batches));
    for (int micro = first; micro <= last; ++micro) {
      const Stopwatch watch;
      const auto batch = source_->at(resolved_.seed, step_, micro);
      interval_.data_seconds += watch.seconds();
      const auto loss = task_.loss(batch, {step_, micro});
      if (loss.weight == 0 && shard_group_)
        throw Error(Exit::data, "a micro-batch of step ", step_ + 1,
                    " scores nothing, which --data-parallel-shard-degree cannot pass over");
      if (loss.weight > 0) {
        const double weight = loss.weight / loss.whole;
        if (micro == last)
          for (const auto& sum : sums_) sum->begin_last();
        (weight == 1 ? loss.value : loss.value.mul(weight)).backward();
        scored[static_cast<size_t>(micro - first)] = {loss.value.detach(), weight};
      }
      for (const auto& sum : sums_) sum->micro_done();
    }
    const Stopwatch communication;
    for (const auto& sum : sums_) sum->finish();
    const auto losses = losses_of_all(scored);
    interval_.communication_seconds += communication.seconds();
    double sum = 0;
    for (const auto& [value, weight] : losses) sum += weight;
    result.max_loss = losses.empty() ? NAN : -INFINITY;
    if (losses.empty()) result.loss = NAN;
    for (const auto& [value, weight] : losses) {
      result.loss += value * weight / sum;
      // Not std::max: it would lose NaN.
      if (!(value <= result.max_loss)) result.max_loss = value;
    }
    return sum > 0 ? sum : 1;
  }

  double norm_of_all() const {
    if (!shard_group_) return global_norm(optimizer_->parameters());
    const auto [whole, parts] = whole_and_parts();
    double squares = std::pow(global_norm(whole), 2);
    for (const auto& rank : shard_group_->gather(std::vector<double>{global_norm(parts)}))
      squares += rank[0] * rank[0];
    return std::sqrt(squares);
  }

  /// Value and weight of every micro-batch of the step that has something scored, in their order.
  std::vector<std::pair<double, double>> losses_of_all(
      const std::vector<std::pair<at::Tensor, double>>& scored) const {
    std::vector<double> numbers;
    for (const auto& [value, weight] : scored) {
      numbers.push_back(weight > 0 ? value.item<double>() : 0);
      numbers.push_back(weight);
    }
    std::vector<std::vector<double>> ranks{numbers};
    if (world_.size() > 1) ranks = world_.gather(numbers);
    std::vector<std::pair<double, double>> losses;
    const auto degree = static_cast<size_t>(mesh_.sharing);
    for (size_t first = 0; first < ranks.size(); first += degree)
      for (size_t i = 0; i < numbers.size(); i += 2) {
        // The one part, or the mean of those that share it.
        double value = ranks[first][i], weight = ranks[first][i + 1];
        for (size_t rank = first + 1; rank < first + degree; ++rank) {
          const double more = ranks[rank][i + 1];
          if (more > 0) value = (value * weight + ranks[rank][i] * more) / (weight + more);
          weight += more;
        }
        if (weight > 0) losses.emplace_back(value, weight);
      }
    return losses;
  }

  void count(const StepResult& result) {
    skips_in_row_ = result.skipped.empty() ? 0 : skips_in_row_ + 1;
    if (result.skipped.empty()) return;
    ++skips_;
    warning(
        concat("step ", step_, " skipped: ", result.skipped, " (", skips_in_row_, " in a row)"));
  }

  [[noreturn]] void give_up(const StepResult& result) const {
    throw Error(Exit::stopped, options_.output, ": ", options_.max_skips + 1,
                " steps in a row were skipped, the last because ", result.skipped, "; saved as ",
                store_.folder(step_).filename().string(),
                "; --resume goes on with the data after them");
  }

  // --- telling -----------------------------------------------------------------------------------

  void log(const StepResult& result) {
    if (!chief_) return;
    const double elapsed = interval_.start.seconds() - interval_.aside_seconds;
    const double steps = static_cast<double>(std::max<int64_t>(interval_.steps, 1));
    const double seconds = std::max(elapsed, 1e-9) / steps;
    const double tokens_rate = static_cast<double>(cost_.tokens) / world_.size() / seconds;
    const double flops_rate = cost_.flops / world_.size() / seconds;
    ordered_json line = {{"step", step_},
                         {"loss_metrics/global_avg_loss", result.loss},
                         {"loss_metrics/global_max_loss", result.max_loss},
                         {"grad_norm", result.norm},
                         {"lr", result.learning_rate},
                         {"n_tokens_seen", tokens_},
                         {"optimizer/skipped_step", skips_},
                         {"throughput(tps)", tokens_rate},
                         {"tflops", flops_rate / 1e12}};
    if (world_.size() > 1) line["processes"] = world_.size();  // rates are of one of them
    if (ceiling_ > 0) line["mfu(%)"] = 100 * flops_rate / ceiling_;
    line["time_metrics/end_to_end(s)"] = seconds;
    line["time_metrics/data_loading(s)"] = interval_.data_seconds / steps;
    line["time_metrics/data_loading(%)"] = 100 * interval_.data_seconds / steps / seconds;
    if (world_.size() > 1)
      line["time_metrics/communication(s)"] = interval_.communication_seconds / steps;
    for (const auto& [name, value] : memory_metrics(context_.device)) line[name] = value;
    metrics_->write(line);
    info(format("step %lld/%lld  loss %.4f  grad norm %.4f  lr %.3g  %.0f tokens/s",
                static_cast<long long>(step_), static_cast<long long>(options_.steps), result.loss,
                result.norm, result.learning_rate, tokens_rate) +
         (ceiling_ > 0 ? format("  %.1f%% of the product rate", 100 * flops_rate / ceiling_) : ""));
    interval_ = {};
  }

  /// What one chunk changes of what the fast weights give, if the task has measured it.
  static std::string written(const Metrics& metrics) {
    const auto found = metrics.find("validation_metrics/write_strength");
    return found == metrics.end() ? "" : format("  write strength %.3g", found->second);
  }

  bool evaluation_due() const {
    return options_.eval_every > 0 && (step_ % options_.eval_every == 0 || step_ == options_.steps);
  }

  /// False if a signal cut it short: nothing is written then.
  bool evaluate() {
    // Evaluating more or less often must not change the run.
    const GeneratorGuard guard(context_.device);
    const AveragesGuard averaged(averages());
    const int64_t batches = std::min(options_.eval_batches, task_.validation_batches());
    std::vector<double> mine;
    // Who gathers blocks together reads the same batches.
    const int64_t first = shard_group_ ? 0 : world_.rank(),
                  stride = shard_group_ ? 1 : world_.size();
    for (int64_t batch = first;
         batch < batches && !(shard_group_ ? on_any(stopping()) : stopping()); batch += stride) {
      const auto tally = task_.tally(batch);
      mine.insert(mine.end(), tally.begin(), tally.end());
    }
    if (all_stop()) return false;
    const auto sums = sums_of_all(mine, batches);
    if (!chief_ || sums.empty()) return true;
    const auto metrics = task_.conclude(sums);
    if (metrics.empty()) return true;
    ordered_json line = {{"step", step_}};
    for (const auto& [name, value] : metrics) line[name] = value;
    metrics_->write(line);
    const auto loss = metrics.find("validation_metrics/loss");
    if (loss != metrics.end())
      info(format("step %lld  validation loss %.4f", static_cast<long long>(step_), loss->second) +
           written(metrics));
    return true;
  }

  /// Tallies of all batches, of which each rank has every size()th, added up in their order:
  /// the same numbers for any number of processes.
  Tally sums_of_all(const std::vector<double>& mine, int64_t batches) const {
    const bool shared = world_.size() > 1 && !shard_group_;
    std::vector<std::vector<double>> ranks{mine};
    if (shared) {
      ranks.clear();
      for (const auto& rank : world_.gather(cli::to_bytes(mine)))
        ranks.push_back(cli::from_bytes<double>(rank));
    }
    Tally sums;
    std::vector<size_t> read(ranks.size());
    for (int64_t batch = 0; batch < batches; ++batch) {
      const auto rank = static_cast<size_t>(batch) % ranks.size();
      // Rank 0 has the first batch, and as many numbers for each.
      if (batch == 0)
        sums.resize(ranks[0].size() /
                    ((static_cast<size_t>(batches) + ranks.size() - 1) / ranks.size()));
      for (auto& sum : sums) sum += ranks[rank][read[rank]++];
    }
    return sums;
  }

  // --- checkpoints -------------------------------------------------------------------------------

  /// All processes write; with --async-mode async while the next steps run.
  void save() {
    saved();
    if (chief_) metrics_->sync();
    const AveragesGuard averaged(averages());
    using When = io::CheckpointWriter::When;
    const bool aside = options_.async_mode == "async";
    std::shared_ptr<io::CheckpointWriter> writer =
        store_.begin(step_, aside ? When::at_commit : When::now);
    complete(*writer);
    save_model(*writer);
    auto tensors = optimizer_->state();
    if (averages_)
      for (auto& tensor : averages_->state()) tensors.push_back(std::move(tensor));
    const auto generators = generator_states(context_.device);
    require_same_numbers(generators);
    tensors.insert(tensors.end(), generators.begin(), generators.end());
    writer->tensors(
        concat(kTraining, "/", kOptimizer), tensors,
        {{"lact.kind", "optimizer"}, {"lact.version", "1"}, {"optimizer", optimizer_->name()}});
    writer->file(concat(kTraining, "/", kCounters), counters().dump(2) + "\n");
    if (!aside) return store_.finish(*writer, step_, options_.keep);
    saving_ = std::async(std::launch::async, [this, writer, step = step_] {
      store_.finish(*writer, step, options_.keep);
    });
  }

  /// Who draws from LibTorch's generators draws other numbers on each rank, and one's would be kept
  /// for all.
  void require_same_numbers(const io::NamedTensors& generators) const {
    if (world_.size() == 1) return;
    std::string bytes;
    for (const auto& [name, state] : generators)
      bytes.append(static_cast<const char*>(state.const_data_ptr()),
                   static_cast<size_t>(state.nbytes()));
    const auto all = world_.gather(bytes);
    for (size_t rank = 1; rank < all.size(); ++rank)
      if (all[rank] != all[0])
        throw Error(Exit::internal, "rank ", rank,
                    " has drawn other random numbers than rank 0: this task trains in one process");
  }

  /// The checkpoint that is being written, if any, is there.
  void saved() {
    if (saving_.valid()) saving_.get();
  }

  void complete(io::CheckpointWriter& writer) const {
    if (shard_group_)
      writer.complete_by(
          [this](const std::string& name, const at::Tensor& part) { return whole(name, part); });
  }

  void save_model(io::CheckpointWriter& writer) const {
    task_.save(writer);
    int64_t parameters = 0;
    for (const auto& parameter : task_.parameters()) {
      const auto* cut = cut_of(parameter.name);
      parameters += cut == nullptr ? parameter.tensor.numel()
                                   : c10::multiply_integers(cut->first->shape(cut->second));
    }
    const auto modality = context_.program.substr(context_.program.rfind(' ') + 1);
    // Rank 0 writes it.
    const auto measured = chief_ ? metrics_->last_evaluation().metrics : Metrics();
    writer.file(io::kModelCard,
                to_markdown({modality, optimizer_->name(), resolved_.dtype, data_, parameters,
                             step_, tokens_, resolved_.seed, measured}));
  }

  void export_model() {
    if (!chief_ && !shard_group_) return;
    const AveragesGuard averaged(averages());
    io::CheckpointWriter writer(options_.export_to, shard_group_ ? &connection_->files() : nullptr);
    complete(writer);
    if (options_.export_dtype == "bfloat16") writer.store_matrices_in(at::kBFloat16);
    save_model(writer);
    writer.commit();
    info("the model alone is in ", options_.export_to);
  }

  ordered_json counters() const {
    return {{"version", 1},
            {"step", step_},
            {"tokens", tokens_},
            {"optimizer_steps", optimizer_->steps()},
            {"skipped_steps", skips_},
            {"skipped_in_row", skips_in_row_},
            {"gradient_norms", norms_.values()},
            {"seed", resolved_.seed},
            {"device", resolved_.device},
            {"dtype", resolved_.dtype},
            {"threads", resolved_.threads},
            {"data", data_}};
  }

  void restore_counters(const std::filesystem::path& file) {
    const auto values = io::parse_json(io::read_text(file), file.string());
    try {
      step_ = values.at("step");
      tokens_ = values.at("tokens");
      skips_ = values.at("skipped_steps");
      skips_in_row_ = values.at("skipped_in_row");
      norms_ = NormHistory(values.at("gradient_norms").get<std::vector<double>>());
      if (values.at("seed").get<uint64_t>() != resolved_.seed)
        throw Error(Exit::data, file.string(), ": seed: not the run's");
      const auto was = values.value("data", data_);
      if (!was.empty() && !data_.empty() && was != data_)
        throw Error(Exit::data, options_.output,
                    ": its data are other than those it was trained on so far; to train on them, "
                    "start another run with --init-from ",
                    options_.output);
    } catch (const json::exception& error) {
      throw Error(Exit::data, file.string(), ": ", error.what());
    }
  }

  void restore_optimizer(const std::filesystem::path& folder) {
    const auto file = folder / kCounters;
    const auto values = io::parse_json(io::read_text(file), file.string());
    if (!values.contains("optimizer_steps"))
      throw Error(Exit::data, file.string(), ": optimizer_steps: missing");
    const bool whole = std::filesystem::exists(folder / kOptimizer);  // large ones are in shards
    const auto tensors = io::Checkpoint::open(
        folder / (whole ? std::string(kOptimizer) : concat(kOptimizer, ".index.json")));
    io::NamedTensors moments, generators, parameters;
    for (const auto& name : tensors.names()) {
      const bool raw = averages_ && Averages::is_parameter(name);
      const auto* cut = cut_of(name);
      const auto stored = tensors.tensor(name);
      (is_generator(name) ? generators
       : raw              ? parameters
                          : moments)
          .emplace_back(name, cut == nullptr ? stored : cut->first->part(cut->second, stored));
    }
    if (averages_) averages_->load(parameters);
    optimizer_->load(moments, values["optimizer_steps"]);
    set_generator_states(generators, context_.device);
  }

  Averages* averages() { return averages_ ? &*averages_ : nullptr; }
  bool stopping() const { return observer_.stop && observer_.stop() != 0; }
  /// A signal to one process stops all, after the same step.
  bool all_stop() const {
    if (world_.size() == 1) return stopping();
    const int mine = observer_.stop ? observer_.stop() : 0;
    double signal = 0;
    for (const auto& rank : world_.gather(std::vector<double>{static_cast<double>(mine)}))
      signal = std::max(signal, rank[0]);
    if (signal != 0 && mine == 0 && observer_.take_signal)
      observer_.take_signal(static_cast<int>(signal));
    return signal != 0;
  }
  template <class... Parts>
  void info(const Parts&... parts) const {
    if (chief_ && observer_.info) observer_.info(concat(parts...));
  }
  void warning(const std::string& line) const {
    if (chief_ && observer_.warning) observer_.warning(line);
  }

  Task& task_;
  const TrainOptions options_;
  const cli::Context& context_;
  const Observer& observer_;
  const std::string output_;
  const dist::Place place_;
  const std::unique_ptr<dist::Connection> connection_;
  const dist::Group& world_;
  io::CheckpointStore store_;
  Mesh mesh_;
  const bool chief_;  ///< rank 0, who alone reads and writes the run directory, and speaks
  /// Those that cut blocks among them, and those that have the same part; null: blocks are whole.
  std::unique_ptr<dist::Group> shard_group_, replicas_;
  dist::Shards shards_;
  std::map<std::string, Cut> cut_;        ///< by a parameter's name
  std::unique_ptr<dist::Group> sharing_;  ///< those that compute each micro-batch together
  int cores_each_ = 0;                    ///< of several processes
  std::optional<RunDirectory> directory_;
  LrSchedule schedule_;
  StepRule rule_;
  DeterministicGuard deterministic_;

  Resolved resolved_;
  std::string data_;  ///< Task::data_identity, as they were opened
  std::string config_;
  Cost cost_;
  double ceiling_ = 0;  ///< FLOP/s of a matrix product here; 0: nothing to compare
  std::unique_ptr<Source> source_;
  std::optional<Optimizer> optimizer_;
  std::optional<Averages> averages_;
  std::vector<std::unique_ptr<GradientSum>> sums_;
  std::optional<MetricsFile> metrics_;

  int64_t steps_before_ = 0;  ///< what a run that goes on was to have; 0: not known
  int64_t step_ = 0, tokens_ = 0, skips_ = 0, skips_in_row_ = 0;
  int64_t started_at_ = 0;
  NormHistory norms_;
  Interval interval_;
  std::future<void> saving_;  // the last member: its thread uses the others
};

}  // namespace

Outcome run(Task& task, const TrainOptions& options, const cli::Context& context,
            const Observer& observer) {
  return Run(task, options, context, observer).go();
}

}  // namespace lact::train
