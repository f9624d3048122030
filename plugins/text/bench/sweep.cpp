// lact-bench sweep text: the published experiments, from training to curves.

#include "experiments.hpp"

#include <plugins/text/commands.hpp>
#include <plugins/text/evaluate/quality.hpp>
#include <plugins/text/model/cost.hpp>
#include <plugins/text/model/model_options.hpp>
#include <plugins/text/train/task.hpp>

#include <lact/cli/bench.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/train_command.hpp>
#include <lact/random.hpp>

#include <algorithm>
#include <filesystem>

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
        "EXPERIMENT is one of: state (fast weights of 0.75, 1.5, 3, 6 squares of the model's\n"
        "width), rule, function (linear or swiglu), learn (all or the last matrix), fast-weights\n"
        "(on or off), chunk (at evaluation). Each member is trained in DIR/MEMBER as lact-train\n"
        "text does it, with the same data in the same order, then evaluated by position.\n"
        "DIR/EXPERIMENT.json holds all curves; lact-bench plot draws them. The same command\n"
        "continues a sweep that was stopped.");
    options.add("EXPERIMENT", experiment_, "experiment to run").words(sweep_names()).required();
    options
        .add("--data", data_,
             "folder of lact-tokenize text encode: train.safetensors, validation.safetensors, "
             "tokenizer.model")
        .value("DIR")
        .required();
    options.add("--out", output_, "folder for the run directories and EXPERIMENT.json")
        .value("DIR")
        .required();
    options
        .add("--set", sets_, "option of lact-train text for all members, as KEY=VALUE: steps=500")
        .value("KEY=VALUE");
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
    const auto experiment = chosen(sweep_experiment(experiment_, base_config()));
    options_.chunks = experiment.chunks;
    if (options_.files.empty())
      options_.files = {(fs::path(data_) / "validation.safetensors").string()};
    cli::Table table(context.json ? "json" : format_, {{"member", 16},
                                                       {"chunk", 7, true},
                                                       {"parameters", 10, true},
                                                       {"tokens", 9, true},
                                                       {"loss", 8, true},
                                                       {"perplexity", 10, true}});
    auto curves = nlohmann::ordered_json::array();
    for (const auto& member : experiment.members) {
      if (cli::stop_requested()) throw cli::Interrupted();
      const auto folder = fs::path(output_) / member.name;
      train(member, folder, context);
      for (const auto& row : measure(folder, context)) {
        QualityRow full{{"experiment", experiment.name}, {"member", member.name}};
        full.update(row);
        curves.push_back(full);
        if (row.at("test") == "text") table.row(full, cells(full));
      }
      // After each member: who looks early sees what there is.
      io::write_text((fs::path(output_) / (experiment.name + ".json")).string(),
                     curves.dump(1) + "\n");
    }
    table.finish();
  }

 private:
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

  /// The model that members are changes of.
  Config base_config() const {
    cli::CommandLine line;
    ModelOptions config;
    config.declare(line.options());
    auto flags = set_flags();
    std::erase_if(flags, [&](const std::string& word) {
      return !line.knows(word.substr(0, word.find('=')));
    });
    line.parse(flags);
    return config.resolve();
  }

  /// lact-train's own command, with its own options; a finished run is left as it is.
  void train(const SweepMember& member, const fs::path& folder, const cli::Context& context) const {
    cli::Args args{"lact-train", {}, {"--data", data_, "--output", folder.string(), "--resume"}};
    const auto add = [&](const std::string& word) { args.rest.push_back(word); };
    for (const auto& word : {"--device=" + context.device.str(), "--dtype=" + context.dtype,
                             concat("--threads=", context.threads)})
      add(word);
    if (context.seed) add(concat("--seed=", *context.seed));
    for (const auto& word : set_flags()) add(word);
    for (const auto& [key, value] : member.overrides) add(flag(key) + "=" + value);
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
    const auto dtype = ops::resolve_dtype(context.dtype, context.device);
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
    evaluate_quality(loaded, options, [&](const QualityRow& row) {
      QualityRow full{{"parameters", parameters}};
      full.update(row);
      measured.rows.push_back(full);
    });
    measured.save(folder);
    return measured.rows;
  }

  static std::vector<std::string> cells(const QualityRow& row) {
    const auto number = [&](const char* key, const char* form) {
      return number_text(row.at(key).get<double>(), form);
    };
    return {row.at("member").get<std::string>(),
            row.at("chunk_size").dump(),
            row.at("parameters").dump(),
            row.at("tokens").dump(),
            number("loss", "%.4f"),
            number("perplexity", "%.2f")};
  }

  std::string experiment_, data_, output_, format_ = "md";
  std::vector<std::string> sets_, members_;
  QualityOptions options_;
};

}  // namespace

std::unique_ptr<plugin::Command> sweep_text() {
  return std::make_unique<SweepText>();
}

}  // namespace lact::text
