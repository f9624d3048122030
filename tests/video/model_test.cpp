#include "support/golden.hpp"
#include "support/ranks.hpp"
#include "support/test.hpp"

#include <plugins/video/model/model.hpp>
#include <plugins/video/verify/golden.hpp>

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

using namespace lact;
using namespace lact::video;
using at::Tensor;
using test::count_kind;
using test::same_bytes;
using test::tensors_with;
using verify::Verdict;

namespace {

/// Distinct numbers in [-1, 1].
Tensor waves(at::IntArrayRef shape, double frequency) {
  int64_t count = 1;
  for (const int64_t n : shape) count *= n;
  return (at::arange(count, at::kDouble) * frequency + 0.2).sin().view(shape);
}

Config small_config() {
  auto c = Config::preset("tiny");
  c.dim = 24;
  c.ffn_dim = 40;
  c.num_heads = 2;
  c.freq_dim = 16;
  c.text_dim = 6;
  c.text_len = 3;
  c.patch_size = {1, 2, 2};
  c.condition = "umt5";
  c.fast->head_dim = 12;
  c.fast->base_lr = 0.1;
  return c;
}

/// In float64, with a head that is not silent.
VideoModel model_of(const Config& config) {
  auto model = VideoModel::fresh(config, 5, at::kCPU);
  for (auto& [name, parameter] : model.parameters())
    parameter.set_data(name == "head.head.weight" ? waves(parameter.sizes(), 2.1)
                                                  : parameter.to(at::kDouble));
  model.set_compute_dtype(at::kDouble);
  return model;
}

constexpr int64_t kChunks = 4, kBatch = 2;

/// Two videos of four chunks of 2 frames, 4 x 4, and two noisy versions of each.
struct Film {
  Tensor clean = waves({kBatch, kChunks, 3, 2, 4, 4}, 1.3);
  Tensor noisy = waves({kBatch, 2, kChunks, 3, 2, 4, 4}, 0.7);
  Tensor t = waves({kBatch, 2, kChunks}, 3.1).abs() * 1000;
  Tensor text = waves({kBatch, 2, 6}, 1.9);
};

/// Velocities of noisy entries [B, repeats, chunks, c, f, h, w].
Tensor forward(const VideoModel& model, const Film& film, int64_t repeats = 1,
               const dist::Group* sharing = nullptr) {
  const auto plan = make_plan(kChunks, repeats);
  std::vector<Tensor> entries, times, noisy;
  int64_t repeat = 0;
  for (const auto& [chunk, clean] : plan) {
    repeat = clean ? 0 : repeat;
    entries.push_back(clean ? film.clean.select(1, chunk)
                            : film.noisy.select(1, repeat).select(1, chunk));
    times.push_back(clean ? at::zeros({kBatch}, at::kDouble)
                          : film.t.select(1, repeat).select(1, chunk));
    if (!clean) repeat = (repeat + 1) % repeats;
  }
  const auto velocity =
      model
          .forward(at::stack(entries, 1).flatten(0, 1), at::stack(times, 1).flatten(), film.text,
                   plan, kBatch, nullptr, sharing)
          .unflatten(0, {kBatch, -1});
  for (size_t i = 0; i < plan.size(); ++i)
    if (!plan[i].clean) noisy.push_back(velocity.select(1, static_cast<int64_t>(i)));
  return at::stack(noisy, 1).unflatten(1, {kChunks, repeats}).transpose(1, 2);
}

/// The same, each chunk from what was learned of those before.
Tensor chunkwise(const VideoModel& model, const Film& film, int64_t video, int64_t repeat) {
  const auto of = [&](const Tensor& x) { return x.slice(0, video, video + 1); };
  const auto context = model.context(of(film.text));
  auto memory = model.start(1);
  std::vector<Tensor> all;
  for (int64_t c = 0; c < kChunks; ++c) {
    if (c > 0) memory = model.append(memory, of(film.clean).select(1, c - 1), context);
    all.push_back(model.velocity(memory, of(film.noisy).select(1, repeat).select(1, c),
                                 film.t[video][repeat][c].item<double>(), context));
  }
  return at::stack(all, 1)[0];
}

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// Parameters that want gradients.
std::vector<Tensor> learning(VideoModel& model, const std::string& part = "") {
  std::vector<Tensor> all;
  for (auto& [name, parameter] : model.parameters())
    if (name.find(part) != std::string::npos) all.push_back(parameter.requires_grad_(true));
  return all;
}

std::vector<Tensor> gradients(const VideoModel& model, const std::vector<Tensor>& parameters) {
  forward(model, Film()).square().sum().backward();
  std::vector<Tensor> all;
  for (const auto& parameter : parameters) {
    all.push_back(parameter.grad());
    parameter.mutable_grad().reset();
  }
  return all;
}

}  // namespace

