// lact-bench quality views: how near rendered views come to the truth, by number of context views.

#include <plugins/views/commands.hpp>
#include <plugins/views/evaluate/score.hpp>
#include <plugins/views/model/model.hpp>
#include <plugins/views/render/input_options.hpp>
#include <plugins/views/scene/frames.hpp>

#include <lact/cli/bench.hpp>
#include <lact/cli/processes.hpp>
#include <lact/error.hpp>
#include <lact/log.hpp>
#include <lact/ops/ceiling.hpp>
#include <lact/random.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

namespace lact::views {
namespace {

using at::Tensor;
using cli::number_text;

/// What one way of making views scored over all scenes.
struct Sum {
  double error = 0, psnr = 0, ssim = 0, lpips = 0;
  int64_t views = 0;
  void add(const Score& s) {
    const auto n = static_cast<double>(s.views);
    error += n * std::pow(10, -s.psnr_pooled / 10);
    psnr += n * s.psnr_mean;
    ssim += n * s.ssim;
    lpips += n * s.lpips.value_or(0);
    views += s.views;
  }
  Score mean(bool with_lpips) const {
    const auto n = static_cast<double>(std::max<int64_t>(views, 1));
    Score s{-10 * std::log10(error / n), psnr / n, ssim / n, {}, views};
    if (with_lpips) s.lpips = lpips / n;
    return s;
  }
};

struct Methods {
  Score ours, off, nearest, colour;
  std::optional<Score> other;  ///< none if there is no other scene
  double strength = 0;         ///< of the reading: ViewModel::write_strength
};

class QualityViews final : public plugin::Command {
 public:
  void declare(cli::Options options) override {
    options.footer(
        "Every --target-every-th view of a scene is a target; of the others --context-views are\n"
        "read, chosen by K-means of their poses. Beside the model: 'off', its picture where\n"
        "nothing was read; 'other', where the context is that of the next scene; the nearest\n"
        "context view; the mean colour of the context. 'strength' is how much of what the fast\n"
        "weights give the targets the reading of the first scene changes. LIST is N, A-B,\n"
        "A-B+STEP, A-B*FACTOR, or a list of these.");
    source_.declare(options.group("Model"));
    options.add("DATA", data_, "packed data of lact-tokenize views pack: a folder, or a file")
        .value("DIR|FILE")
        .required();
    options.add("--split", split_, "split to read from a folder of packed data");
    options.add("--context-views", counts_, "views that are read")
        .value("LIST")
        .initially("1-16*2");
    options.add("--target-every", target_every_, "make every N-th view a target")
        .range(2, 1 << 20)
        .value("N")
        .initially("8");
    options.flag("--target-split", choice_.split,
                 "make the views targets that pack --validation-split has held out");
    options
        .add("--choose", choice_.how,
             "choice of the context views: nearest to the K-means of the poses, evenly spread, the "
             "first, or random ones")
        .words({"kmeans", "even", "first", "random"});
    options.add("--scenes", most_, "measure the first N scenes; 0: all")
        .range(int64_t{0}, int64_t{1} << 40)
        .value("N");
    options.add("--lpips", lpips_file_, "VGG-16 weights of LPIPS, as for lact-train views")
        .value("FILE");
    options.flag("--each", each_, "print a row for each scene, too");
    cli::declare_form(options, format_);
    processes_.declare(options);
    options.renamed("--input-views", "--context-views");
    options.renamed("--holdout", "--target-every");
  }

  void run(cli::Context& context) override {
    processes_.run(context, [&] { measure_all(context); });
  }

