// lact-render views: photographs, packed data or a state in; new views, films and states out.

#include "commands.hpp"
#include "frames.hpp"
#include "model.hpp"
#include "sampling.hpp"
#include "scene.hpp"
#include "scene_state.hpp"
#include "score.hpp"
#include "sources.hpp"
#include "trajectory.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>

#include <plugins/common/media/sheet.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

namespace lact::views {
namespace {

using at::Tensor;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Render final : public plugin::Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("--model", model_,
                   "model directory, run directory, or a .safetensors or .pt file")
        ->type_name("DIR|FILE")
        ->group("Input");
    source_.declare(app);
    declare_state(app);
    declare_output(app);
  }

  void run(cli::Context& context) override {
    check_options();
    const auto checkpoint = io::Checkpoint::open(model_);
    products_ = ops::resolve_dtype(context.dtype, context.device);
    auto model = ViewModel::load(checkpoint, context.device, products_);
    if (tile_) model.set_tile(*tile_);
    hash_ = checkpoint.hash();
    cli::stop_requested();  // from here on a signal is heard
    SceneState scene;
    if (!state_file_.empty()) scene = from_state(io::load_state(state_file_), model, hash_);
    Views views;
    if (source_.given()) views = source_.read(context.seed.value_or(kDefaultViewSeed));
    if (!views.inputs.empty()) read(model, views, scene);
    if (scene.cameras.empty())
      throw Error(Exit::usage, "nothing to render from: give --images, --data or --state");
    if (!save_state_.empty()) io::save_state(save_state_, to_state(scene, hash_));
    if (!path_.empty()) render(model, scene, views, context);
  }

 private:
  static constexpr uint64_t kDefaultViewSeed = 95;