TEST_CASE("positions, masks, layers, the model and its films match the golden values, every tensor",
          "[golden]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto results = test::replay_golden("video", model_kinds(), dtype);
  CHECK(tensors_with(Verdict::fail, results) == "");
  CHECK(tensors_with(Verdict::skipped, results) == "");
  CHECK(count_kind(results, "rope3d") == 1);
  CHECK(count_kind(results, "window_masks") == 1);
  CHECK(count_kind(results, "ar_layer") == 2);
  CHECK(count_kind(results, "dit_train") == 1);
  CHECK(count_kind(results, "inference") == 1);
  CHECK(count_kind(results, "wan_transformer") == 1);
}

TEST_CASE("every check of the model holds", "[model]") {
  for (const auto& check : model_checks()) {
    CAPTURE(check.name);
    const auto seen = check.run({});
    CHECK(seen.seen <= seen.bound);
  }
}

TEST_CASE("a film made chunk by chunk equals the teacher-forced forward pass", "[model]") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  config.fast->kv_cache_size = GENERATE(-1, 0, 3);
  config.fast->momentum = config.fast->muon = GENERATE(false, true);
  config.attn_every_n_layers = GENERATE(100, 2, 3);
  CAPTURE(config.fast->kv_cache_size, config.fast->muon, config.attn_every_n_layers);
  const auto model = model_of(config);
  const Film film;
  for (const int64_t repeats : {1, 2}) {
    CAPTURE(repeats);
    const auto together = forward(model, film, repeats);
    for (const int64_t video : {0, 1})
      // Newton-Schulz multiplies rounding by up to 3.4445^5 in each update.
      CHECK(distance(chunkwise(model, film, video, repeats - 1), together[video][repeats - 1]) <
            1e-8);
  }
}

TEST_CASE("processes that share a sequence have its velocities and its gradients among them",
          "[model]") {
  const bool recompute = GENERATE(false, true);
  const int ranks = GENERATE(2, 4);
  auto config = small_config();
  config.dim = 48;
  config.num_heads = 8;
  config.fast->kv_cache_size = 3;  // of 8 tokens: the window begins within a process's share
  SECTION("as published") {}
  SECTION("with what a layer can have more") {
    config.fast->momentum = config.fast->muon = true;
    config.fast->learnable_scale = false;
    config.fast->qkv_silu = true;
    config.attn_every_n_layers = 2;
  }
  SECTION("with fast weights that learn nothing") {
    config.fast->learn = "none";
  }
  SECTION("without fast weights, and without a prompt") {
    config.fast.reset();
    config.condition = "none";
  }
  CAPTURE(recompute, ranks);
  const Film film;
  /// Velocities, then the gradients of all parameters.
  const auto work = [&](const dist::Group* group) {
    auto model = model_of(config);
    model.set_recompute(recompute);
    const auto parameters = learning(model);
    const auto velocity = forward(model, film, 2, group);
    velocity.square().sum().backward();
    std::vector<Tensor> results{velocity.detach()};
    for (const auto& parameter : parameters)
      results.push_back(parameter.grad().defined() ? parameter.grad()
                                                   : at::zeros_like(parameter).detach());
    return results;
  };
  const auto want = work(nullptr);
  const auto got = test::on_ranks(ranks, [&](const dist::Group& group) { return work(&group); });
  for (size_t i = 0; i < want.size(); ++i) {
    Tensor sum = got[0][i].clone();
    for (size_t rank = 1; rank < got.size(); ++rank) sum += got[rank][i];
    // Newton-Schulz multiplies rounding by up to 3.4445^5 in each update.
    CHECK(test::scaled_error(sum, want[i]) < 1e-9);
  }
  const auto own = own_latents(config.patch_size, 2, 4, 4, 1, ranks);
  CHECK((got[1][0] * own.logical_not()).abs().max().item<double>() == 0);
  CHECK((got[1][0] * own - want[0] * own).abs().max().item<double>() < 1e-9);
}

