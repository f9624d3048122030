// lact-render views: photographs, packed data or a state in; new views, films and states out.

#include "input_options.hpp"
#include "scene_state.hpp"

#include <plugins/common/commands/state_options.hpp>
#include <plugins/common/media/frame_sink.hpp>
#include <plugins/views/camera/trajectory.hpp>
#include <plugins/views/commands.hpp>
#include <plugins/views/evaluate/compare.hpp>
#include <plugins/views/model/model.hpp>
#include <plugins/views/scene/frames.hpp>
#include <plugins/views/scene/scene.hpp>

#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>
#include <lact/stopwatch.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <tuple>
#include <utility>

namespace lact::views {
namespace {

using at::Tensor;

class Render final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    model_.declare(options.group("Model"));
    source_.declare(options.group("Input"));
    auto state = options.group("State");
    state_options_.declare(state, "scene that was read before; views given as well are added to it",
                           "write the scene that was read");
    state.add("--tile", tile_, "tokens that are processed at a time; views stay whole")
        .range(1, 1 << 30);
    declare_output(options.group("Output"));
    processes_.declare(options);
    options.group("Processes")
        .flag("--read-together", together_,
              "with several processes: each reads some of the views, which saves time and memory; "
              "the scene is that of one process to rounding, not to the bit (default: each reads "
              "all)");
    options.renamed("--input-views", "--context-views");
    options.renamed("--holdout", "--target-every");
  }

  void run(cli::Context& context) override {
    if (state_options_.inspect(context)) return;
    processes_.run(context, [&] { work(context); });
  }

 private:
  /// Every process reads the same views, or its part of them; then they share the frames.
  void work(cli::Context& context) {
    check_options();
    auto model = model_.load(context);
    processes_.require_same(concat(model_.hash(), ", ", ops::dtype_name(model.compute_dtype())),
                            "models");
    if (tile_) model.set_tile(*tile_);
    check_path(model);
    if (!lpips_file_.empty()) lpips_.emplace(media::Lpips::open(lpips_file_));
    cli::stop_requested();  // from here on a signal is heard
    SceneState scene;
    if (const auto state = state_options_.load()) scene = from_state(*state, model, model_.hash());
    Views views;
    if (source_.given())
      views = source_.read(context.seed.value_or(kDefaultSeed), image_size(scene));
    leave_out_known(scene, views);
    if (!views.context.empty()) read(model, views, scene);
    if (scene.cameras.empty())
      throw Error(Exit::usage, "nothing to render from: give --images, --data or --state");
    if (state_options_.saves() && processes_.chief())
      state_options_.save(to_state(scene, model_.hash()));
    if (!path_.empty()) render(model, scene, views, context);
  }

  /// A state's, or else that which the model was trained on.
  std::pair<int64_t, int64_t> image_size(const SceneState& scene) const {
    return scene.width > 0 ? std::pair{scene.width, scene.height} : model_.image_size();
  }

  void declare_output(cli::Options options) {
    options
        .add("--path", path_,
             "cameras to render from: turntable[:N], interpolate[:N], spiral[:N], a "
             "camera_path.json "
             "of nerfstudio, or dataset: the target views")
        .value("PATH");
    options
        .add(
            "--dataparser", dataparser_,
            "dataparser_transforms.json of the nerfstudio run in whose viewer the camera_path.json "
            "was made: brings its cameras back to those of the photographs")
        .value("FILE");
    options
        .add("-o,--output", output_,
             "folder of numbered .png files, a pattern (a-%03d.png), one .png, .jpg or .webp "
             "(several frames: a contact sheet), a .mp4 or .webm film, or - for raw RGB frames on "
             "stdout")
        .value("PATH");
    options
        .add("--render-size", render_size_, "size of the rendered images (default: of those read)")
        .value("WxH|N");
    options.add("--fps", fps_, "frames per second of a film").range(0.1, 1000.0);
    options
        .add("--blend", blend_,
             "interpolation between two cameras: linear in the matrices, or slerp")
        .words({"linear", "slerp"});
    options.add("--at-once", at_once_, "views that are rendered together").range(1, 1 << 20);
    options.flag("--metrics", metrics_,
                 "with --path dataset: print PSNR, SSIM and (with --lpips) LPIPS of the targets, "
                 "beside those of the nearest context view and of the mean colour");
    options.add("--lpips", lpips_file_, "VGG-16 weights of LPIPS, as for lact-train views")
        .value("FILE");
    options
        .add("--sheet", sheet_,
             "with --path dataset: draw context, truth, rendering and difference into this file")
        .value("FILE");
  }