 private:
  void measure_all(const cli::Context& context) {
    if (choice_.split && target_every_)
      throw Error(Exit::usage, "--target-split excludes --target-every: both name the targets");
    if (target_every_) choice_.target_every = *target_every_;
    const auto data = PackedScenes::open(data_, split_);
    const auto model = source_.load(context);
    processes_.require_same(concat(source_.hash(), ", ", ops::dtype_name(model.compute_dtype())),
                            "models");
    std::optional<media::Lpips> lpips;
    if (!lpips_file_.empty()) {
      lpips.emplace(media::Lpips::open(lpips_file_));
    } else {
      log::info("no --lpips weights: PSNR and SSIM alone");
    }
    const auto counts = cli::parse_numbers(counts_, "--context-views", {1, 2, 4, 8, 16});
    const int64_t scenes = most_ > 0 ? std::min(most_, data.size()) : data.size();
    for (int64_t scene = 0; scene < scenes; ++scene) check_counts(data, scene, counts);
    cli::Table table(context.json ? "json" : format_, {{"scene", 24},
                                                       {"context", 7, true},
                                                       {"views", 6, true},
                                                       {"PSNR", 7, true},
                                                       {"mean PSNR", 9, true},
                                                       {"SSIM", 7, true},
                                                       {"LPIPS", 7, true},
                                                       {"off", 6, true},
                                                       {"other", 6, true},
                                                       {"nearest", 7, true},
                                                       {"colour", 7, true},
                                                       {"strength", 8, true}});
    cli::Progress progress(
        "rendering", static_cast<double>(scenes) * static_cast<double>(counts.size()), "scenes");
    const uint64_t seed = context.seed.value_or(kDefaultSeed);
    Sum ours, off, other, nearest, colour;
    processes_.in_order(
        static_cast<int64_t>(counts.size()) * scenes, 1,
        [&](int64_t part) {
          return cli::to_bytes(std::vector<Methods>{
              measure(model, data, part % scenes, counts[static_cast<size_t>(part / scenes)],
                      lpips ? &*lpips : nullptr, seed)});
        },
        [&](int64_t part, const std::string& made) {
          const int64_t scene = part % scenes, count = counts[static_cast<size_t>(part / scenes)];
          if (scene == 0) ours = off = other = nearest = colour = {};
          const auto one = cli::from_bytes<Methods>(made)[0];
          ours.add(one.ours);
          off.add(one.off);
          if (one.other) other.add(*one.other);
          nearest.add(one.nearest);
          colour.add(one.colour);
          if (each_) row(table, data.name(scene), count, one);
          progress.set(static_cast<double>(part + 1));
          if (scene + 1 < scenes) return;
          row(table, concat("mean of ", scenes), count,
              {ours.mean(lpips.has_value()), off.mean(lpips.has_value()),
               nearest.mean(lpips.has_value()), colour.mean(lpips.has_value()),
               data.size() > 1 ? std::optional(other.mean(lpips.has_value())) : std::nullopt,
               write_strength(model, data, count, seed)});
        });
    if (processes_.chief()) table.finish();
  }

  void check_counts(const PackedScenes& data, int64_t scene,
                    const std::vector<int64_t>& counts) const {
    const int64_t left = views_to_read(data, scene);
    for (const auto count : counts)
      if (count < 1 || count > left)
        throw Error(Exit::usage, "--context-views ", count, ": scene ", data.name(scene), " has ",
                    left, " views beside the targets");
  }

  int64_t views_to_read(const PackedScenes& data, int64_t scene) const {
    const int64_t views = data.views(scene), every = choice_.target_every;
    const auto held = static_cast<int64_t>(data.held(scene).size());
    return views - (choice_.split ? held : (views + every - 1) / every);
  }

  /// A scene's views, and those of them that are read and rendered as the model sees them.
  struct Chosen {
    Views views;
    Posed context, targets;
  };
  /// At most `count` views are read.
  Chosen chosen(const ViewModel& model, const PackedScenes& data, int64_t scene, int64_t count,
                uint64_t seed) const {
    Chosen all{packed_views(data, scene), {}, {}};
    auto choice = choice_;
    choice.context = std::min(count, views_to_read(data, scene));
    choose(all.views, choice, seed);
    const auto normal = normalization_for(model, all.views);
    const auto placed = [&](std::vector<Camera> cameras, const std::vector<int64_t>& which) {
      for (auto& camera : cameras) camera = normal(camera);
      auto views = posed(cameras);
      views.images = stacked(all.views.scene.images, which);
      return views;
    };
    all.context = placed(all.views.context_cameras(), all.views.context);
    all.targets = placed(all.views.target_cameras(), all.views.targets);
    return all;
  }