TEST_CASE("noisy repeats of a chunk do not see each other, and their order means nothing",
          "[model]") {
  const at::NoGradGuard no_grad;
  const auto model = model_of(small_config());
  Film film;
  const auto velocity = forward(model, film, 2);
  auto other = film;
  other.noisy = film.noisy.flip(1);
  other.t = film.t.flip(1);
  CHECK(distance(forward(model, other, 2).flip(1), velocity) < 1e-12);
  other = film;
  other.noisy = at::cat({film.noisy.slice(1, 0, 1), film.noisy.slice(1, 1) + 1}, 1);
  const auto changed = forward(model, other, 2);
  CHECK(distance(changed.select(1, 0), velocity.select(1, 0)) < 1e-12);
  CHECK(distance(changed.select(1, 1), velocity.select(1, 1)) > 1e-3);
}

TEST_CASE("a chunk knows all finished chunks and nothing of itself or of those that come",
          "[model]") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  config.fast->learn = GENERATE("all", "last", "none");
  const auto model = model_of(config);
  const Film film;
  const auto velocity = forward(model, film);
  for (int64_t c = 0; c < kChunks; ++c) {
    auto other = film;
    other.clean = film.clean.clone();
    other.clean.select(1, c).add_(0.5);
    const auto changed = forward(model, other);
    for (int64_t seer = 0; seer < kChunks; ++seer) {
      CAPTURE(c, seer, config.fast->learn);
      const double difference = distance(changed.select(2, seer), velocity.select(2, seer));
      // The window alone reaches the chunk before.
      const bool knows = config.fast->learn != "none" ? c < seer : c == seer - 1;
      if (knows)
        CHECK(difference > 1e-6);
      else
        CHECK(difference == 0);
    }
  }
}

TEST_CASE("without updates a model has the same parameters, and fast weights that stay as they are",
          "[model]") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  const auto with = parameter_shapes(config);
  config.fast->learn = "none";
  CHECK(parameter_shapes(config) == with);
  const auto model = model_of(config);
  const Film film;
  auto memory = model.start(kBatch);
  const auto before = to_tensors(memory, "");
  memory = model.append(memory, film.clean.select(1, 0), model.context(film.text));
  const auto after = to_tensors(memory, "");
  CHECK(memory.chunks == 1);
  for (const auto& [name, x] : before) CHECK(same_bytes(x, after.at(name)));
  CHECK(after.count("layer.0.keys") == 1);
}

TEST_CASE("reading leaves the memory as it is, and two branches of it do not touch each other",
          "[model]") {
  const at::NoGradGuard no_grad;
  const auto model = model_of(small_config());
  const Film film;
  const auto context = model.context(film.text);
  auto memory = model.start(kBatch);
  memory = model.append(memory, film.clean.select(1, 0), context);
  const auto before = to_tensors(memory, "a.");
  std::map<std::string, Tensor> copies;
  for (const auto& [name, x] : before) copies[name] = x.clone();
  model.velocity(memory, film.noisy.select(1, 0).select(1, 1), 500, context);
  auto branch = memory;
  branch = model.append(branch, film.clean.select(1, 1), context);
  const auto after = to_tensors(memory, "a."), other = to_tensors(branch, "a.");
  for (const auto& [name, x] : copies) CHECK(same_bytes(x, after.at(name)));
  CHECK(distance(other.at("a.layer.1.w1"), copies.at("a.layer.1.w1")) > 1e-6);
}

