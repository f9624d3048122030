// lact-bench verify: golden files replayed, or the checks that need none.

#include <lact/cli/bench.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/plugin/host.hpp>
#include <lact/verify/golden.hpp>

#include "commands.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

namespace lact::bench {
namespace {

using Json = nlohmann::ordered_json;

/// A row's values for people.
std::vector<std::string> cells(const Json& row, std::initializer_list<const char*> keys) {
  std::vector<std::string> texts;
  for (const char* key : keys) {
    const auto& value = row.at(key);
    texts.push_back(value.is_null()     ? ""
                    : value.is_string() ? value.get<std::string>()
                                        : cli::number_text(value.get<double>(), "%.1e"));
  }
  return texts;
}

using verify::Verdict;

/// Kinds of the published golden files and the modality that replays them: what to say where the
/// plugin is not there.
const std::map<std::string, std::vector<std::string>> kReplayedBy = {
    {"text", {"layer", "model", "stream"}},
    {"views",
     {"block", "cameras", "image_prep", "lact_layer", "lr_schedule", "metrics", "model",
      "reconstruct_render", "scene", "train", "trajectories"}},
    {"video",
     {"ar_layer", "dit_train", "ema", "flow_batch", "inference", "rope3d", "samplers", "schedules",
      "umt5", "vae", "wan_transformer", "window_masks"}}};

/// What the operator and every plugin that is found can replay and check.
struct Known {
  std::vector<verify::GoldenKind> kinds = verify::operator_kinds();
  std::vector<verify::Check> checks = verify::operator_checks();
  std::map<std::string, std::shared_ptr<plugin::Modality>> modalities;

  explicit Known(const std::string& folder) {
    for (const auto& found : plugin::list(folder)) {
      if (!found.refusal.empty() || modalities.count(found.name) > 0) continue;
      const std::shared_ptr<plugin::Modality> modality = plugin::load(found.name, folder);
      for (auto& kind : modality->verifiers()) kinds.push_back(std::move(kind));
      for (auto& check : modality->checks()) checks.push_back(std::move(check));
      modalities[found.name] = modality;
    }
  }

