#include "support/golden.hpp"
#include "support/test.hpp"

#include <plugins/text/model/model.hpp>
#include <plugins/text/verify/golden.hpp>
#include "small_model.hpp"

#include <lact/error.hpp>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>

#include <cmath>

using namespace lact;
using at::Tensor;
using test::count_kind;
using test::tensors_with;

namespace {

Tensor random_ids(int64_t batch, int64_t length) {
  return at::randint(0, 61, {batch, length}, at::kLong);
}

}  // namespace

TEST_CASE("layers, models and streams match the golden values, every tensor of them", "[golden]") {
  const auto dtype = GENERATE(at::kFloat, at::kDouble);
  const auto results = test::replay_golden("llm", text::golden_kinds(), dtype);
  CHECK(count_kind(results, "layer") == 8);
  CHECK(count_kind(results, "model") == 3);
  CHECK(count_kind(results, "stream") == 3);
  CHECK(tensors_with(verify::Verdict::fail, results) == "");
  CHECK(tensors_with(verify::Verdict::skipped, results) == "");
  const auto passed = tensors_with(verify::Verdict::pass, results);
  for (const char* name :
       {"tap.fast", "tap.beta", "grad.x", "grad.lm_head.weight", "final.1.main0"}) {
    CAPTURE(name);
    CHECK(passed.find(concat("tensor ", name, ":")) != std::string::npos);
  }
}

TEST_CASE("models in bfloat16 stay within what the golden values allow them", "[golden]") {
  const auto results = test::replay_golden("llm", text::golden_kinds(), at::kBFloat16);
  CHECK(tensors_with(verify::Verdict::fail, results) == "");
}

TEST_CASE("every built-in check of the language model holds", "[golden]") {
  for (const auto& check : text::model_checks()) {
    const auto seen = check.run({test::device(), at::kFloat, {}});
    CAPTURE(check.name, seen.seen, seen.bound);
    CHECK(seen.seen <= seen.bound);
  }
}

TEST_CASE("recomputed blocks give a model the same gradients") {
  at::manual_seed(4);
  const auto ids = random_ids(2, 30);
  const auto gradients = [&](bool recompute) {
    auto model = text::LanguageModel::fresh(test::small_config(), 5, at::kCPU);
    model.set_recompute(recompute);
    for (auto& [name, parameter] : model.parameters()) parameter.requires_grad_(true);
    model.loss(ids, ids).backward();
    std::vector<Tensor> all;
    for (auto& [name, parameter] : model.parameters()) all.push_back(parameter.grad());
    return all;
  };
  const auto plain = gradients(false), again = gradients(true);
  // Without a graph the scan rounds otherwise; 2e-6 was seen.
  for (size_t i = 0; i < plain.size(); ++i) CHECK(test::scaled_error(again[i], plain[i]) < 2e-5);
}

TEST_CASE("decoding token by token equals the full forward pass") {
  at::manual_seed(1);
  auto config = test::small_config();
  config.use_muon = GENERATE(false, true);
  config.ttt_prenorm = GENERATE(false, true);
  config.window_size = GENERATE(std::optional<int64_t>(), std::optional<int64_t>(6));
  const auto model = text::LanguageModel::fresh(config, 5, at::kCPU);
  const auto ids = random_ids(2, 45);
  const at::NoGradGuard no_grad;
  const auto want = model.forward(ids);
  auto stream = model.start(2);
  std::vector<Tensor> logits;
  for (int64_t t = 0; t < 45; ++t) logits.push_back(model.feed(stream, ids.slice(1, t, t + 1)));
  CHECK(test::scaled_error(at::cat(logits, 1), want) < (config.use_muon ? 1e-3 : 2e-5));
}

