#include "support/golden.hpp"
#include "support/ranks.hpp"
#include "support/test.hpp"

#include <plugins/views/model/model.hpp>
#include <plugins/views/verify/golden.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>

#include <numeric>

using namespace lact;
using namespace lact::views;
using at::Tensor;
using test::count_kind;
using test::tensors_with;
using verify::Verdict;

namespace {

Config small_config() {
  Config c;
  c.patch_size = 4;
  c.dim = 32;
  c.layers = 2;
  c.block = Config::published_block(16, 16, 2);
  return c;
}

ViewModel small_model() {
  auto model = ViewModel::fresh(small_config(), 3, at::kCPU);
  for (auto& [name, parameter] : model.parameters()) parameter.set_data(parameter.to(at::kDouble));
  model.set_compute_dtype(at::kDouble);
  return model;
}

/// Views of 12 x 16 pixels around the origin.
Posed some_views(int64_t count, int seed) {
  std::vector<Camera> cameras;
  for (int64_t i = 0; i < count; ++i) {
    const double a = 0.7 * static_cast<double>(i) + seed;
    cameras.push_back({14, 15, 8, 6, look_at({2 * std::cos(a), 2 * std::sin(a), 0.5}, {0, 0, 0})});
  }
  auto views = posed(cameras, at::kDouble);
  views.images = (at::arange(count * 3 * 12 * 16, at::kDouble) * (seed + 1.7))
                     .sin()
                     .mul(0.5)
                     .add(0.5)
                     .view({count, 3, 12, 16});
  return views;
}

Posed part(const Posed& v, const std::vector<int64_t>& which) {
  const auto index = at::tensor(which, at::kLong);
  return {v.images.index_select(0, index), v.intrinsics.index_select(0, index),
          v.poses.index_select(0, index)};
}

Posed batch(const Posed& v) {
  return {v.images.unsqueeze(0), v.intrinsics.unsqueeze(0), v.poses.unsqueeze(0)};
}

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace

TEST_CASE("cameras, layers, models and training steps match the golden values, every tensor",
          "[golden]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto results = test::replay_golden("views", golden_kinds(), dtype);
  CHECK(tensors_with(Verdict::fail, results) == "");
  if (dtype == at::kFloat) CHECK(tensors_with(Verdict::skipped, results) == "");
  CHECK(count_kind(results, "cameras") == 1);
  CHECK(count_kind(results, "lact_layer") == 3);
  CHECK(count_kind(results, "block") == 1);
  CHECK(count_kind(results, "model") == 1);
  CHECK(count_kind(results, "reconstruct_render") == 1);
  CHECK(count_kind(results, "lr_schedule") == 1);
  CHECK(count_kind(results, "train") == 1);
}

TEST_CASE("reading a scene, then rendering view by view, equals the joint forward pass") {
  const at::NoGradGuard no_grad;
  auto model = small_model();
  const auto all = some_views(7, 1);
  const auto context = part(all, {0, 1, 2, 3}), targets = part(all, {4, 5, 6});
  const auto want = model.forward(batch(context), batch(targets))[0];
  for (const int64_t tile : {1, 24, 1000}) {
    CAPTURE(tile);
    model.set_tile(tile);
    const auto scene = model.reconstruct(context, model.start());
    // Newton-Schulz multiplies rounding by up to 3.4445^5.
    CHECK(distance(model.render(targets, scene, 12, 16), want) < 1e-9);
  }
}

TEST_CASE("a scene split over processes renders and trains as in one") {
  const bool recompute = GENERATE(false, true);
  const int ranks = GENERATE(2, 3);
  CAPTURE(recompute, ranks);
  const auto all = some_views(9, 4);
  const auto context = batch(part(all, {0, 1, 2, 3, 4})), targets = batch(part(all, {5, 6, 7, 8}));
  /// Pictures, then the gradients of all parameters.
  const auto work = [&](const dist::Group* group) {
    auto model = small_model();
    model.set_recompute(recompute);
    for (auto& [name, parameter] : model.parameters()) parameter.requires_grad_(true);
    ops::ScanOptions how;
    auto mine = context, shown = targets;
    if (group != nullptr) {
      mine = share_of(context, group->rank(), group->size());
      shown = share_of(targets, group->rank(), group->size());
      how.exchange = [group](const std::vector<Tensor>& parts) { group->sum(parts); };
    }
    const auto rendered = model.forward(mine, shown, nullptr, how);
    (rendered - shown.images).square().sum().backward();
    std::vector<Tensor> results{rendered.detach()};
    for (auto& [name, parameter] : model.parameters()) results.push_back(parameter.grad());
    return results;
  };
  const auto want = work(nullptr);
  const auto got = test::on_ranks(ranks, [&](const dist::Group& group) { return work(&group); });
  std::vector<Tensor> pictures;
  for (const auto& rank : got) pictures.push_back(rank[0]);
  CHECK(distance(at::cat(pictures, 1), want[0]) < 1e-9);
  for (size_t i = 1; i < want.size(); ++i) {
    Tensor sum = got[0][i].clone();
    for (size_t rank = 1; rank < got.size(); ++rank) sum += got[rank][i];
    CHECK(test::scaled_error(sum, want[i]) < 1e-9);
  }
}

TEST_CASE("a scene read by several processes, some without a view, is that of one on each") {
  const at::NoGradGuard no_grad;
  const int ranks = GENERATE(2, 3);
  const int64_t views = GENERATE(2, 5);
  const std::string learn = GENERATE("all", "last");
  CAPTURE(ranks, views, learn);
  auto model = small_model();
  model.set_learn(learn);
  model.set_tile(24);  // two views: not all ranks have equally many tiles
  std::vector<int64_t> which(static_cast<size_t>(views));
  std::iota(which.begin(), which.end(), 0);
  const auto all = some_views(6, 4), context = part(all, which);
  const auto before = model.reconstruct(part(all, {5}), model.start());
  const auto want = model.reconstruct(context, before);
  const auto got = test::on_ranks(ranks, [&](const dist::Group& group) {
    const at::NoGradGuard alone;  // a thread's own
    ops::ScanOptions how;
    how.exchange = [&group](const std::vector<Tensor>& parts) { group.sum(parts); };
    return model.reconstruct(share_of(context, group.rank(), group.size()), before, {}, how);
  });
  for (const auto& scene : got)
    for (size_t i = 0; i < want.size(); ++i)
      for (const auto part :
           {&ops::FastWeights::gate, &ops::FastWeights::up, &ops::FastWeights::down}) {
        // Newton-Schulz multiplies rounding by up to 3.4445^5.
        CHECK(distance(scene[i].*part, want[i].*part) < 1e-9);
        CHECK(test::same_bytes(scene[i].*part, got[0][i].*part));
      }
  CHECK(distance(want[0].down, before[0].down) > 1e-3);
}

TEST_CASE("the order of the context views does not matter, and targets do not see each other") {
  const at::NoGradGuard no_grad;
  const auto model = small_model();
  const auto all = some_views(7, 2);
  const auto context = part(all, {0, 1, 2, 3}), turned = part(all, {2, 0, 3, 1});
  const auto together = model.forward(batch(context), batch(part(all, {4, 5, 6})));
  CHECK(distance(model.forward(batch(turned), batch(part(all, {4, 5, 6}))), together) < 1e-9);
  CHECK(distance(model.forward(batch(context), batch(part(all, {5}))), together.slice(1, 1, 2)) <
        1e-9);
  auto other = some_views(7, 3);
  CHECK(distance(model.forward(batch(part(other, {0, 1, 2, 3})), batch(part(all, {4, 5, 6}))),
                 together) > 1e-4);
}

TEST_CASE(
    "a model that learns nothing from the context renders the same picture whatever it read") {
  const at::NoGradGuard no_grad;
  auto model = small_model();
  const auto all = some_views(7, 2), other = some_views(7, 3);
  const auto context = part(all, {0, 1, 2}), elsewhere = part(other, {0, 1, 2}),
             targets = part(all, {4, 5});
  CHECK(model.write_strength(batch(context), batch(targets)) > 0.05);
  CHECK(distance(model.forward(batch(context), batch(targets)),
                 model.forward(batch(elsewhere), batch(targets))) > 1e-4);
  model.set_learn("none");
  const auto picture = model.forward(batch(context), batch(targets));
  CHECK(test::same_bytes(picture, model.forward(batch(elsewhere), batch(targets))));
  const auto scene = model.reconstruct(context, model.start());
  CHECK(test::same_bytes(scene[0].down, model.start()[0].down));
  CHECK(distance(model.render(targets, scene, 12, 16), picture[0]) < 1e-12);
  CHECK(model.write_strength(batch(context), batch(targets)) == 0);
  CHECK(parameter_shapes(model.config()) == parameter_shapes(small_config()));
}

TEST_CASE("a whitened input layer answers to places, directions and colours alike") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  config.dim = 256;
  config.block = Config::published_block(64, 64, 2);
  auto model = ViewModel::fresh(config, 3, at::kCPU);
  auto views = some_views(9, 4);
  for (auto* x : {&views.images, &views.intrinsics, &views.poses}) *x = x->to(at::kFloat);
  const auto means = patches(views, 12, 16, 4).view({-1, 16, 12}).mean(1).to(at::kDouble);
  const auto moments = means.t().matmul(means) / means.size(0) + 1e-3 * at::eye(12, at::kDouble);
  // What the layer answers with to the inputs' principal axes, over 4096 of its rows.
  const auto spread = [&] {
    const auto [values, axes] = at::linalg_eigh(moments);
    const auto rows = model.parameters()[0].second.to(at::kDouble).view({-1, 12});
    const auto answers = rows.matmul(axes * values.sqrt()).square().mean({0}) / (0.02 * 0.02);
    return std::pair(answers.min().item<double>(), answers.max().item<double>());
  };
  REQUIRE(model.parameters()[0].first == "input_linear.weight");
  CHECK(spread().second > 100 * spread().first);
  model.whiten_input(views);
  CHECK(spread().first > 0.85);
  CHECK(spread().second < 1.15);
}