  void check_options() const {
    processes_.require_file(state_options_.file(), "--state");
    if (path_.empty() && !state_options_.saves())
      throw Error(Exit::usage, "nothing to do: give --path with --output, or --save-state");
    const bool shown = !output_.empty() || metrics_ || !sheet_.empty();
    if (!path_.empty() && !shown)
      throw Error(Exit::usage, "--path: give --output, --metrics or --sheet as well");
    if (path_.empty() && shown)
      throw Error(Exit::usage, "--output, --metrics, --sheet: need a --path");
    if ((metrics_ || !sheet_.empty()) && path_ != "dataset")
      throw Error(Exit::usage, "--metrics, --sheet: only with --path dataset, which has truths");
    if (!render_size_.empty() && (metrics_ || !sheet_.empty()))
      throw Error(Exit::usage, "--render-size: --metrics and --sheet compare at the size read");
    if (!output_.empty() && processes_.chief()) media::FrameSink::check(output_);
    if (!dataparser_.empty() && path_.find('.') == std::string::npos)
      throw Error(Exit::usage, "--dataparser: only with a camera_path.json as --path");
    if (!lpips_file_.empty() && !metrics_)
      throw Error(Exit::usage, "--lpips: only with --metrics, which it is part of");
    if ((output_ == "-") + state_options_.saves_to_stdout() + metrics_ + (sheet_ == "-") > 1)
      throw Error(Exit::usage, "--output, --save-state, --metrics, --sheet: only one of them has ",
                  "stdout");
    if (!processes_.chief()) return;
    state_options_.check_folder();
    if (!sheet_.empty() && sheet_ != "-")
      media::check_folder(std::filesystem::path(sheet_).parent_path(), /*may_be_made=*/false);
  }

  /// What can be wrong with a path is said before anything is read.
  void check_path(const ViewModel& model) {
    const auto fits = [&](int64_t width, int64_t height, const std::string& what) {
      const int64_t p = model.config().patch_size;
      if (width % p != 0 || height % p != 0)
        throw Error(Exit::usage, what, ": ", width, " x ", height,
                    " is no multiple of the model's patch, ", p, "; give --render-size");
    };
    if (!render_size_.empty()) size_ = parse_size(render_size_, "--render-size");
    if (size_) fits(size_->first, size_->second, "--render-size");
    if (path_.empty()) return;
    const auto [name, count] = split_path(path_);
    if (name == "turntable" && model.config().normalize_poses != "none")
      throw Error(Exit::usage, "--path turntable: circles an object in the origin, and this model ",
                  "moves scenes to their cameras; take spiral or interpolate");
    if (name == "turntable" || name == "spiral") {
      if (count && *count < 1) throw Error(Exit::usage, "--path ", path_, ": expected 1 or more");
    } else if (name != "interpolate" && name != "dataset") {
      keyframes_ = read_camera_path(path_);
      if (!dataparser_.empty()) parser_world_ = read_dataparser_world(dataparser_);
      if (!size_) fits(keyframes_->width, keyframes_->height, path_);
    }
  }

  // --- reading -----------------------------------------------------------------------------------

  static bool same(const Camera& a, const Camera& b) {
    return a.c2w == b.c2w && a.fx == b.fx && a.fy == b.fy && a.cx == b.cx && a.cy == b.cy;
  }

  /// Views that the state has read are neither read again nor held against it.
  static void leave_out_known(const SceneState& scene, Views& views) {
    const auto known = [&](int64_t view) {
      const auto& camera = views.scene.cameras[static_cast<size_t>(view)];
      return std::any_of(scene.cameras.begin(), scene.cameras.end(),
                         [&](const Camera& other) { return same(camera, other); });
    };
    const auto again = std::erase_if(views.context, known);
    if (again > 0) log::warning("the state has read ", again, " of these views before; left out");
    std::erase_if(views.targets, known);
  }