  Methods measure(const ViewModel& model, const PackedScenes& data, int64_t scene, int64_t count,
                  const media::Lpips* lpips, uint64_t seed) const {
    const auto all = chosen(model, data, scene, count, seed);
    const auto rendered = [&](const SceneWeights& weights) {
      return model.render(all.targets, weights, data.height(), data.width()).cpu();
    };
    const auto read = [&](const Posed& context) {
      return rendered(model.reconstruct(context, model.start()));
    };
    const auto truth = all.targets.images.to(at::kFloat).div(255);
    const auto images = all.context.images.to(at::kFloat).div(255);
    std::optional<Score> other;
    if (data.size() > 1) {
      const auto next = chosen(model, data, (scene + 1) % data.size(), count, seed);
      other = score(read(next.context), truth, lpips);
    }
    const auto nearest =
        nearest_views(all.views.context_cameras(), images, all.views.target_cameras());
    return {score(read(all.context), truth, lpips), score(rendered(model.start()), truth, lpips),
            score(nearest, truth, lpips), score(mean_colour(images, truth.size(0)), truth, lpips),
            other};
  }

  /// Of reading the first scene.
  double write_strength(const ViewModel& model, const PackedScenes& data, int64_t count,
                        uint64_t seed) const {
    const auto all = chosen(model, data, 0, count, seed);
    return model.write_strength(batch_of_one(all.context, model.device()),
                                batch_of_one(all.targets, model.device()));
  }

  static void row(cli::Table& table, const std::string& name, int64_t count, const Methods& m) {
    nlohmann::ordered_json values = {{"scene", name}, {"context_views", count}};
    const auto put = [&](const std::string& prefix, const Score& s) {
      values[prefix + "psnr_pooled"] = s.psnr_pooled;
      values[prefix + "psnr_mean"] = s.psnr_mean;
      values[prefix + "ssim"] = s.ssim;
      if (s.lpips) values[prefix + "lpips"] = *s.lpips;
    };
    values["target_views"] = m.ours.views;
    put("", m.ours);
    put("off/", m.off);
    if (m.other) put("other_scene/", *m.other);
    put("nearest_view/", m.nearest);
    put("mean_colour/", m.colour);
    if (m.strength > 0) values["write_strength"] = m.strength;
    table.row(
        values,
        {name.substr(0, 24), std::to_string(count), std::to_string(m.ours.views),
         number_text(m.ours.psnr_pooled, "%.2f"), number_text(m.ours.psnr_mean, "%.2f"),
         number_text(m.ours.ssim, "%.4f"), m.ours.lpips ? number_text(*m.ours.lpips, "%.4f") : "",
         number_text(m.off.psnr_pooled, "%.2f"),
         m.other ? number_text(m.other->psnr_pooled, "%.2f") : "",
         number_text(m.nearest.psnr_pooled, "%.2f"), number_text(m.colour.psnr_pooled, "%.2f"),
         m.strength > 0 ? number_text(m.strength, "%.3g") : ""});
  }

  ModelInput source_;
  std::string data_, split_ = "validation", lpips_file_, format_ = "md";
  std::vector<std::string> counts_;
  Choice choice_{{}, 8, "kmeans"};
  std::optional<int64_t> target_every_;
  int64_t most_ = 0;
  bool each_ = false;
  cli::Processes processes_;
};

}  // namespace

std::unique_ptr<plugin::Command> quality_views() {
  return std::make_unique<QualityViews>();
}

}  // namespace lact::views