  /// The plugins that would know a kind and are not here: "views", "text or views".
  std::string who_would_know(const std::string& kind) const {
    std::string names;
    for (const auto& [plugin, known] : kReplayedBy)
      if (modalities.count(plugin) == 0 &&
          std::find(known.begin(), known.end(), kind) != known.end())
        names += (names.empty() ? "" : " or ") + plugin;
    return names;
  }
};

/// JSON has no infinity.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

class Verify final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Golden files hold inputs and results of another program. Each row is a file with its\n"
        "worst tensor, by its error as a fraction of its tolerance. Without files, built-in "
        "checks\n"
        "of what must hold on every machine are run. Exit 1: an error exceeds its tolerance.");
    options.add("FILE", places_, "golden files, and folders of them (default: built-in checks)");
    options
        .add("--dtype", dtype_,
             "number type of the replay; float64 is held to the tolerances of float32")
        .words({"float32", "float64", "bfloat16"});
    options.add("--data", data_, "folder with the scenes that golden files name").value("DIR");
    options.flag("--all", all_, "print a row for every tensor, not only the worst of each file");
    cli::declare_form(options, format_);
  }

  void run(cli::Context& context) override {
    if (context.json) format_ = "json";
    settings_ = {context.device, ops::resolve_dtype(dtype_, context.device), data_};
    if (!data_.empty() && !std::filesystem::is_directory(data_))
      throw Error(Exit::no_input, "--data ", data_, ": no such folder");
    known_ = std::make_unique<Known>(context.plugin_dir);
    if (places_.empty())
      run_checks();
    else
      run_files();
  }

 private:
  struct Tally {
    int passed = 0, failed = 0, skipped = 0, unreadable = 0;
    std::string first_failure;

    void add(Verdict verdict, const std::string& failure) {
      ++(verdict == Verdict::pass ? passed : verdict == Verdict::fail ? failed : skipped);
      if (verdict == Verdict::fail && first_failure.empty()) first_failure = failure;
    }
    std::string text(const char* what) const {
      std::string line =
          concat(what, ": ", passed, " PASS, ", failed, " FAIL, ", skipped, " skipped");
      return unreadable > 0 ? concat(line, ", ", unreadable, " malformed") : line;
    }
    void end() const {
      if (failed > 0)
        throw Error(Exit::no, failed, failed == 1 ? " fails: " : " fail; first: ", first_failure);
    }
  };

  // --- files -------------------------------------------------------------------------------------

  void run_files() {
    const auto files = all_files();
    cli::Table table(format_, {{"file", widest(files)},
                               {all_ ? "tensor" : "worst tensor", 12},
                               {"error", 9, true},
                               {"tolerance", 9, true},
                               {"result", 7},
                               {"note"}});
    Tally tally;
    std::optional<Error> broken;
    for (const auto& file : files) {
      if (cli::stop_requested()) throw cli::Interrupted();
      try {
        const auto result = verify::replay(file, known_->kinds, settings_);
        print(table, result);
        tally.add(result.verdict(), failure(result));
      } catch (const Error& error) {  // the others are replayed all the same
        if (error.code() != Exit::data && error.code() != Exit::no_input) throw;
        if (broken) log::write(log::Level::error, concat("error: ", broken->what()));
        broken = error;
        ++tally.unreadable;
      }
    }
    table.finish(tally.text("files"));
    if (broken) throw *broken;
    tally.end();
  }

  std::vector<std::filesystem::path> all_files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& place : places_)
      for (auto& file : verify::golden_files(place)) files.push_back(std::move(file));
    return files;
  }

  static size_t widest(const std::vector<std::filesystem::path>& files) {
    size_t width = 4;
    for (const auto& file : files) width = std::max(width, file.string().size());
    return std::min<size_t>(width, 80);
  }

  void print(cli::Table& table, const verify::FileResult& result) const {
    const auto put = [&](const verify::TensorResult& one) {
      const auto row = line(result, one);
      table.row(row, cells(row, {"file", "tensor", "error", "tolerance", "result", "note"}));
    };
    if (result.tensors.empty()) return put({"", NAN, NAN, Verdict::skipped, why(result)});
    if (all_)
      for (const auto& one : result.tensors) put(one);
    else
      put(worst(result));
  }

  /// The worst tensor, for the whole file.
  static verify::TensorResult worst(const verify::FileResult& result) {
    auto one = result.tensors.front();
    one.verdict = result.verdict();
    const auto failed = result.count(Verdict::fail), passed = result.count(Verdict::pass);
    if (failed + passed > 0)
      one.note = failed > 0 ? concat(failed, " of ", failed + passed, " off")
                            : concat(passed, passed == 1 ? " tensor" : " tensors");
    if (const auto skipped = result.count(Verdict::skipped); skipped > 0 && failed + passed > 0)
      one.note += concat(", ", skipped, " skipped");
    return one;
  }

  Json line(const verify::FileResult& result, const verify::TensorResult& one) const {
    return {{"file", result.file.string()},
            {"kind", result.kind},
            {"device", settings_.device.str()},
            {"dtype", dtype_},
            {"tensor", one.name},
            {"error", number(one.error)},
            {"tolerance", number(one.tolerance)},
            {"result", word(one.verdict)},
            {"note", one.note}};
  }

  /// Why a file was passed over, and who would not have.
  std::string why(const verify::FileResult& result) const {
    if (result.passed_over.empty()) return "no results in it";
    const auto names = known_->who_would_know(result.kind);
    return names.empty() ? result.passed_over
                         : concat(result.passed_over, " (plugin ", names, " does)");
  }

  static std::string failure(const verify::FileResult& result) {
    if (result.verdict() != Verdict::fail) return "";
    const auto& one = result.tensors.front();
    return concat(result.file.string(), ": tensor ", one.name, ": error ", one.error,
                  ", tolerance ", one.tolerance);
  }

  // --- checks ------------------------------------------------------------------------------------

  void run_checks() {
    cli::Table table(
        format_, {{"check", 67}, {"seen", 7, true}, {"bound", 7, true}, {"result", 7}, {"note"}});
    Tally tally;
    for (const auto& check : known_->checks) {
      if (cli::stop_requested()) throw cli::Interrupted();
      const auto seen = check.run(settings_);
      const bool skipped = !seen.skipped.empty();
      const auto verdict = skipped                   ? Verdict::skipped
                           : seen.seen <= seen.bound ? Verdict::pass
                                                     : Verdict::fail;
      const Json row{{"check", check.name},
                     {"device", settings_.device.str()},
                     {"seen", skipped ? Json(nullptr) : number(seen.seen)},
                     {"bound", seen.bound},
                     {"result", word(verdict)},
                     {"note", seen.skipped}};
      table.row(row, cells(row, {"check", "seen", "bound", "result", "note"}));
      tally.add(verdict, concat(check.name, ": ", seen.seen, ", at most ", seen.bound));
    }
    table.finish(tally.text("checks"));
    tally.end();
  }

  std::unique_ptr<Known> known_;
  std::vector<std::string> places_;
  std::string dtype_ = "float32", data_, format_ = "md";
  bool all_ = false;
  verify::Settings settings_;
};

}  // namespace

std::unique_ptr<plugin::Command> verify_command() {
  return std::make_unique<Verify>();
}

}  // namespace lact::bench