TEST_CASE("every word of the operator's menu changes the model, whose stream is the whole") {
  at::manual_seed(3);
  struct Change {
    const char* name;
    void (*apply)(text::Config&);
  };
  const auto change = GENERATE(
      Change{"update_rule muon", [](text::Config& c) { c.update_rule = "muon"; }},
      Change{"ns_coefficients", [](text::Config& c) { c.ns_coefficients = "keller_jordan"; }},
      Change{"ns_steps", [](text::Config& c) { c.ns_steps = 3; }},
      Change{"ns_stacked", [](text::Config& c) { c.ns_stacked = true; }},
      Change{"weight_norm off", [](text::Config& c) { c.weight_norm = "off"; }},
      Change{"weight_norm detached", [](text::Config& c) { c.weight_norm = "detached"; }},
      Change{"learn", [](text::Config& c) { c.learn = "last"; }},
      Change{"fast_weight", [](text::Config& c) { c.fast_weight = "linear"; }});
  CAPTURE(change.name);
  auto config = test::small_config();
  config.update_rule = "muon_momentum";
  const auto ids = random_ids(2, 45);
  const auto run = [&](const text::Config& c) {
    const auto model = text::LanguageModel::fresh(c, 5, at::kCPU);
    for (auto& [name, parameter] : model.parameters()) parameter.requires_grad_(true);
    model.loss(ids, ids).backward();
    Tensor size;  // of a gradient that every variant has
    for (auto& [name, parameter] : model.parameters())
      if (name == "model.layers.0.attn.w1") size = parameter.grad().norm();
    const at::NoGradGuard no_grad;
    auto stream = model.start(2);
    const std::vector<int64_t> pieces{1, 9, 20, 15};
    std::vector<Tensor> logits;
    int64_t at = 0;
    for (const int64_t count : pieces) {
      logits.push_back(model.feed(stream, ids.slice(1, at, at + count), /*all=*/true));
      at += count;
    }
    CHECK(test::scaled_error(at::cat(logits, 1), model.forward(ids)) < 1e-3);
    return size.item<double>();
  };
  const double before = run(config);
  change.apply(config);
  CHECK(std::abs(run(config) / before - 1) > 1e-4);
  // What the model was made with is what its file says.
  CHECK(text::Config::from_json(config.to_json(), "x").to_json() == config.to_json());
}

TEST_CASE(
    "a model that learns nothing while it reads writes nothing, and forgets what left the window") {
  const at::NoGradGuard no_grad;
  auto config = text::Config::preset("tiny");
  config.hidden_size = 32;
  config.num_attn_heads = 2;
  config.num_hidden_layers = 1;
  config.intermediate_size = 32;
  config.lact_chunk_size = 8;
  config.window_size = 4;
  config.vocab_size = 50;
  config.base_lr = 0.5;
  auto model = text::LanguageModel::fresh(config, 5, at::kCPU);
  const auto ids = at::randint(50, {1, 40}, at::kLong);
  auto other = ids.clone();
  other.slice(1, 0, 8) = 7;
  const auto late = [&](const at::Tensor& x) { return model.forward(x).slice(1, 30); };
  CHECK((late(ids) - late(other)).abs().max().item<double>() > 1e-5);
  const double written = model.write_strength(ids);
  CHECK(written > 0.01);
  config.base_lr = 0.005;
  CHECK(text::LanguageModel::fresh(config, 5, at::kCPU).write_strength(ids) < 0.1 * written);
  CHECK(model.write_strength(ids.slice(1, 0, 8)) == 0);  // no second chunk

  model.set_learn("none");
  CHECK(test::same_bytes(late(ids), late(other)));
  CHECK(model.write_strength(ids) == 0);
  // As read token by token, and after a state was kept.
  auto stream = model.start(1);
  model.feed(stream, ids.slice(1, 0, 21));
  io::State state;
  model.save(stream, state);
  auto restored = model.restore(state);
  const auto rest = model.feed(restored, ids.slice(1, 21), /*all=*/true);
  const auto whole = model.forward(ids).slice(1, 21);
  CHECK((rest - whole).abs().max().item<double>() < 1e-5);
}

TEST_CASE("a stream that was saved and restored goes on with the same bytes") {
  at::manual_seed(2);
  auto config = test::small_config();
  config.ttt_prenorm = GENERATE(false, true);
  config.use_momentum = GENERATE(false, true);
  const int64_t stop = GENERATE(3, 8, 29);
  const auto model = text::LanguageModel::fresh(config, 5, at::kCPU);
  const auto ids = random_ids(1, 60);
  auto stream = model.start(1);
  model.feed(stream, ids.slice(1, 0, stop));
  const test::TemporaryFolder folder;
  io::State state;
  model.save(stream, state);
  io::save_state(folder / "s.state", state);
  auto restored = model.restore(io::load_state(folder / "s.state"));
  for (int64_t t = stop; t < 60; ++t) {
    CAPTURE(t);
    const auto next = ids.slice(1, t, t + 1);
    REQUIRE(test::same_bytes(model.feed(stream, next), model.feed(restored, next)));
  }
}

