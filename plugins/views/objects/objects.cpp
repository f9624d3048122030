// lact-tokenize views objects: models to posed pictures.

#include "draw.hpp"

#include <plugins/common/media/size.hpp>
#include <plugins/common/work/ordered.hpp>
#include <plugins/views/commands.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/random.hpp>

#include <nlohmann/json.hpp>

#include <atomic>
#include <optional>

namespace lact::views::objects {
namespace {

namespace fs = std::filesystem;

class Objects final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.add("MODEL", where_, "OBJ files, or folders with such files at any depth")
        .required()
        .value("PATH");
    options
        .add("-o,--output", output_,
             "folder for scenes.json and a folder per model, with images/ and opencv_cameras.json")
        .required()
        .value("DIR");
    auto& rig = settings_.rig;
    auto cameras = options.group("Cameras");
    cameras.add("--views", rig.views, "pictures of each model").range(1, 100'000).value("N");
    cameras.add("--size", size_, "size of a picture in pixels; pictures are square").value("WxH|N");
    cameras.add("--fov", rig.fov, "field of view").range(1.0, 170.0).value("DEGREES");
    cameras
        .add(
            "--distance", distance_,
            "distance of the cameras from the centre of the model, whose farthest corner is 1 away "
            "(default: 2.7 at 50 degrees, otherwise so that models look as large)")
        .range(0.01, 1000.0)
        .value("LENGTH");
    cameras.add("--min-elevation", rig.lowest, "elevation of the lowest cameras above the horizon")
        .range(-89.0, 89.0)
        .value("DEGREES");
    cameras.add("--max-elevation", rig.highest, "elevation of the highest cameras")
        .range(-89.0, 89.0)
        .value("DEGREES");
    cameras
        .add("--rings", rig.rings,
             "place cameras in N rings of equal elevation; 0: at random, by --seed")
        .range(0, 100'000)
        .value("N");
    auto models = options.group("Models");
    models.add("--limit", limit_, "draw N models, evenly spread; 0: all").at_least(0).value("N");
    models.add("--up", up_, "axis that points up in the OBJ files").words({"y", "z"}).value("AXIS");
    models.add("--samples", settings_.samples, "samples per pixel along each side")
        .range(1, 8)
        .value("N");
    models
        .add("--min-coverage", settings_.min_coverage,
             "leave out models that cover less than this fraction of their pictures")
        .range(0.0, 1.0)
        .value("FRACTION");
    models.flag("--strict", strict_, "fail at the first file that is missing or malformed");
  }

  void run(cli::Context& context) override {
    if (settings_.rig.lowest > settings_.rig.highest)
      throw Error(Exit::usage, "--min-elevation ", settings_.rig.lowest,
                  " is above --max-elevation ", settings_.rig.highest);
    const auto [width, height] = media::parse_size(size_, "--size");
    if (width != height)
      throw Error(Exit::usage, "--size ", size_, ": pictures of objects are square");
    settings_.rig.size = width;
    settings_.rig.distance = distance_.value_or(0);
    settings_.seed = context.seed.value_or(kDefaultSeed);
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
  std::string output_, up_ = "y", size_ = "128";
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
