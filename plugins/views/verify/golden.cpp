#include "golden.hpp"

#include "golden_images.hpp"
#include "golden_metrics.hpp"
#include "golden_scene.hpp"
#include "golden_trajectories.hpp"

#include <plugins/views/camera/world.hpp>
#include <plugins/views/model/model.hpp>

#include <lact/train/lr_schedule.hpp>
#include <lact/train/optimizer.hpp>
#include <lact/train/step_rule.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

namespace lact::views {
namespace {

using at::Tensor;
using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kMost = 4096;  // of a size that a case states

// --- cameras -------------------------------------------------------------------------------------

std::vector<Camera> cameras_of(const Tensor& poses) {
  const auto all = poses.reshape({-1, 16}).to(at::kCPU, at::kDouble).contiguous();
  std::vector<Camera> cameras(static_cast<size_t>(all.size(0)));
  for (size_t i = 0; i < cameras.size(); ++i)
    std::copy_n(all.data_ptr<double>() + 16 * i, 16, cameras[i].c2w.m.begin());
  return cameras;
}

Tensor poses_of(const std::vector<Camera>& cameras) {
  return posed(cameras, at::kDouble).poses;
}

Computed cameras(Golden& file) {
  const auto height = file.integer("height", 1, kMost), width = file.integer("width", 1, kMost);
  Dim B("B"), V("V"), N("nerfstudio's"), S("S"), four("4", 4);
  auto given = cameras_of(file.input("in.w2c", {B, V, four, four}));
  for (auto& camera : given) camera.c2w = inverse(camera.c2w);
  const auto c2w = poses_of(given).view({B.size, V.size, 4, 4});
  const auto type = file.settings().dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto pose =
      pose_features({{}, file.input("in.fxfycxcy", {B, V, four}).to(type), c2w.to(type)}, height,
                    width)
          .movedim(-1, 2);
  auto foreign = cameras_of(file.input("in.nerfstudio_transform", {N, four, four}));
  for (auto& camera : foreign)
    camera.c2w = inverse(placed(nerfstudio_world(), opencv_axes(camera.c2w)));
  auto scene = cameras_of(file.input("in.scene_c2w", {S, four, four}));
  const auto normal = normalization(scene);
  for (auto& camera : scene) camera = normal(camera);
  return {{"out.c2w", c2w},
          {"out.pose", pose},
          {"out.ray_o", pose.slice(2, 0, 3)},
          {"out.ray_d", pose.slice(2, 3, 6)},
          {"out.o_cross_d", pose.slice(2, 6, 9)},
          {"out.nerfstudio_w2c", poses_of(foreign)},
          {"out.normalized_c2w", poses_of(scene)}};
}

// --- layers --------------------------------------------------------------------------------------

Sublayer layer_of(const Golden& file) {
  Sublayer s;
  s.kind = Sublayer::Kind::fast_weights;
  s.head_dim = file.integer("head_dim", 1, kMost);
  s.inter_multi = file.number("inter_multi");
  s.base_lr = file.number("base_lr");
  s.muon_steps = file.integer("muon_update_steps", 0, 100);
  return s;
}

/// `ops` is a list of [begin, end, update, apply]: update first.
ops::Schedule schedule_of(const Golden& file, int64_t length) {
  ops::Schedule plan{{}, length, 0};
  for (const auto& op : file.option("ops")) {
    const int64_t begin = op.at(0), end = op.at(1);
    if (begin < 0 || end <= begin || end > length)
      file.refuse("case: ops: expected spans of ", length, " tokens, found ", op.dump());
    if (op.at(2).get<bool>()) plan.steps.push_back({ops::Step::Kind::update, begin, end});
    if (op.at(3).get<bool>()) plan.steps.push_back({ops::Step::Kind::apply, begin, end});
  }
  return plan;
}

/// Parameters of sublayer `prefix` with their stored names.
Parameters parameters_of(Golden& file, const Config& config, const std::string& prefix,
                         const std::string& stored) {
  io::NamedTensors all;
  for (const auto& [name, shape] : parameter_shapes(config))
    if (name.rfind(prefix, 0) == 0) {
      const auto rest = name.substr(prefix.size());
      const auto in_file =
          "param." + stored + (stored.empty() ? rest.substr(rest.rfind("f.") + 2) : rest);
      if (stored.empty() && rest.rfind("f.", 0) != 0) continue;
      all.emplace_back(rest, file.input(in_file, shape));
    }
  return Parameters(all);
}

Config config_with(int64_t dim, std::vector<Sublayer> block, const Golden& file) {
  Config c;
  c.dim = dim;
  c.layers = 1;
  c.block = std::move(block);
  try {
    c.check(file.name());
  } catch (const Error& error) {
    throw Error(Exit::data, error.what());
  }
  return c;
}

void put(Computed& out, const std::string& name, const ops::FastWeights& w) {
  out[name + "w0"] = w.gate.mT();
  out[name + "w1"] = w.down.mT();
  out[name + "w2"] = w.up.mT();
}

Computed lact_layer(Golden& file) {
  const auto s = layer_of(file);
  const auto config = config_with(file.integer("dim", 1, kMost), {s}, file);
  const auto p = parameters_of(file, config, "blocks.0.module_list.0.", "");
  Dim B("B"), L("L"), d("dim", config.dim);
  const auto x = file.input("in.x", {B, L, d});
  const auto compute = file.settings().dtype;
  const auto how = rule(config, s, compute);
  auto weights = initial_weights(p, B.size);
  if (file.flag("state_given")) {
    const int64_t n = B.size * config.heads(s), k = s.head_dim, f = config.hidden(s);
    weights = {file.input("in.state.w0", {n, k, f}).mT(), file.input("in.state.w2", {n, k, f}).mT(),
               file.input("in.state.w1", {n, f, k}).mT()};
  }
  auto state = ops::initial_state(weights, how);
  const auto y = fast_weights(config, s, p, x, schedule_of(file, L.size), state, compute);
  Computed out{{"out.y", y}};
  put(out, "out.", state.w);
  Dim applied("tokens applied", y.size(1));
  file.gradients((y * file.probe("in.dy", {B, applied, d})).sum(), out);
  return out;
}

Computed block_kind(Golden& file) {
  nlohmann::json values{{"patch_size", 1}, {"layers", 1}};
  values["dim"] = file.integer("dim", 1, kMost);
  values["block_config"] = file.option("block_config");
  const auto config = Config::from_json(values, file.name() + ": case");
  std::vector<Parameters> parameters;
  for (size_t j = 0; j < config.block.size(); ++j) {
    const auto place = concat("module_list.", j, ".");
    parameters.push_back(parameters_of(file, config, "blocks.0." + place, place));
  }
  Dim B("B"), L("L"), d("dim", config.dim);
  const auto x = file.input("in.x", {B, L, d});
  const auto l = file.integer("tokens_per_view", 1, L.size);
  if (L.size % l != 0)
    file.refuse("case: tokens_per_view: ", L.size, " tokens are not whole views");
  const auto y =
      block(config, parameters, x, l, schedule_of(file, L.size), nullptr, file.settings().dtype);
  Computed out{{"out.y", y}};
  file.gradients((y * file.probe("in.dy", {B, L, d})).sum(), out);
  return out;
}

// --- the whole model -----------------------------------------------------------------------------

struct Whole {
  ViewModel model;
  Posed context, targets;
};

Whole whole(Golden& file) {
  const auto config = Config::from_json(file.option("config"), file.name() + ": case: config");
  ViewModel model(config, file.parameters(parameter_shapes(config), "param."));
  model.set_compute_dtype(file.settings().dtype);
  Dim B("B"), V("V"), T("T"), three("3", 3), four("4", 4);
  Dim h("height", file.integer("height", 1, kMost)), w("width", file.integer("width", 1, kMost));
  return {std::move(model),
          {file.input("in.image", {B, V, three, h, w}).detach(),
           file.input("in.fxfycxcy", {B, V, four}).detach(),
           file.input("in.c2w", {B, V, four, four}).detach()},
          {{},
           file.input("in.target_fxfycxcy", {B, T, four}).detach(),
           file.input("in.target_c2w", {B, T, four, four}).detach()}};
}

Computed model_kind(Golden& file) {
  const auto all = whole(file);
  std::map<std::string, Tensor> taps;
  const auto rendered = all.model.forward(all.context, all.targets, &taps);
  const auto target = file.input("in.target_image", rendered.sizes().vec()).detach();
  const auto loss = (rendered - target).square().mean();
  const auto pixels = pixel_features(all.context, rendered.size(-2), rendered.size(-1));
  Computed out{{"out.rendered", rendered},
               {"out.loss", loss},
               {"out.psnr", -10 * loss.log10()},
               {"mid.input_features", pixels.movedim(-1, 2)}};
  for (const auto& [name, tap] : taps) out["mid." + name] = tap;
  file.gradients(loss, out);
  return out;
}

Posed select(const Posed& views) {
  return {views.images.defined() ? views.images.select(0, 0) : Tensor(),
          views.intrinsics.select(0, 0), views.poses.select(0, 0)};
}

Computed reconstruct_render(Golden& file) {
  auto all = whole(file);
  const auto context = select(all.context), targets = select(all.targets);
  all.model.set_tile(1);  // a view at a time
  const auto scene = all.model.reconstruct(context, all.model.start());
  const int64_t h = context.images.size(-2), w = context.images.size(-1);
  Computed out{{"out.rendered", all.model.render(targets, scene, h, w).unsqueeze(0)},
               {"out.rendered_jointly", all.model.forward(all.context, all.targets)}};
  for (size_t i = 0; i < scene.size(); ++i) put(out, concat("out.state.", i, "."), scene[i]);
  return out;
}

// --- training ------------------------------------------------------------------------------------

Computed lr_schedule(Golden& file) {
  train::LrSchedule schedule;
  schedule.peak = 1;
  schedule.min_ratio = 0;
  schedule.from_zero = true;
  schedule.warmup_steps = file.integer("warmup", 0, 1 << 30);
  schedule.total_steps = file.integer("total", 1, 1 << 30);
  Dim S("S");
  const auto steps = file.integers("in.step", {S}, 0, 1 << 30);
  std::vector<double> factors;
  for (int64_t i = 0; i < S.size; ++i) factors.push_back(schedule.at(steps[i].item<int64_t>()));
  return {{"out.factor", at::tensor(factors, at::kDouble)}};
}

Computed train_kind(Golden& file) {
  const at::AutoGradMode with_gradients(true);
  auto all = whole(file);
  if (file.settings().dtype == at::kDouble) return {};  // the optimizer is float32's
  const auto& hyper = file.option("hyper");
  train::LrSchedule schedule;
  schedule.peak = hyper.at("lr");
  schedule.min_ratio = 0;
  schedule.from_zero = true;
  schedule.warmup_steps = hyper.at("warmup");
  schedule.total_steps = hyper.at("total");
  train::StepRule gate;
  gate.max_norm = hyper.at("clip_norm");
  gate.skip_above = hyper.at("skip_norm");
  gate.from_step = file.integer("clip_after", 0, 1 << 30) + 1;
  std::vector<train::Parameter> parameters;
  io::NamedTensors leaves;
  for (auto& [name, tensor] : all.model.parameters()) {
    leaves.emplace_back(name, tensor.detach().clone().requires_grad_(true));
    parameters.push_back({name, leaves.back().second, tensor.dim() >= 2, 1});
  }
  ViewModel model(all.model.config(), Parameters(leaves));
  model.set_compute_dtype(file.settings().dtype);
  train::Optimizer optimizer(parameters, {hyper.at("betas").at(0), hyper.at("betas").at(1),
                                          hyper.at("eps"), hyper.at("weight_decay")});
  const auto count = file.integer("steps", 1, 1000);
  auto shape = model.forward(all.context, all.targets).sizes().vec();
  shape.insert(shape.begin(), count);
  const auto targets = file.input("in.target_image", shape).detach();
  std::vector<double> losses, norms, rates;
  std::vector<int64_t> skipped;
  for (int64_t step = 0; step < count; ++step) {
    const auto loss = (model.forward(all.context, all.targets) - targets[step]).square().mean();
    loss.backward();
    losses.push_back(loss.item<double>());
    norms.push_back(train::global_norm(parameters));
    rates.push_back(schedule.at(step));
    skipped.push_back(!gate.fault(step, losses.back(), norms.back(), 0).why.empty());
    if (skipped.back() == 0) {
      train::scale_gradients(parameters, gate.factor(step, norms.back()));
      optimizer.step(rates.back());
    }
    optimizer.zero_grad();
  }
  return {{"out.loss", at::tensor(losses, at::kDouble)},
          {"out.grad_norm", at::tensor(norms, at::kDouble)},
          {"out.lr", at::tensor(rates, at::kDouble)},
          {"out.skipped", at::tensor(skipped, at::kLong)}};
}

// --- checks --------------------------------------------------------------------------------------

/// A small model in float64, and seven random views of 12 x 16 pixels.
struct Small {
  ViewModel model;
  Posed views;