TEST_CASE("the truth of a target is not looked at") {
  const at::NoGradGuard no_grad;
  const auto model = small_model();
  const auto all = some_views(6, 5);
  const auto context = part(all, {0, 1, 2}), targets = part(all, {3, 4});
  const Posed cameras{{}, targets.intrinsics, targets.poses};
  const Posed alone{{}, cameras.intrinsics.unsqueeze(0), cameras.poses.unsqueeze(0)};
  CHECK(test::same_bytes(model.forward(batch(context), batch(targets)),
                         model.forward(batch(context), alone)));
  const auto scene = model.reconstruct(context, model.start());
  CHECK(
      test::same_bytes(model.render(targets, scene, 12, 16), model.render(cameras, scene, 12, 16)));
}

TEST_CASE(
    "views added to a scene are a second update of it, and what was read before stays as it was") {
  const at::NoGradGuard no_grad;
  const auto model = small_model();
  const auto all = some_views(6, 4);
  const auto first = part(all, {0, 1, 2}), second = part(all, {3, 4});
  const auto once = model.reconstruct(first, model.start());
  const auto twice = model.reconstruct(second, once);
  // The same as one sequence whose schedule learns and answers the first views, then the others:
  // per layer, by the operator itself.
  const auto& c = model.config();
  const int64_t l = 12, tokens = 5 * l;
  const ops::Schedule plan{{{ops::Step::Kind::update, 0, 3 * l},
                            {ops::Step::Kind::apply, 0, 3 * l},
                            {ops::Step::Kind::update, 3 * l, tokens},
                            {ops::Step::Kind::apply, 3 * l, tokens}},
                           tokens,
                           0};
  const Parameters p(model.parameters());
  auto x = patches(part(all, {0, 1, 2, 3, 4}), 12, 16, 4).matmul(p("input_linear.weight").mT());
  x = layer_norm(x, p("input_layernorm.weight")).unsqueeze(0);
  for (size_t i = 0; i < 2; ++i) {
    Parameters layer[3];
    for (size_t j = 0; j < 3; ++j)
      layer[j] = p.under(concat("blocks.", i, ".module_list.", j, "."));
    const auto add = [&](size_t j, const Tensor& y) {
      x = x + y.view(x.sizes());
      (void)j;
    };
    add(0, attention(c.block[0], layer[0], layer_norm(x, layer[0]("ln.weight")).view({5, l, 32}),
                     at::kDouble));
    auto state = ops::initial_state(initial_weights(layer[1], 1), rule(c, c.block[1], at::kDouble));
    add(1, fast_weights(c, c.block[1], layer[1], layer_norm(x, layer[1]("ln.weight")), plan, state,
                        at::kDouble));
    CHECK(distance(state.w.gate, twice[i].gate) < 1e-9);
    CHECK(distance(state.w.down, twice[i].down) < 1e-9);
    add(2, mlp(layer[2], layer_norm(x, layer[2]("ln.weight")), at::kDouble));
  }
  // It is not the same as reading all at once: that is one update.
  const auto at_once = model.reconstruct(part(all, {0, 1, 2, 3, 4}), model.start());
  CHECK(distance(at_once[0].gate, twice[0].gate) > 1e-4);
}