  void read(const ViewModel& model, const Views& views, SceneState& scene) const {
    const auto& image = views.scene.images.at(0);
    if (scene.cameras.empty()) {
      scene.weights = model.start();
      scene.normal = normalization_for(model, views);
      scene.width = image.width;
      scene.height = image.height;
      scene.world = views.scene.world;
    } else if (image.width != scene.width || image.height != scene.height) {
      throw Error(Exit::usage, state_options_.file(), ": was read from images of ", scene.width,
                  " x ", scene.height, "; give --size ", scene.width, "x", scene.height);
    } else if (views.scene.world != scene.world) {
      throw Error(
          Exit::data, state_options_.file(), ": its cameras and these stand in different ",
          "worlds: the applied_transform of their transforms.json differs, or the state is ",
          "of an earlier version; read all photographs again");
    }
    const bool fresh = scene.cameras.empty();
    const auto cameras = views.context_cameras();
    std::vector<Camera> placed;
    for (const auto& camera : cameras) placed.push_back(scene.normal(camera));
    auto posed_views = posed(placed);
    posed_views.images = stacked(views.scene.images, views.context);
    ops::ScanOptions how;
    if (together_ && processes_.size() > 1) {
      posed_views = share_of(posed_views, processes_.rank(), processes_.size());
      how.exchange = [this](const std::vector<Tensor>& parts) { processes_.sum(parts); };
    }
    const Stopwatch watch;
    const int64_t patch = model.config().patch_size;
    const int64_t per_view = scene.width / patch * (scene.height / patch);
    const int64_t tokens = per_view * static_cast<int64_t>(cameras.size());
    {
      const int64_t mine = per_view * posed_views.poses.size(0);
      cli::Progress progress("reading", static_cast<double>(mine * model.config().layers),
                             "tokens");
      const auto passed = [&](int64_t done) {
        if (cli::stop_requested()) throw cli::Interrupted();
        progress.set(static_cast<double>(done));
      };
      scene.weights = model.reconstruct(posed_views, scene.weights, passed, how);
    }
    scene.cameras.insert(scene.cameras.end(), cameras.begin(), cameras.end());
    for (const auto view : views.context)
      scene.files.push_back(views.scene.files[static_cast<size_t>(view)]);
    const double seconds = watch.seconds();
    char rate[64];
    std::snprintf(rate, sizeof rate, "%.2f s, %.0f tokens/s", seconds,
                  static_cast<double>(tokens) / std::max(seconds, 1e-9));
    log::info(fresh ? "read " : "added ", cameras.size(), " views of ", scene.width, " x ",
              scene.height, ", ", tokens, " tokens, in ", rate);
  }

  // --- rendering ---------------------------------------------------------------------------------

  Trajectory trajectory(const SceneState& scene, const Views& views) const {
    const auto [name, count] = split_path(path_);
    if (keyframes_) {
      auto path = read_camera_path(path_, parser_world_.value_or(scene.world));
      warn_if_far(path.cameras, scene.cameras);
      if (size_) path.cameras = fitted(path.cameras, path.width, path.height, *size_);
      if (size_) std::tie(path.width, path.height) = *size_;
      return path;
    }
    const auto size = size_.value_or(std::pair{scene.width, scene.height});
    const auto [width, height] = size;
    if (name == "turntable") return turntable(count.value_or(120), width, height);
    const auto blend = blend_ == "slerp" ? Blend::slerp : Blend::linear;
    const auto known = fitted(scene.cameras, scene.width, scene.height, size);
    if (name == "interpolate") return interpolate(known, count.value_or(2), width, height, blend);
    if (name == "spiral") return spiral(known, count.value_or(120), width, height);
    if (views.targets.empty())
      throw Error(Exit::usage, "--path dataset: no view is held out; give --images or --data ",
                  "with --context-views N or --target-every N");
    return {fitted(views.target_cameras(), scene.width, scene.height, size), width, height, 30};
  }

  /// A path in another world than the photographs shows nothing of them.
  void warn_if_far(const std::vector<Camera>& path, const std::vector<Camera>& known) const {
    const auto far = far_from(known, path);
    if (2 * far > static_cast<int64_t>(path.size()))
      log::warning(path_, ": ", far, " of ", path.size(),
                   " cameras are far from all that were read",
                   parser_world_ ? ""
                                 : "; a path from nerfstudio's viewer is in a world of its own: "
                                   "name its dataparser_transforms.json by --dataparser");
  }

