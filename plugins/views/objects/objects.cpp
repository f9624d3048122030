// lact-tokenize views objects: models to posed pictures.

#include "draw.hpp"

#include <plugins/common/work/ordered.hpp>
#include <plugins/views/commands.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include <atomic>
#include <optional>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;

class Objects final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("MODEL", where_, "OBJ files, or folders with such files in or below them")
        ->required()
        ->type_name("PATH");
    app.add_option("-o,--output", output_,
                   "folder for scenes.json and, for each model, a folder with images/ and "
                   "opencv_cameras.json")
        ->required()
        ->type_name("DIR");
    auto& rig = settings_.rig;
    const char* cameras = "Cameras";
    app.add_option("--views", rig.views, "pictures of each model")
        ->check(CLI::Range(int64_t{1}, int64_t{100'000}))
        ->type_name("N")
        ->group(cameras);
    app.add_option("--size", rig.size, "width and height of a picture, in pixels")
        ->check(CLI::Range(int64_t{1}, int64_t{4096}))
        ->type_name("PIXELS")
        ->group(cameras);
    app.add_option("--fov", rig.fov, "field of view, in degrees")
        ->check(CLI::Range(1.0, 170.0))
        ->type_name("DEGREES")
        ->group(cameras);
    app.add_option("--distance", distance_,
                   "distance of the cameras from the model's middle, whose farthest corner is 1 "
                   "away (default: 2.7 at 50 degrees, else so that models look as large)")
        ->check(CLI::Range(0.01, 1000.0))
        ->type_name("LENGTH")
        ->group(cameras);
    app.add_option("--min-elevation", rig.lowest, "lowest cameras, in degrees above the horizon")
        ->check(CLI::Range(-89.0, 89.0))
        ->type_name("DEGREES")
        ->group(cameras);
    app.add_option("--max-elevation", rig.highest, "highest cameras")
        ->check(CLI::Range(-89.0, 89.0))
        ->type_name("DEGREES")
        ->group(cameras);
    app.add_option("--rings", rig.rings,
                   "cameras in this many rings of equal elevation; 0: at random, by --seed")
        ->check(CLI::Range(int64_t{0}, int64_t{100'000}))
        ->type_name("N")
        ->group(cameras);
    const char* models = "Models";
    app.add_option("--limit", limit_, "draw this many models, evenly spread; 0: all")
        ->check(CLI::NonNegativeNumber)
        ->type_name("N")
        ->group(models);
    app.add_option("--up", up_, "the axis that points up in the OBJ files: y or z")
        ->check(CLI::IsMember({"y", "z"}))
        ->type_name("AXIS")
        ->group(models);
    app.add_option("--samples", settings_.samples, "points of a pixel, on a side")
        ->check(CLI::Range(1, 8))
        ->type_name("N")
        ->group(models);
    app.add_option("--min-coverage", settings_.min_coverage,
                   "leave out models that cover less of their pictures, as a share")
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("SHARE")
        ->group(models);
    app.add_flag("--strict", strict_, "end at the first file that is missing or malformed")
        ->group(models);
  }

  void run(cli::Context& context) override {
    if (settings_.rig.lowest > settings_.rig.highest)
      throw Error(Exit::usage, "--min-elevation ", settings_.rig.lowest,
                  " is above --max-elevation ", settings_.rig.highest);
    settings_.rig.distance = distance_.value_or(0);
    settings_.seed = context.seed.value_or(0);
    settings_.z_up = up_ == "z";
    settings_.output = output_;
    cameras_of(settings_.rig, 0, "");  // refuses what does not fit together
    auto models = find_models(where_);
    thin_out(models);
    make_folder(settings_.output);
    cli::stop_requested();  // from here on a signal leaves no half folder
    draw_all(models, context.threads);
    if (scenes_.empty()) throw Error(Exit::data, "no model could be drawn");
    sync(settings_.output);
    io::write_text(settings_.output / "scenes.json", scenes_.dump(0) + "\n");
    report(context, models.size());
  }

 private:
  void thin_out(std::vector<Model>& models) const {
    const auto all = models.size(), limit = static_cast<size_t>(limit_);
    if (limit == 0 || limit >= all) return;
    std::vector<Model> kept;
    for (size_t i = 0; i < limit; ++i) kept.push_back(std::move(models[i * all / limit]));
    models = std::move(kept);
  }

  void draw_all(const std::vector<Model>& models, int threads) {
    cli::Progress progress("drawing", static_cast<double>(models.size()), "models");
    size_t taken = 0;
    work::Ordered<const Model*, Drawn> workers(
        threads,
        [&](const Model*& model, const std::atomic<bool>& stop) {
          return draw(*model, settings_, stop);
        },
        [&](Drawn& drawn) {
          take(models[taken++], drawn);
          progress.set(static_cast<double>(taken));
        });
    for (const auto& model : models) {
      if (cli::stop_requested()) throw cli::Interrupted();
      workers.push(&model);
    }
    workers.finish();
  }

  void take(const Model& model, const Drawn& result) {
    if (strict_ && !result.faults.empty()) throw Error(Exit::data, result.faults.front());
    if (strict_ && !result.skipped.empty() && !result.invisible)
      throw Error(Exit::data, result.skipped);
    for (const auto& fault : result.faults) log::warning(fault);
    faults_ += static_cast<int64_t>(result.faults.size());
    if (result.skipped.empty()) {
      scenes_.push_back(model.name + "/opencv_cameras.json");
    } else if (result.invisible) {
      log::info(result.skipped);
      ++invisible_;
    } else {
      log::warning(result.skipped, "; left out");
      ++broken_;
    }
  }

  void report(const cli::Context& context, size_t models) const {
    const auto views = static_cast<int64_t>(scenes_.size()) * settings_.rig.views;
    log::info(scenes_.size(), " of ", models, " models, ", views, " pictures; ", broken_,
              " models that cannot be read and ", invisible_, " next to invisible were left out; ",
              faults_, " other faults");
    if (!context.json) return;
    const nlohmann::ordered_json json{{"models", models},        {"scenes", scenes_.size()},
                                      {"views", views},          {"unreadable", broken_},
                                      {"invisible", invisible_}, {"faults", faults_}};
    cli::out(json.dump(2) + "\n");
  }

  std::vector<std::string> where_;
  std::string output_, up_ = "y";
  DrawSettings settings_;
  std::optional<double> distance_;
  int64_t limit_ = 0;
  bool strict_ = false;

  nlohmann::json scenes_ = nlohmann::json::array();
  int64_t faults_ = 0, broken_ = 0, invisible_ = 0;
};

}  // namespace

}  // namespace lact::views::objects

namespace lact::views {

std::unique_ptr<plugin::Command> tokenize_objects() {
  return std::make_unique<objects::Objects>();
}

}  // namespace lact::views
