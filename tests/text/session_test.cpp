#include "models.hpp"
#include "small_model.hpp"

#include <lact/error.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

using namespace lact;
using text::Session;

namespace {

text::SamplerOptions lively() {
  text::SamplerOptions o;
  o.temp = 1;
  o.repeat_penalty = 1.3;
  return o;
}

std::vector<int32_t> some_ids(const text::LoadedModel& loaded, size_t count) {
  auto ids = loaded.tokenizer.encode(test::invented_text(3, 8 * count));
  ids.resize(count);
  return ids;
}

std::vector<int32_t> write(Session& session, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) {
    ids.push_back(session.choose());
    session.read({ids.back()});
  }
  return ids;
}

/// A state as another program would get it.
io::State through_file(const io::State& state) {
  const test::TemporaryFolder folder;
  io::save_state(folder / "x.state", state);
  return io::load_state(folder / "x.state");
}

void check_same(const io::State& a, const io::State& b) {
  CHECK(a.metadata == b.metadata);
  REQUIRE(a.tensors.size() == b.tensors.size());
  for (const auto& [name, x] : a.tensors) {
    CAPTURE(name);
    CHECK(test::same_bytes(x, b.tensor(name)));
  }
}

}  // namespace

TEST_CASE("a session that stops after any token goes on as if it had not") {
  auto config = test::small_config();
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16);
  config.use_muon = GENERATE(false, true);
  config.ttt_prenorm = GENERATE(false, true);
  if (config.use_muon) config.window_size.reset();
  const test::TemporaryFolder folder;
  test::write_model(folder / "model", config);
  const auto loaded = test::load(folder / "model", dtype);

  Session whole(loaded, lively(), 7);
  whole.read(some_ids(loaded, 21));
  const auto want = write(whole, 60);
  for (const int stop : {0, 3, 16, 37}) {
    CAPTURE(stop, config.use_muon, config.ttt_prenorm, dtype);
    Session first(loaded, lively(), 7);
    first.read(some_ids(loaded, 21));
    auto ids = write(first, stop);
    Session second(loaded, lively(), through_file(first.save()));
    CHECK(second.tokens() == 21 + stop);
    const auto more = write(second, 60 - stop);
    ids.insert(ids.end(), more.begin(), more.end());
    CHECK(ids == want);
    check_same(second.save(), whole.save());
  }
}

TEST_CASE("texts that are read together write and become what each does alone") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto dtype = GENERATE(at::kFloat, at::kBFloat16);
  const auto loaded = test::load(folder / "model", dtype);
  const std::vector<size_t> lengths{21, 1, 8, 15};
  std::vector<std::vector<int32_t>> want, got(lengths.size());
  std::vector<Session> alone, together;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (auto* sessions : {&alone, &together}) {
      sessions->emplace_back(loaded, lively(), 7 + i);
      sessions->back().read(some_ids(loaded, lengths[i]));
    }
    want.push_back(write(alone[i], 40));
  }
  for (int step = 0; step < 40; ++step) {
    std::vector<Session*> going;
    std::vector<int32_t> ids;
    for (size_t i = 0; i < lengths.size(); ++i) {
      // Later ones join later.
      if (step < static_cast<int>(i)) continue;
      ids.push_back(together[i].choose());
      got[i].push_back(ids.back());
      going.push_back(&together[i]);
    }
    Session::read_together(going, ids);
  }
  for (size_t i = 0; i < lengths.size(); ++i) {
    CAPTURE(i, dtype);
    const int missing = 40 - static_cast<int>(got[i].size());
    const auto last = write(together[i], missing);
    got[i].insert(got[i].end(), last.begin(), last.end());
    CHECK(got[i] == want[i]);
    // The state of one among many is the state of one alone, to the rounding of its products.
    const auto a = alone[i].save(), b = through_file(together[i].save());
    CHECK(a.metadata == b.metadata);
    REQUIRE(a.tensors.size() == b.tensors.size());
    for (const auto& [name, x] : a.tensors) {
      CAPTURE(name);
      CHECK(test::scaled_error(b.tensor(name), x) < (dtype == at::kFloat ? 1e-4 : 0.05));
    }
  }
}

TEST_CASE("a state with another seed goes another way, and may be used again") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  Session session(loaded, lively(), 7);
  session.read(some_ids(loaded, 30));
  const auto state = session.save();
  Session a(loaded, lively(), state), b(loaded, lively(), state, 99);
  const auto ids = write(a, 40);
  CHECK(write(b, 40) != ids);
  Session again(loaded, lively(), state);
  CHECK(write(again, 40) == ids);
}

TEST_CASE("an end of text that was drawn and given back is drawn again") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  Session session(loaded, lively(), 7);
  session.read(some_ids(loaded, 5));
  const int32_t id = session.choose();
  session.unchoose();
  CHECK(session.choose() == id);
}