  /// Cameras of images of one size for another: scaled until they cover it, cut to their middle, as
  /// photographs are.
  static std::vector<Camera> fitted(std::vector<Camera> cameras, int64_t from_width,
                                    int64_t from_height, std::pair<int64_t, int64_t> to) {
    const auto w0 = static_cast<double>(from_width), h0 = static_cast<double>(from_height);
    const auto w = static_cast<double>(to.first), h = static_cast<double>(to.second);
    const double scale = std::max(w / w0, h / h0);
    for (auto& camera : cameras) {
      camera.fx *= scale;
      camera.fy *= scale;
      camera.cx = camera.cx * scale - (w0 * scale - w) / 2;
      camera.cy = camera.cy * scale - (h0 * scale - h) / 2;
    }
    return cameras;
  }

  static media::FrameNumbers numbers(size_t frames) {
    return {0, std::max(3, static_cast<int>(std::to_string(frames - 1).size()))};
  }

  void render(const ViewModel& model, const SceneState& scene, const Views& views,
              const cli::Context& context) const {
    const auto path = trajectory(scene, views);
    const bool turned = split_path(path_).first == "turntable";
    // A turntable is in the model's own space, which objects are trained in.
    std::vector<Camera> cameras;
    for (const auto& camera : path.cameras)
      cameras.push_back(turned ? camera : scene.normal(camera));
    const bool keep = metrics_ || !sheet_.empty();
    std::optional<media::FrameSink> sink;
    if (!output_.empty() && processes_.chief())
      sink.emplace(output_, fps_.value_or(path.rate), numbers(cameras.size()));
    std::vector<Tensor> kept;
    const Stopwatch watch;
    {
      const auto count = static_cast<int64_t>(cameras.size());
      cli::Progress progress("rendering", static_cast<double>(count), "views");
      const auto group = [&](int64_t part) {
        const auto at = cameras.begin() + part * at_once_;
        return std::vector<Camera>(at, at + std::min(at_once_, count - part * at_once_));
      };
      processes_.in_order((count + at_once_ - 1) / at_once_, 1,
                          [&](int64_t part) {
                            const auto images = model.render(posed(group(part)), scene.weights,
                                                             path.height, path.width);
                            return cli::to_bytes(keep ? images : in_8_bits(images));
                          },
                          [&](int64_t part, const std::string& made) {
                            const auto views = static_cast<int64_t>(group(part).size());
                            const auto images =
                                cli::from_bytes(made, keep ? at::kFloat : at::kByte,
                                                {views, 3, path.height, path.width});
                            for (int64_t i = 0; sink && i < views; ++i)
                              sink->add(image_of(images[i]));
                            if (keep) kept.push_back(images);
                            progress.set(static_cast<double>(part * at_once_ + views));
                          });
    }
    if (!processes_.chief()) return;
    if (sink) sink->finish();
    const double seconds = watch.seconds();
    char line[96];
    std::snprintf(line, sizeof line, "rendered %zu views of %lld x %lld in %.2f s, %.2f views/s",
                  cameras.size(), static_cast<long long>(path.width),
                  static_cast<long long>(path.height), seconds,
                  static_cast<double>(cameras.size()) / std::max(seconds, 1e-9));
    log::info(line);
    if (!keep) return;
    const auto rendered = at::cat(kept);
    if (metrics_)
      cli::out(comparison_text(rendered, views, lpips_ ? &*lpips_ : nullptr, context.json));
    if (!sheet_.empty()) media::write_image(sheet_, comparison_sheet(rendered, views));
  }

  ModelInput model_;
  std::string path_, output_, render_size_, dataparser_, blend_ = "linear";
  std::string lpips_file_, sheet_;
  std::optional<int64_t> tile_;
  std::optional<double> fps_;
  int64_t at_once_ = 4;
  bool metrics_ = false, together_ = false;
  InputOptions source_;
  commands::StateOptions state_options_;
  cli::Processes processes_;
  std::optional<std::pair<int64_t, int64_t>> size_;  ///< --render-size
  std::optional<Trajectory> keyframes_;              ///< of a camera_path.json
  std::optional<Matrix> parser_world_;               ///< of --dataparser
  std::optional<media::Lpips> lpips_;
};

}  // namespace

std::unique_ptr<plugin::Command> render_views() {
  return std::make_unique<Render>();
}

}  // namespace lact::views