  void declare_state(CLI::App& app) {
    const char* group = "State";
    app.add_option("--state", state_file_,
                   "scene that was read before; views given beside it are added to it")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--save-state", save_state_, "keep what was read")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--tile", tile_, "tokens worked on at once; views stay whole")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
        ->group(group);
    app.add_flag("--normalize-targets", normalize_targets_,
                 "views that are held out take part in the normalisation of poses, as in the "
                 "published evaluation (models of scenes)")
        ->group(group);
  }

  void declare_output(CLI::App& app) {
    const char* group = "Output";
    app.add_option("--path", path_,
                   "cameras to render: turntable[:N], interpolate[:N], spiral[:N], a nerfstudio "
                   "camera_path.json, or dataset, the views that were held out")
        ->type_name("PATH")
        ->group(group);
    app.add_option("-o,--output", output_,
                   "folder of numbered .png, one .png, .jpg or .webp (several frames: a sheet), "
                   ".mp4 or .webm film, - for raw RGB frames on stdout")
        ->type_name("PATH")
        ->group(group);
    app.add_option("--render-size", render_size_, "of rendered images; default: of those read")
        ->type_name("WxH|N")
        ->group(group);
    app.add_option("--fps", rate_, "frames per second of a film")
        ->check(CLI::Range(0.1, 1000.0))
        ->group(group);
    app.add_option("--blend", blend_, "between two cameras: matrices entry by entry, or slerp")
        ->check(CLI::IsMember({"linear", "slerp"}))
        ->capture_default_str()
        ->group(group);
    app.add_option("--at-once", at_once_, "views rendered together")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
        ->capture_default_str()
        ->group(group);
    app.add_flag("--metrics", metrics_,
                 "with --path dataset: PSNR, SSIM and (with --lpips) LPIPS of each view on stdout, "
                 "beside the nearest input view and the mean colour")
        ->group(group);
    app.add_option("--lpips", lpips_file_, "VGG-16 weights of LPIPS, as lact-train views has them")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--sheet", sheet_,
                   "with --path dataset: a picture of inputs, truth, ours and their difference")
        ->type_name("FILE")
        ->group(group);
  }

  void check_options() const {
    if (model_.empty()) throw Error(Exit::usage, "--model is missing");
    if (path_.empty() && save_state_.empty())
      throw Error(Exit::usage, "nothing to do: give --path with --output, or --save-state");
    const bool shown = !output_.empty() || metrics_ || !sheet_.empty();
    if (!path_.empty() && !shown)
      throw Error(Exit::usage, "--path: give --output, --metrics or --sheet as well");
    if (path_.empty() && shown)
      throw Error(Exit::usage, "--output, --metrics, --sheet: need a --path");
    if ((metrics_ || !sheet_.empty()) && path_ != "dataset")
      throw Error(Exit::usage, "--metrics, --sheet: only with --path dataset, which has truths");
    if (output_ == "-" && metrics_)
      throw Error(Exit::usage, "--metrics: stdout holds the frames of --output -");
  }

  // --- reading -----------------------------------------------------------------------------------

  void read(const ViewModel& model, const Views& views, SceneState& scene) const {
    const bool fresh = scene.cameras.empty();
    if (fresh) {
      scene.weights = model.start();
      const auto held_out = normalize_targets_ ? views.target_cameras() : std::vector<Camera>();
      const auto& config = model.config();
      if (config.normalize_poses != "none")
        scene.normal = normalization_of(views.input_cameras(), held_out, "all");
      scene.width = views.scene.images.at(0).width;
      scene.height = views.scene.images.at(0).height;
      scene.nerfstudio = views.nerfstudio;
    }
    const auto& image = views.scene.images.at(0);
    if (image.width != scene.width || image.height != scene.height)
      throw Error(Exit::usage, state_file_, ": was read from images of ", scene.width, " x ",
                  scene.height, "; give --size ", scene.width, "x", scene.height);
    const auto cameras = views.input_cameras();
    std::vector<Camera> placed;
    for (const auto& camera : cameras) placed.push_back(scene.normal(camera));
    auto posed_views = posed(placed);
    posed_views.images = stacked(views.input_images());
    const auto start = Clock::now();
    const int64_t tokens = posed_views.images.size(-1) * posed_views.images.size(-2) *
                           static_cast<int64_t>(cameras.size()) /
                           (model.config().patch_size * model.config().patch_size);
    cli::Progress progress("reading", static_cast<double>(tokens * model.config().layers),
                           "tokens");
    scene.weights = model.reconstruct(posed_views, scene.weights, [&](int64_t done) {
      if (cli::stop_requested()) throw cli::Interrupted();
      progress.set(static_cast<double>(done));
    });
    scene.cameras.insert(scene.cameras.end(), cameras.begin(), cameras.end());
    for (const auto view : views.inputs)
      scene.files.push_back(views.scene.files[static_cast<size_t>(view)]);
    const double seconds = seconds_since(start);
    char rate[64];
    std::snprintf(rate, sizeof rate, "%.2f s, %.0f tokens/s", seconds,
                  static_cast<double>(tokens) / std::max(seconds, 1e-9));
    log::info(concat(fresh ? "read " : "added ", cameras.size(), " views of ",
                     posed_views.images.size(-1), " x ", posed_views.images.size(-2), ", ", tokens,
                     " tokens, in ", rate));
  }

  // --- rendering ---------------------------------------------------------------------------------

  Trajectory trajectory(const SceneState& scene, const Views& views) const {
    const auto [width, height] = render_size_.empty() ? std::pair{scene.width, scene.height}
                                                      : parse_size(render_size_, "--render-size");
    const auto [name, count] = split_path(path_);
    if (name == "turntable") return turntable(count.value_or(120), width, height);
    const auto blend = blend_ == "slerp" ? Blend::slerp : Blend::linear;
    const auto known = scaled(scene.cameras, scene, width, height);
    if (name == "interpolate") return interpolate(known, count.value_or(2), width, height, blend);
    if (name == "spiral") return spiral(known, count.value_or(120), width, height);
    if (name == "dataset") {
      if (views.targets.empty())
        throw Error(Exit::usage, "--path dataset: no view is held out; give --images or --data ",
                    "with --input-views N or --holdout N");
      return {scaled(views.target_cameras(), scene, width, height), width, height, 30};
    }
    return read_camera_path(path_, scene.nerfstudio ? nerfstudio_world() : Matrix{});
  }

  /// Cameras of the images read, for images of another size.
  static std::vector<Camera> scaled(std::vector<Camera> cameras, const SceneState& scene,
                                    int64_t width, int64_t height) {
    const double x = static_cast<double>(width) / static_cast<double>(scene.width);
    const double y = static_cast<double>(height) / static_cast<double>(scene.height);
    for (auto& camera : cameras) {
      camera.fx *= x;
      camera.cx *= x;
      camera.fy *= y;
      camera.cy *= y;
    }
    return cameras;
  }

  void render(const ViewModel& model, const SceneState& scene, const Views& views,
              const cli::Context& context) const {
    const auto path = trajectory(scene, views);
    const bool turned = split_path(path_).first == "turntable";
    // A turntable is in the model's own space, which objects are trained in.
    std::vector<Camera> cameras;
    for (const auto& camera : path.cameras)
      cameras.push_back(turned ? camera : scene.normal(camera));
    std::optional<FrameSink> sink;
    if (!output_.empty()) sink.emplace(output_, rate_.value_or(path.rate));
    const bool keep = metrics_ || !sheet_.empty();
    std::vector<Tensor> kept;
    const auto start = Clock::now();
    {
      cli::Progress progress("rendering", static_cast<double>(cameras.size()), "views");
      for (size_t first = 0; first < cameras.size(); first += static_cast<size_t>(at_once_)) {
        if (cli::stop_requested()) throw cli::Interrupted();
        const size_t end = std::min(cameras.size(), first + static_cast<size_t>(at_once_));
        const auto images = model.render(posed({cameras.begin() + static_cast<int64_t>(first),
                                                cameras.begin() + static_cast<int64_t>(end)}),
                                         scene.weights, path.height, path.width);
        for (int64_t i = 0; sink && i < images.size(0); ++i) sink->add(image_of(images[i]));
        if (keep) kept.push_back(images.cpu());
        progress.set(static_cast<double>(end));
      }
    }
    if (sink) sink->finish();
    const double seconds = seconds_since(start);
    char line[96];
    std::snprintf(line, sizeof line, "rendered %zu views of %lld x %lld in %.2f s, %.2f views/s",
                  cameras.size(), static_cast<long long>(path.width),
                  static_cast<long long>(path.height), seconds,
                  static_cast<double>(cameras.size()) / std::max(seconds, 1e-9));
    log::info(line);
    if (keep) compare(at::cat(kept), views, context);
  }

  void compare(const Tensor& rendered, const Views& views, const cli::Context& context) const {
    const auto truth = stacked(views.target_images()).to(at::kFloat).div(255);
    if (truth.sizes() != rendered.sizes())
      throw Error(Exit::usage, "--render-size: --metrics and --sheet compare at the size read");
    const auto inputs = stacked(views.input_images()).to(at::kFloat).div(255);
    const auto nearest = nearest_views(views.input_cameras(), inputs, views.target_cameras());
    std::optional<media::Lpips> lpips;
    if (!lpips_file_.empty()) lpips.emplace(media::Lpips::open(lpips_file_));
    const auto* far = lpips ? &*lpips : nullptr;
    const auto colour = mean_colour(inputs, rendered.size(0));
    if (metrics_) {
      const auto ours = score(rendered, truth, far), near = score(nearest, truth, far),
                 mean = score(colour, truth, far);
      if (context.json) {
        nlohmann::ordered_json out = {{"scene", views.scene.name},
                                      {"inputs", views.inputs.size()},
                                      {"model", to_json(ours)},
                                      {"nearest_view", to_json(near)},
                                      {"mean_colour", to_json(mean)}};
        auto each = nlohmann::ordered_json::array();
        const auto scores = score_each(rendered, truth, far);
        for (size_t i = 0; i < scores.size(); ++i) {
          auto one = to_json(scores[i]);
          one.erase("views");
          one["file"] = views.scene.files[static_cast<size_t>(views.targets[i])];
          each.push_back(one);
        }
        out["targets"] = each;
        cli::out(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
      } else {
        cli::out("model         " + to_line(ours) + "\nnearest view  " + to_line(near) +
                 "\nmean colour   " + to_line(mean) + "\n");
      }
    }
    if (!sheet_.empty()) media::write_image(sheet_, comparison(rendered, truth, inputs));
  }

  static media::Image comparison(const Tensor& rendered, const Tensor& truth,
                                 const Tensor& inputs) {
    constexpr int64_t kMost = 8;
    media::SheetRow read{"inputs", {}}, right{"truth", {}}, ours{"ours", {}}, off{"difference", {}};
    for (int64_t i = 0; i < std::min(kMost, inputs.size(0)); ++i)
      read.images.push_back(image_of(inputs[i]));
    for (int64_t i = 0; i < std::min(kMost, truth.size(0)); ++i) {
      right.images.push_back(image_of(truth[i]));
      ours.images.push_back(image_of(rendered[i]));
      off.images.push_back(image_of((rendered[i] - truth[i]).abs()));
    }
    return media::contact_sheet({read, right, ours, off});
  }

  std::string model_, state_file_, save_state_, path_, output_, render_size_, blend_ = "linear";
  std::string lpips_file_, sheet_;
  std::optional<int64_t> tile_;
  std::optional<double> rate_;
  int64_t at_once_ = 4;
  bool metrics_ = false, normalize_targets_ = false;
  SourceOptions source_;
  at::ScalarType products_ = at::kFloat;
  std::string hash_;
};

}  // namespace

std::unique_ptr<plugin::Command> render_views() {
  return std::make_unique<Render>();
}

}  // namespace lact::views