  explicit Small(const verify::Settings& settings)
      : model(ViewModel::fresh(config(), 3, settings.device)) {
    for (auto& [name, parameter] : model.parameters())
      parameter.set_data(parameter.to(at::kDouble));
    model.set_compute_dtype(at::kDouble);
    std::vector<Camera> cameras;
    for (int i = 0; i < 7; ++i)
      cameras.push_back(
          {14, 15, 8, 6, look_at({2 * std::cos(0.9 * i), 2 * std::sin(0.9 * i), 0.5}, {0, 0, 0})});
    views = posed(cameras, at::kDouble);
    views.images = (at::arange(7 * 3 * 12 * 16, at::kDouble) * 1.7)
                       .sin()
                       .mul(0.5)
                       .add(0.5)
                       .view({7, 3, 12, 16});
  }
  static Config config() {
    Config c;
    c.patch_size = 4;
    c.dim = 32;
    c.layers = 2;
    c.block = Config::published_block(16, 16, 2);
    return c;
  }
  Posed some(const std::vector<int64_t>& which) const {
    const auto index = at::tensor(which, at::kLong);
    return {views.images.index_select(0, index), views.intrinsics.index_select(0, index),
            views.poses.index_select(0, index)};
  }
  Tensor rendered(const std::vector<int64_t>& context) const {
    return model.render(some({4, 5, 6}), model.reconstruct(some(context), model.start()), 12, 16);
  }
};

/// Newton-Schulz multiplies float64's rounding by up to 3.4445^5.
constexpr double kRounding = 1e-9;

verify::Seen at_most(const Tensor& difference) {
  const double seen = difference.abs().max().item<double>();
  return {std::isfinite(seen) ? seen : INFINITY, kRounding, ""};
}

verify::Seen read_then_render(const verify::Settings& settings) {
  const at::NoGradGuard no_graph;
  const Small small(settings);
  const auto joint =
      small.model.forward(batch_of_one(small.some({0, 1, 2, 3}), small.model.device()),
                          batch_of_one(small.some({4, 5, 6}), small.model.device()));
  return at_most(small.rendered({0, 1, 2, 3}) - joint[0]);
}

verify::Seen any_order(const verify::Settings& settings) {
  const at::NoGradGuard no_graph;
  const Small small(settings);
  return at_most(small.rendered({0, 1, 2, 3}) - small.rendered({2, 0, 3, 1}));
}

}  // namespace

std::vector<verify::GoldenKind> golden_kinds() {
  return {{"cameras", "in.w2c", cameras},
          {"lact_layer", "in.x", lact_layer},
          {"block", "in.x", block_kind},
          {"model", "in.c2w", model_kind},
          {"reconstruct_render", "in.c2w", reconstruct_render},
          {"lr_schedule", "in.step", lr_schedule},
          {"train", "in.c2w", train_kind},
          image_prep_kind(),
          metrics_kind(),
          scene_kind(),
          trajectories_kind()};
}

std::vector<verify::Check> model_checks() {
  return {
      {"a scene read and rendered view by view equals the joint forward pass", read_then_render},
      {"the order of context views does not matter", any_order}};
}

}  // namespace lact::views