TEST_CASE("in bfloat16, a scene read in many tiles is as near to float32 as one read in one") {
  const at::NoGradGuard no_grad;
  auto model = ViewModel::fresh(small_config(), 3, at::kCPU);
  auto all = some_views(40, 7);
  all = {all.images.to(at::kFloat), all.intrinsics.to(at::kFloat), all.poses.to(at::kFloat)};
  const auto exact = model.reconstruct(all, model.start());
  model.set_muon_dtype("float32");
  model.set_compute_dtype(at::kBFloat16);
  const auto error = [&](int64_t tile) {
    model.set_tile(tile);
    // Of the first layer, whose tokens do not depend on what was learned.
    return test::scaled_error(model.reconstruct(all, model.start())[0].down, exact[0].down);
  };
  const double whole = error(100000), tiled = error(12);
  CAPTURE(whole, tiled);
  CHECK(whole > 0);
  CHECK(tiled < 1.5 * whole);
}

TEST_CASE("published configurations have the published names, shapes and counts") {
  for (const auto& name : {"lact_l14_d768_ttt2x", "lact_l24_d768_ttt2x", "lact_l24_d768_ttt4x"}) {
    CAPTURE(name);
    const auto file = test::source_root() / concat("tests/golden/views/manifest_", name, ".json");
    const auto manifest = io::parse_json(io::read_text(file), file.string());
    const auto config = Config::preset(name);
    CHECK((Config::from_json(manifest["config"], "manifest").block == config.block));
    std::map<std::string, std::vector<int64_t>> ours;
    int64_t numbers = 0;
    for (const auto& [tensor, shape] : parameter_shapes(config)) {
      ours[tensor] = shape;
      int64_t size = 1;
      for (const auto one : shape) size *= one;
      numbers += size;
    }
    CHECK(ours == manifest["tensors"].get<std::map<std::string, std::vector<int64_t>>>());
    CHECK(numbers == manifest["parameters"].get<int64_t>());
  }
}