TEST_CASE("half a character waits in the state") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  int32_t c3 = -1, a9 = -1;
  for (int32_t id = 0; id < loaded.tokenizer.vocab_size(); ++id) {
    if (loaded.tokenizer.piece(id) == "<0xC3>") c3 = id;
    if (loaded.tokenizer.piece(id) == "<0xA9>") a9 = id;
  }
  Session session(loaded, lively(), 7);
  session.read(some_ids(loaded, 5));
  CHECK(session.say(c3).empty());
  session.read({c3});
  Session next(loaded, lively(), through_file(session.save()));
  CHECK(next.say(a9) == "é");
}

TEST_CASE("the first word of a text has no space before it, a word that goes on has") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  const auto ids = loaded.tokenizer.encode("the");
  Session fresh(loaded, lively(), 7);
  fresh.read({*loaded.bos()});
  CHECK(fresh.say(ids[0]).front() != ' ');
  Session later(loaded, lively(), 7);
  later.read(ids);
  CHECK(later.say(ids[0]).front() == ' ');
}

TEST_CASE("scores are the logarithms of the full forward pass's probabilities") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  const auto ids = some_ids(loaded, 45);
  Session session(loaded, lively(), 7);
  std::vector<std::optional<text::TokenScore>> scores;
  for (size_t at = 0; at < ids.size();) {  // in uneven groups
    const size_t end = std::min(ids.size(), at + 1 + at % 13);
    for (const auto& one : session.score({ids.begin() + at, ids.begin() + end}))
      scores.push_back(one);
    at = end;
  }
  const at::NoGradGuard no_grad;
  const auto all = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  const auto logits = loaded.model.forward(all.unsqueeze(0))[0].to(at::kDouble);
  const auto want = at::log_softmax(logits, -1);
  CHECK(!scores[0].has_value());
  for (size_t i = 1; i < ids.size(); ++i) {
    const auto row = want[static_cast<int64_t>(i) - 1];
    // float32 sums in another order: the bound of the streaming tests.
    CHECK(scores[i]->logprob == Approx(row[ids[i]].item<double>()).margin(1e-4));
    CHECK(scores[i]->greedy == (row.argmax().item<int64_t>() == ids[i]));
  }
}

TEST_CASE("a state of another model, tokenizer or dtype is refused, with both hashes") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  test::write_model(folder / "other", test::small_config(), 6);
  const auto loaded = test::load(folder / "model"), other = test::load(folder / "other");
  Session session(loaded, lively(), 7);
  session.read(some_ids(loaded, 5));
  auto state = session.save();
  const auto resume = [&](const text::LoadedModel& with) { return Session(with, lively(), state); };
  CHECK_THROWS_WITH(resume(other), Catch::StartsWith("state: a state of another model") &&
                                       Catch::Contains(loaded.hash.substr(0, 12)) &&
                                       Catch::Contains(other.hash.substr(0, 12)));
  const auto half = test::load(folder / "model", at::kBFloat16);
  CHECK_THROWS_WITH(resume(half), Catch::Contains("float32") && Catch::Contains("bfloat16"));
  state.metadata["tokenizer"] = "0123456789abcdef";
  CHECK_THROWS_WITH(resume(loaded),
                    Catch::Contains("another tokenizer") && Catch::Contains("0123456789ab"));
}

TEST_CASE("a damaged state is refused with one line, whatever is wrong") {
  const test::TemporaryFolder folder;
  test::write_model(folder / "model");
  const auto loaded = test::load(folder / "model");
  Session session(loaded, lively(), 7);
  session.read(some_ids(loaded, 13));  // window and open chunk hold something
  const auto good = session.save();
  const auto refused = [&](const io::State& state) {
    try {
      Session resumed(loaded, lively(), state);
      return false;
    } catch (const Error& error) {
      return error.code() == Exit::data && std::string(error.what()).rfind("state: ", 0) == 0;
    }
  };
  CHECK(!refused(good));
  for (const auto& [name, tensor] : good.tensors) {
    CAPTURE(name);
    auto state = good;
    state.tensors.erase(name);
    CHECK(refused(state));
    state.tensors[name] = at::zeros({3, 3, 3}, tensor.options());
    CHECK(refused(state));
    state.tensors[name] = at::zeros(tensor.sizes(), at::kLong);
    CHECK(refused(state));
  }
  for (const auto& [key, value] : good.metadata) {
    if (key == "counts") continue;  // for --inspect-state
    CAPTURE(key);
    auto state = good;
    state.metadata.erase(key);
    CHECK(refused(state));
    for (const char* bad : {"", "-1", "x", "99999999999999999999999999"}) {
      CAPTURE(bad);
      state.metadata[key] = bad;
      CHECK(refused(state));
    }
  }
}
