// lact-bench sweep text: the published experiments, from training to curves.

#include "experiments.hpp"

#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/quality.hpp>
#include <plugins/text/model/cost.hpp>
#include <plugins/text/model/model_options.hpp>
#include <plugins/text/packed/packed_tokens.hpp>
#include <plugins/text/tokenize/recall.hpp>
#include <plugins/text/train/task.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/train_command.hpp>
#include <lact/random.hpp>
#include <lact/train/run_config.hpp>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>

namespace lact::text {
namespace {

namespace fs = std::filesystem;
using cli::number_text;
using Rows = std::vector<QualityRow>;

std::string flag(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string line;
  for (const auto& word : words) line += (line.empty() ? "" : between) + word;
  return line;
}

/// What was measured of a member, and of which model: a finished one is not measured again.
struct Measured {
  nlohmann::ordered_json of;  ///< the checkpoint's hash and the options
  Rows rows;

  static fs::path file(const fs::path& run) { return run / "quality.json"; }
  /// The rows, if they are there and belong to it.
  bool load(const fs::path& run) {
    if (!fs::exists(file(run))) return false;
    const auto stored = nlohmann::ordered_json::parse(io::read_text(file(run)), nullptr, false);
    if (!stored.is_object() || stored.value("of", QualityRow()) != of) return false;
    rows = stored.at("rows").get<Rows>();
    return true;
  }
  void save(const fs::path& run) const {
    const QualityRow all{{"of", of}, {"rows", rows}};
    io::write_text(file(run).string(), all.dump(1) + "\n");
  }
};

class SweepText final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "EXPERIMENT is one of: state (fast weights of 0.5, 1, 2, 4, 8 squares of the model's\n"
        "width), rule, function (linear or swiglu), learn (all, the last matrix, none), chunk (in\n"
        "training), chunk-at-evaluation, window, recall (facts to be remembered: what is learned\n"
        "by rule, beside the window alone and full attention; its data are made, unless --data\n"
        "names some). On data of lact-tokenize text recall every experiment trains the small "
        "model\n"
        "of recall and scores answers by the number of facts. 'none' is the\n"
        "control: the same model that learns nothing while it reads. Each member is trained in\n"
        "DIR/MEMBER as lact-train text does it, with the same data in the same order, then\n"
        "evaluated by position. With --seeds each is trained so many times, and the table shows\n"
        "mean and spread (largest less smallest). DIR/EXPERIMENT.json holds all curves; "
        "lact-bench\n"
        "plot draws them. The same command continues a sweep that was stopped.");
    options.add("EXPERIMENT", experiment_, "experiment to run").words(sweep_names()).required();
    options
        .add("--data", data_,
             "folder of lact-tokenize text encode: train.safetensors, validation.safetensors, "
             "tokenizer.model")
        .value("DIR");
    options.add("--out", output_, "folder for the run directories and EXPERIMENT.json")
        .value("DIR")
        .required();
    options
        .add("--set", sets_, "option of lact-train text for all members, as KEY=VALUE: steps=500")
        .value("KEY=VALUE");
    options.add("--seeds", seeds_, "models of each member, from --seed on").range(1, 1000);
    options.add("--members", members_, "train only these members, separated by commas")
        .separated()
        .value("NAMES");
    options
        .add("--score", options_.files,
             "texts or packed data to evaluate on (default: the validation split of --data)")
        .value("FILE");
    options
        .add("--bucket", options_.bucket,
             "positions that are averaged for the loss by position; 0: 1, 2-3, 4-7, 8-15, ...")
        .range(int64_t{0}, int64_t{1} << 40);
    options.add("--needle", options_.haystack, "text or packed data to hide needles in")
        .value("FILE");
    cli::declare_form(options, format_);
  }

  void run(cli::Context& context) override {
    if (experiment_ == "recall" && data_.empty()) make_recall(context);
    const bool recall = experiment_ == "recall" || !recall_files().empty();
    if (recall) take_recall();
    const auto usual = recall ? recall_settings() : Settings();
    const auto experiment = chosen(sweep_experiment(experiment_, base_config(usual)));
    if (data_.empty()) throw Error(Exit::usage, "--data is required");
    options_.chunks = experiment.chunks;
    if (options_.files.empty())
      options_.files = {(fs::path(data_) / "validation.safetensors").string()};
    cli::Table table(context.json ? "json" : format_, columns(recall));
    auto curves = nlohmann::ordered_json::array();
    for (const auto& member : experiment.members) {
      std::map<std::string, Rows> by_file;  // of all seeds, what the table shows
      for (int64_t i = 0; i < seeds_; ++i) {
        if (cli::stop_requested()) throw cli::Interrupted();
        const uint64_t seed = context.seed.value_or(kDefaultSeed) + static_cast<uint64_t>(i);
        const auto folder =
            fs::path(output_) / (seeds_ > 1 ? concat(member.name, "-seed-", seed) : member.name);
        train(member, usual, folder, seed, context);
        for (const auto& row : measure(folder, context)) {
          QualityRow full{{"experiment", experiment.name}, {"member", member.name}, {"seed", seed}};
          full.update(row);
          const auto facts = facts_in(row.at("file").get<std::string>());
          if (facts && row.at("test") == "text") full["facts"] = *facts;
          curves.push_back(full);
          if (row.at("test") == "text")
            by_file[row.at("file").dump() + row.at("chunk_size").dump()].push_back(full);
        }
      }
      for (const auto& row : in_order(by_file)) table.row(row, cells(row, recall));
      // After each member: who looks early sees what there is.
      io::write_text((fs::path(output_) / (experiment.name + ".json")).string(),
                     curves.dump(1) + "\n");
    }
    table.finish();
  }

 private:
  /// Documents that all members are trained and measured on.
  void make_recall(const cli::Context& context) {
    data_ = (fs::path(output_) / "data").string();
    if (!fs::exists(fs::path(data_) / "train.safetensors"))
      make_recall_set(RecallOptions(), data_, context.seed.value_or(kDefaultSeed));
  }

  /// Of --data, by their number of facts; none where it is no recall set.
  std::map<int64_t, std::string> recall_files() const {
    std::map<int64_t, std::string> files;
    if (!fs::is_directory(data_)) return files;
    for (const auto& item : fs::directory_iterator(data_))
      if (const auto facts = facts_in(item.path().string())) files[*facts] = item.path().string();
    return files;
  }

  void take_recall() {
    const auto files = recall_files();
    if (files.empty())
      throw Error(Exit::data, data_,
                  ": no facts-N.safetensors; lact-tokenize text recall makes them");
    data_length_ = PackedTokens::open(files.begin()->second).begin(1);
    if (options_.files.empty())
      for (const auto& [facts, file] : files) options_.files.push_back(file);
  }

  /// The number of facts in a document of facts-N.safetensors.
  static std::optional<int64_t> facts_in(const std::string& file) {
    const auto name = fs::path(file).filename().string();
    int64_t facts = 0;
    char end = 0;
    const bool is = std::sscanf(name.c_str(), "facts-%" SCNd64 ".safetensor%c", &facts, &end) == 2;
    return is && end == 's' ? std::optional(facts) : std::nullopt;
  }

  static std::vector<cli::Column> columns(bool recall) {
    std::vector<cli::Column> all = {{"member", 16}};
    if (recall) all.push_back({"facts", 5, true});
    all.insert(all.end(), {{"chunk", 7, true},
                           {"parameters", 10, true},
                           {"tokens", 9, true},
                           {"loss", 8, true},
                           {"spread", 7, true},
                           {"accuracy", 9, true},
                           {"spread", 7, true},
                           {"strength", 8, true}});
    return all;
  }

  /// A row for each file and chunk: means over the seeds.
  static Rows in_order(const std::map<std::string, Rows>& by_file) {
    Rows means;
    for (const auto& [file, rows] : by_file) {
      auto mean = rows.front();
      for (const char* key : {"loss", "accuracy", "write_strength"}) {
        if (!mean.at(key).is_number()) continue;
        double sum = 0, low = INFINITY, high = -INFINITY;
        for (const auto& row : rows) {
          const auto value = row.at(key).get<double>();
          sum += value;
          low = std::min(low, value);
          high = std::max(high, value);
        }
        mean[key] = sum / static_cast<double>(rows.size());
        if (rows.size() > 1) mean[concat(key, "_spread")] = high - low;
      }
      mean["seeds"] = rows.size();
      mean.erase("seed");
      means.push_back(mean);
    }
    std::stable_sort(means.begin(), means.end(), [](const auto& a, const auto& b) {
      return a.value("facts", int64_t{0}) < b.value("facts", int64_t{0});
    });
    return means;
  }

  SweepExperiment chosen(SweepExperiment experiment) const {
    std::vector<std::string> names;
    for (const auto& member : experiment.members) names.push_back(member.name);
    for (const auto& name : members_)
      if (std::find(names.begin(), names.end(), name) == names.end())
        throw Error(Exit::usage, "--members ", name, ": ", experiment.name, " has ",
                    joined(names, ", "));
    if (!members_.empty())
      std::erase_if(experiment.members, [&](const SweepMember& member) {
        return std::find(members_.begin(), members_.end(), member.name) == members_.end();
      });
    return experiment;
  }

  /// --set as flags: "--steps=500".
  std::vector<std::string> set_flags() const {
    std::vector<std::string> flags;
    for (const auto& text : sets_) {
      const auto equals = text.find('=');
      if (equals == std::string::npos || equals == 0)
        throw Error(Exit::usage, "--set ", text, ": expected KEY=VALUE");
      const auto name = flag(text.substr(0, equals));
      for (const char* own : {"--output", "--data", "--resume", "--config"})
        if (name == own) throw Error(Exit::usage, "--set ", text, ": not for members of a sweep");
      flags.push_back(name + text.substr(equals));
    }
    return flags;
  }

  static std::vector<std::string> flags_of(const Settings& settings) {
    std::vector<std::string> flags;
    for (const auto& [key, value] : settings) flags.push_back(flag(key) + "=" + value);
    return flags;
  }

  /// The model that members are changes of.
  Config base_config(const Settings& usual) const {
    cli::CommandLine line;
    ModelOptions config;
    config.declare(line.options());
    auto flags = flags_of(usual);
    for (const auto& word : set_flags()) flags.push_back(word);
    std::erase_if(flags, [&](const std::string& word) {
      return !line.knows(word.substr(0, word.find('=')));
    });
    line.parse(flags);
    return config.resolve();
  }

  /// lact-train's own command, with its own options; a finished run is left as it is.
  void train(const SweepMember& member, const Settings& usual, const fs::path& folder,
             uint64_t seed, const cli::Context& context) const {
    cli::Args args{"lact-train", {}, {"--data", data_, "--output", folder.string(), "--resume"}};
    const auto add = [&](const std::string& word) { args.rest.push_back(word); };
    for (const auto& word : {"--device=" + context.device.str(), "--dtype=" + context.dtype,
                             concat("--threads=", context.threads), concat("--seed=", seed)})
      add(word);
    if (data_length_ > 0) add(concat("--seq-len=", data_length_));
    for (const auto& word : flags_of(usual)) add(word);
    for (const auto& word : set_flags()) add(word);
    for (const auto& word : flags_of(member.overrides)) add(word);
    log::info(member.name, ": ", folder.string());
    cli::CommandLine line;
    cli::Context training;
    training.program = "lact-train text";
    plugin::TrainCommand command(make_task());
    command.declare(line.options());
    fs::create_directories(output_);
    line.parse(args, training);
    command.run(training);
  }

  Rows measure(const fs::path& folder, const cli::Context& context) const {
    // As it was trained: in bfloat16 tokens that are nearly as likely would be equally so.
    const auto run = train::config_value(io::read_text(folder / "run.toml"), "dtype");
    const auto dtype = ops::resolve_dtype(run, context.device);
    auto loaded = load_model({folder, {}, context.device, dtype, /*hash=*/true});
    auto options = options_;
    options.needles.seed = context.seed.value_or(kDefaultSeed);
    Measured measured{{{"model", loaded.hash},
                       {"dtype", ops::dtype_name(dtype)},
                       {"files", options.files},
                       {"bucket", options.bucket},
                       {"chunks", options.chunks},
                       {"needle", options.haystack},
                       {"seed", options.needles.seed}},
                      {}};
    if (measured.load(folder)) return measured.rows;
    const int64_t parameters = nn::count(parameter_shapes(loaded.model.config()));
    evaluate_quality(loaded, options, cli::Processes(), [&](const QualityRow& row) {
      QualityRow full{{"parameters", parameters}};
      full.update(row);
      measured.rows.push_back(full);
    });
    measured.save(folder);
    return measured.rows;
  }

  static std::vector<std::string> cells(const QualityRow& row, bool recall) {
    const auto number = [&](const char* key, const char* form, double factor = 1) {
      const auto found = row.find(key);
      return found != row.end() && found->is_number()
                 ? number_text(factor * found->get<double>(), form)
                 : "";
    };
    std::vector<std::string> all = {row.at("member").get<std::string>()};
    if (recall) all.push_back(row.contains("facts") ? row.at("facts").dump() : "");
    all.insert(
        all.end(),
        {row.at("chunk_size").dump(), row.at("parameters").dump(), row.at("tokens").dump(),
         number("loss", "%.4f"), number("loss_spread", "%.4f"), number("accuracy", "%.1f %%", 100),
         number("accuracy_spread", "%.1f", 100), number("write_strength", "%.3g")});
    return all;
  }

  std::string experiment_, data_, output_, format_ = "md";
  std::vector<std::string> sets_, members_;
  int64_t seeds_ = 1;
  int64_t data_length_ = 0;  ///< tokens of a document of the recall task
  QualityOptions options_;
};

}  // namespace

std::unique_ptr<plugin::Command> sweep_text() {
  return std::make_unique<SweepText>();
}

}  // namespace lact::text