TEST_CASE("what a stream holds does not grow with what it has read") {
  const auto model = text::LanguageModel::fresh(test::small_config(), 5, at::kCPU);
  const auto bytes_after = [&](int64_t tokens) {
    auto stream = model.start(1);
    for (int64_t t = 0; t < tokens; t += 50) model.feed(stream, random_ids(1, 50));
    io::State state;
    model.save(stream, state);
    size_t bytes = 0;
    for (const auto& [name, x] : state.tensors) bytes += x.nbytes();
    return bytes;
  };
  CHECK(bytes_after(400) == bytes_after(4000));  // both end with the same open chunk
}

TEST_CASE("a document's loss does not depend on what lies before it in the row") {
  at::manual_seed(3);
  const auto model = text::LanguageModel::fresh(test::small_config(), 5, at::kCPU);
  const at::NoGradGuard no_grad;
  auto ids = random_ids(1, 40);
  auto documents = at::zeros({1, 40}, at::kLong);
  documents.slice(1, 17).fill_(1);
  const auto second = [&](text::Reset reset) {
    return model.forward(ids, documents, reset).slice(1, 17);
  };
  const auto all = second(text::Reset::all), attention = second(text::Reset::attention);
  ids.slice(1, 0, 17).copy_(random_ids(1, 17));
  CHECK(test::same_bytes(second(text::Reset::all), all));
  CHECK_FALSE(test::same_bytes(second(text::Reset::attention), attention));
}

TEST_CASE("the published sizes have the published parameter counts") {
  const auto count = [](const text::Config& c) {
    int64_t sum = 0;
    for (const auto& [name, shape] : text::parameter_shapes(c)) {
      int64_t size = 1;
      for (const int64_t n : shape) size *= n;
      sum += size;
    }
    return sum;
  };
  CHECK(count(text::Config::preset("760m")) == 797625312);
  CHECK(count(text::Config::preset("3b")) == 2982516192);
}

TEST_CASE("configs that cannot work are refused with the reason") {
  const auto refusal = [](const nlohmann::json& change) {
    auto values = test::small_config().to_json();
    values.update(change);
    return text::Config::from_json(values, "config.json");
  };
  CHECK_NOTHROW(refusal(nlohmann::json::object()));
  CHECK_THROWS_WITH(refusal({{"num_attn_heads", 25}}),
                    Catch::Contains("not divisible by num_attn_heads 25"));
  CHECK_THROWS_WITH(refusal({{"num_lact_heads", 5}}),
                    Catch::Contains("not divisible by num_lact_heads 5"));
  CHECK_THROWS_WITH(refusal({{"num_attn_heads", 32}}), Catch::Contains("odd"));
  CHECK_THROWS_WITH(refusal({{"lr_dim", 3}}), Catch::Contains("lr_dim 3"));
  CHECK_THROWS_WITH(refusal({{"hidden_act", "gelu"}}), Catch::Contains("hidden_act"));
  CHECK_THROWS_WITH(refusal({{"lact_chunk_size", 0}}), Catch::Contains("lact_chunk_size"));
  CHECK_THROWS_WITH(refusal({{"hidden_size", "wide"}}), Catch::Contains("hidden_size"));
  CHECK_THROWS_WITH(refusal({{"hidden_size", 16.5}}), Catch::Contains("16.5"));
}

TEST_CASE("a config keeps the keys it does not know") {
  const nlohmann::json values = {{"hidden_size", 64},
                                 {"num_attn_heads", 4},
                                 {"attention_bias", false},
                                 {"window_size", nullptr}};
  const auto again = text::Config::from_json(values, "config.json").to_json();
  CHECK(again.at("attention_bias").get<bool>() == false);
  CHECK(again.at("window_size").is_null());
  CHECK(again.at("hidden_size") == 64);
  CHECK(again.at("lact_chunk_size") == 2048);
}
