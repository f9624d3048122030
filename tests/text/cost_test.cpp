#include "support/test.hpp"

#include <plugins/text/model/cost.hpp>
#include <plugins/text/model/model.hpp>
#include "small_model.hpp"

#include <lact/io/state.hpp>

#include <ATen/ops/zeros.h>

using namespace lact;

TEST_CASE("operations are counted as in spec/llm 13") {
  // spec/llm 13: 1e12 operations for L = 32768.
  const auto total = [](text::Config c) { return text::forward_flops(c, 32768) / 1e12; };
  auto muon = text::Config::preset("760m");
  CHECK(total(muon) == Approx(65.39).margin(0.01));
  muon.use_muon = true;
  CHECK(total(muon) == Approx(72.73).margin(0.01));
  CHECK(total(text::Config::preset("3b")) == Approx(294.55).margin(0.01));
}

TEST_CASE("without fast weights their operations are not counted") {
  auto config = text::Config::preset("760m");
  config.use_fast_weights = false;
  // projections 14.89 less the small ones, attention 9.59, MLP 29.69, head 3.22
  CHECK(text::forward_flops(config, 32768) / 1e12 ==
        Approx(14.84 + 9.59 + 29.69 + 3.22).margin(0.02));
}

TEST_CASE("a state has the bytes that are promised") {
  auto c = test::small_config();
  c.w0_w2_low_rank = GENERATE(-1, 4);
  c.ttt_prenorm = GENERATE(false, true);
  const auto model = text::LanguageModel::fresh(c, 1, at::kCPU);
  auto stream = model.start(1);
  model.feed(stream, at::zeros({1, 15}, at::kLong));  // 7 tokens of the open chunk
  io::State state;
  model.save(stream, state);
  size_t bytes = 0;
  for (const auto& [name, x] : state.tensors) bytes += x.nbytes();
  // A full chunk has one token more: k, v, three rates and the momentum coefficient.
  const auto token = static_cast<size_t>(2 * c.hidden_size + 4 * c.num_lact_heads);
  CHECK(bytes + 4 * token * static_cast<size_t>(c.num_hidden_layers) ==
        static_cast<size_t>(text::state_bytes(c, 4)));
}