TEST_CASE("a memory comes back from its tensors with the same bytes, and goes on the same way",
          "[model]") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  config.fast->momentum = GENERATE(false, true);
  config.fast->weight_norm = GENERATE(false, true);
  config.attn_every_n_layers = 2;
  auto model = VideoModel::fresh(config, 3, at::kCPU);
  const Film film;
  const auto clean = film.clean.to(at::kFloat), noisy = film.noisy.to(at::kFloat);
  const auto context = model.context(film.text.to(at::kFloat));
  auto memory = model.start(kBatch);
  memory = model.append(memory, clean.select(1, 0), context);
  const io::State state{to_tensors(memory, "prompt."), {}};
  auto again = memory_from(state, "prompt.", model, 1, kBatch);
  const auto copied = to_tensors(again, "prompt.");
  REQUIRE(copied.size() == state.tensors.size());
  for (const auto& [name, x] : state.tensors) CHECK(same_bytes(x, copied.at(name)));
  for (auto* one : {&memory, &again}) *one = model.append(*one, clean.select(1, 1), context);
  const auto x = noisy.select(1, 0).select(1, 2);
  CHECK(
      same_bytes(model.velocity(memory, x, 300, context), model.velocity(again, x, 300, context)));

  auto bad = state;
  bad.tensors.erase("prompt.layer.2.norm0");
  bad.tensors["prompt.layer.0.w2"] = at::zeros({1, 2, 3});
  CHECK_THROWS_WITH(memory_from(bad, "prompt.", model, 1, kBatch),
                    "state: tensor prompt.layer.0.w2: expected [4, 24, 12] of Float, found [1, 2, "
                    "3] of Float");
  bad = state;
  bad.tensors.erase("prompt.layer.2.w1");
  CHECK_THROWS_WITH(memory_from(bad, "prompt.", model, 1, kBatch),
                    "state: tensor prompt.layer.2.w1 is missing");
  bad = state;
  bad.tensors["prompt.layer.0.keys"] = at::full(bad.tensors["prompt.layer.0.keys"].sizes(), NAN);
  CHECK_THROWS_WITH(memory_from(bad, "prompt.", model, 1, kBatch),
                    Catch::Contains("prompt.layer.0.keys: holds numbers that are not finite"));
}

TEST_CASE("blocks that are recomputed give the same gradients, whichever part learns", "[model]") {
  const auto* part = GENERATE("", "self_attn.");
  auto model = model_of(small_config());
  const auto parameters = learning(model, part);
  const auto kept = gradients(model, parameters);
  model.set_recompute(true);
  const auto recomputed = gradients(model, parameters);
  for (size_t i = 0; i < kept.size(); ++i) {
    REQUIRE(kept[i].defined());
    REQUIRE(recomputed[i].defined());
    CHECK(distance(kept[i], recomputed[i]) <= 1e-9 * (1 + kept[i].abs().max().item<double>()));
  }
}

TEST_CASE("in bfloat16 velocities are near those of float32, and fast weights stay float32",
          "[model]") {
  const at::NoGradGuard no_grad;
  auto model = model_of(small_config());
  const Film film;
  const auto exact = forward(model, film);
  for (auto& [name, parameter] : model.parameters()) parameter.set_data(parameter.to(at::kFloat));
  model.set_compute_dtype(at::kBFloat16);
  auto single = film;
  for (auto* x : {&single.clean, &single.noisy, &single.text}) *x = x->to(at::kFloat);
  const auto near = forward(model, single);
  CHECK(near.scalar_type() == at::kFloat);
  const double error = test::scaled_error(near, exact);
  CHECK(error > 1e-4);
  CHECK(error < 0.05);
  auto memory = model.start(kBatch);
  memory = model.append(memory, single.clean.select(1, 0), model.context(single.text));
  CHECK(memory.layers[0].fast.w.gate.scalar_type() == at::kFloat);
  CHECK(memory.layers[0].keys.scalar_type() == at::kBFloat16);
}