TEST_CASE("a bare file of tensors tells its configuration by names and shapes") {
  test::TemporaryFolder folder;
  auto config = small_config();
  const auto model = ViewModel::fresh(config, 1, at::kCPU);
  const auto file = folder / "bare.safetensors";
  io::write_safetensors(file, model.parameters());
  const auto found = Config::of(io::Checkpoint::open(file));
  CHECK((found.block == config.block));
  config.muon_dtype = "bfloat16";  // as what is published without a configuration was trained
  CHECK(found.to_json() == config.to_json());
  io::write_safetensors(file, {{"lm_head.weight", at::rand({4, 4})}});
  CHECK_THROWS_WITH(Config::of(io::Checkpoint::open(file)), Catch::Contains("not a views model"));
}

TEST_CASE("a configuration says what size the images were that it was trained on") {
  auto config = small_config();
  CHECK_FALSE(config.to_json().contains("image_size"));
  config.width = 320;
  config.height = 192;
  const nlohmann::json json = config.to_json();
  CHECK(json["image_size"] == nlohmann::json{320, 192});
  const auto read = Config::from_json(json, "config.json");
  CHECK(read.width == 320);
  CHECK(read.height == 192);
}

TEST_CASE("a configuration that cannot work is refused by the name of its key") {
  const auto refused = [](const char* key, const nlohmann::json& value) {
    auto json = nlohmann::json(small_config().to_json());
    json[key] = value;
    try {
      Config::from_json(json, "config.json");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(refused("dim", 33), Catch::Contains("config.json: dim 33 is not divisible"));
  for (const auto& size : {nlohmann::json(256), nlohmann::json{256}, nlohmann::json{256, 0},
                           nlohmann::json{256, -1}, nlohmann::json{2.5, 256}})
    CHECK_THAT(refused("image_size", size), Catch::Contains("image_size: expected width"));
  CHECK_THAT(refused("layers", 0), Catch::Contains("layers: must be 1 to"));
  CHECK_THAT(refused("patch_size", 1.5), Catch::Contains("patch_size: expected a whole number"));
  CHECK_THAT(refused("muon_dtype", "fp8"), Catch::Contains("muon_dtype: expected"));
  CHECK_THAT(refused("block_config", nlohmann::json::array({{{"type", "x.Mamba"}}})),
             Catch::Contains("block_config: type: expected SelfAttention"));
  CHECK_THAT(refused("block_config",
                     nlohmann::json::array({{{"type", "MLP"}, {"params", {{"gated", true}}}}})),
             Catch::Contains("gated: not known"));
}

TEST_CASE(
    "a published checkpoint's .pt file renders the same pixels as its tensors in safetensors") {
  const auto pickled =
      io::Checkpoint::open(test::source_root() / "tests/golden/views/model_tiny_checkpoint.pt");
  test::TemporaryFolder folder;
  io::NamedTensors tensors;
  for (const auto& name : pickled.names()) tensors.emplace_back(name, pickled.tensor(name));
  io::write_safetensors(folder / "bare.safetensors", tensors);
  const auto plain = io::Checkpoint::open(folder / "bare.safetensors");
  CHECK(pickled.hash() == plain.hash());
  const auto rendered = [&](const io::Checkpoint& checkpoint) {
    const auto model = ViewModel::load(checkpoint, at::kCPU);
    auto all = some_views(5, 6);
    all = {all.images.to(at::kFloat), all.intrinsics.to(at::kFloat), all.poses.to(at::kFloat)};
    const auto scene = model.reconstruct(part(all, {0, 1, 2}), model.start());
    return model.render(part(all, {3, 4}), scene, 12, 16);
  };
  CHECK(test::same_bytes(rendered(pickled), rendered(plain)));
}