TEST_CASE("rows that fill a prompt up are rows of zeros, however many they are", "[model]") {
  const at::NoGradGuard no_grad;
  auto config = small_config();
  config.text_len = 9;
  auto model = model_of(config);
  Film film;
  for (const int64_t said : {0, 1, 2}) {
    CAPTURE(said);
    auto full = film;
    film.text = waves({kBatch, said, 6}, 1.9);
    full.text = at::cat({film.text, at::zeros({kBatch, 9 - said, 6}, at::kDouble)}, 1);
    CHECK(distance(forward(model, film), forward(model, full)) < 1e-12);
  }
  // And a model that is told nothing sees only those.
  config.condition = "none";
  const auto silent = model_of(config);
  film.text = at::zeros({kBatch, 9, 6}, at::kDouble);
  CHECK(distance(forward(silent, Film()), forward(model, film)) < 1e-12);
}

TEST_CASE("biases of gate and momentum begin where the configuration says", "[model]") {
  auto config = small_config();
  config.fast->momentum = true;
  const auto bias = [&](const std::string& name) {
    for (const auto& [key, x] : VideoModel::fresh(config, 1, at::kCPU).parameters())
      if (key == "blocks.0.self_attn." + name) return x.min().item<float>();
    return -1.0F;
  };
  CHECK(bias("momentum_proj.0.bias") == 0);
  config.fast->scale_bias = 0.5;
  config.fast->momentum_bias = 2;
  CHECK(bias("ttt_scale_proj.bias") == 0.5F);
  CHECK(bias("momentum_proj.0.bias") == 2);
  CHECK(Config::from_json(config.to_json(), "test").fast == config.fast);
}

TEST_CASE("a seed makes the model, and the initial fast weights are what w_init says", "[model]") {
  auto config = small_config();
  const auto values = [&](uint64_t seed) {
    std::map<std::string, Tensor> all;
    for (const auto& [name, x] : VideoModel::fresh(config, seed, at::kCPU).parameters())
      all[name] = x;
    return all;
  };
  const auto one = values(1), same = values(1), other = values(2);
  for (const auto& [name, x] : one) CHECK(same_bytes(x, same.at(name)));
  const std::string attention = "blocks.0.self_attn.";
  CHECK(distance(one.at(attention + "w0"), other.at(attention + "w0")) > 0.1);
  CHECK(one.at("head.head.weight").abs().max().item<float>() == 0);
  CHECK(one.at(attention + "ttt_scale_proj.bias").item<float>() == 1);
  CHECK(one.at(attention + "qk_scale").min().item<float>() == 1);
  CHECK(one.at(attention + "w0").std().item<double>() ==
        Approx(1 / std::sqrt(12.0)).epsilon(0.15));  // K = 12
  CHECK(one.at(attention + "w1").std().item<double>() ==
        Approx(1 / std::sqrt(24.0)).epsilon(0.15));  // F = 24
  config.fast->init = "mup";                         // by sqrt(F / K) = sqrt(2)
  const auto mup = values(1);
  CHECK(distance(mup.at(attention + "w2"), one.at(attention + "w2") * std::sqrt(2.0)) < 1e-6);
  CHECK(distance(mup.at(attention + "w1"), one.at(attention + "w1") / std::sqrt(2.0)) < 1e-6);
  config.fast->init = "identity";
  const auto w0 = values(1).at(attention + "w0"), w1 = values(1).at(attention + "w1");
  CHECK(w0.sum().item<float>() == 2 * 24);  // 2 heads, the unit matrix twice
  CHECK(w0[1][12][0].item<float>() == 1);
  CHECK(w0[1][13][1].item<float>() == 1);
  CHECK(w1[0][5][17].item<float>() == 1);
}
