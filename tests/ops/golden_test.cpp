// Every operator file of tests/golden/llm, forward and gradients.
#include "support/golden.hpp"
#include "support/test.hpp"

#include <lact/ops/scan.hpp>

#include <ATen/TensorOperators.h>

using namespace lact;
using test::Golden;

namespace {

ops::Rule rule_of(const Golden& file) {
  auto rule = ops::Rule::from_name(file.options.at("rule"));
  const bool fused = file.options.at("fused");
  rule.prenorm = file.options.at("prenorm");
  rule.stacked = fused;
  rule.epsilon_inside = fused && !rule.prenorm;
  return rule;
}

/// The file's inputs as leaves of the graph.
struct Inputs {
  explicit Inputs(const Golden& file) : file_(file) {}
  at::Tensor operator()(const std::string& name) {
    auto& leaf = leaves_[name];
    if (!leaf.defined()) leaf = file_.at(name).clone().requires_grad_(true);
    return leaf;
  }
  at::Tensor maybe(const std::string& name) {
    return file_.has(name) ? (*this)(name) : at::Tensor();
  }
  ops::FastWeights weights(const std::string& prefix = "w") {
    return {(*this)(prefix + "0"), (*this)(prefix + "2"), (*this)(prefix + "1")};
  }
  ops::Tokens tokens() {
    return {(*this)("k"),
            (*this)("v"),
            {(*this)("lr0"), (*this)("lr2"), (*this)("lr1")},
            maybe("momentum")};
  }
  /// Compares the gradients of all leaves that the file has gradients for.
  void check_gradients(const at::Tensor& loss) {
    loss.backward();
    int compared = 0;
    for (const auto& [name, leaf] : leaves_) {
      if (!file_.has("grad." + name)) continue;
      CAPTURE(name);
      const auto got = leaf.grad().defined() ? leaf.grad() : leaf.detach() * 0;
      CHECK(test::scaled_error(got, file_.at("grad." + name)) <= file_.gradient_tolerance);
      ++compared;
    }
    CHECK(compared > 0);
  }

 private:
  const Golden& file_;
  std::map<std::string, at::Tensor> leaves_;
};

void check_result(const Golden& file, const std::string& name, const at::Tensor& got) {
  CAPTURE(name);
  CHECK(test::scaled_error(got, file.at(name)) <= file.result_tolerance);
}

void check_weights(const Golden& file, const std::string& prefix, const ops::FastWeights& w) {
  check_result(file, prefix + "0", w.gate);
  check_result(file, prefix + "1", w.down);
  check_result(file, prefix + "2", w.up);
}

}  // namespace

TEST_CASE("orthogonalization matches the golden values", "[golden]") {
  for (const auto& file : test::golden("llm", "newton_schulz")) {
    CAPTURE(file.name);
    Inputs in(file);
    const auto out = ops::orthogonalize(in("g"), {});
    check_result(file, "out", out);
    if (file.has("probe")) in.check_gradients((out * file.at("probe")).sum());
  }
}

TEST_CASE("apply matches the golden values", "[golden]") {
  for (const auto& file : test::golden("llm", "apply")) {
    Inputs in(file);
    const auto out = ops::apply(in.weights(), in("x"), {});
    check_result(file, "out", out);
    in.check_gradients((out * file.at("probe")).sum());
  }
}

TEST_CASE("one update of every rule matches the golden values", "[golden]") {
  const auto files = test::golden("llm", "update");
  CHECK(files.size() == 8);
  for (const auto& file : files) {
    CAPTURE(file.name);
    Inputs in(file);
    const auto rule = rule_of(file);
    auto state = ops::initial_state(in.weights(), rule);
    if (rule.momentum) state.momentum = in.weights("m");
    const auto tokens = in.tokens();
    const auto delta = ops::fast_weight_delta(state.w, tokens, rule);
    const auto beta = rule.momentum ? tokens.momentum.mean({1}, true) : at::Tensor();
    const auto next = ops::step(state, delta, beta, rule);
    check_weights(file, "new.g", delta);
    check_weights(file, "new.w", next.w);
    if (rule.prenorm) check_weights(file, "new.main", next.main);
    if (rule.momentum) check_weights(file, "new.m", next.momentum);
    in.check_gradients((next.w.gate * file.at("probe0")).sum() +
                       (next.w.down * file.at("probe1")).sum() +
                       (next.w.up * file.at("probe2")).sum());
  }
}

TEST_CASE("whole sequences of every rule and length match the golden values", "[golden]") {
  const auto files = test::golden("llm", "block_causal");
  CHECK(files.size() == 28);
  for (const auto& file : files) {
    CAPTURE(file.name);
    Inputs in(file);
    const auto rule = rule_of(file);
    const auto q = in("q");
    const auto done =
        ops::scan(ops::initial_state(in.weights(), rule), {}, q, in.tokens(),
                  ops::shifted_block_causal(q.size(1), file.options.at("chunk")), rule);
    check_result(file, "out", done.out);
    check_weights(file, "final.w", done.state.w);
    in.check_gradients((done.out * file.at("probe")).sum());
  }
}

TEST_CASE("every other schedule matches the golden values", "[golden]") {
  const auto files = test::golden("llm", "schedule");
  CHECK(files.size() == 3);
  for (const auto& file : files) {
    CAPTURE(file.name);
    ops::Schedule schedule;
    for (const auto& op : file.options.at("ops"))
      schedule.steps.push_back(
          {op.at(0) == "apply" ? ops::Step::Kind::apply : ops::Step::Kind::update, op.at(1),
           op.at(2)});
    Inputs in(file);
    const auto q = in("q");
    schedule.carry_from = q.size(1);
    // The named makers give the recorded lists.
    const int64_t length = q.size(1), chunk = 20, ragged = 7;
    const std::string plan = file.options.at("plan");
    const auto named = plan == "bidirectional" ? ops::bidirectional(length)
                       : plan == "chunk_causal"
                           ? ops::chunk_causal(length, chunk)
                           : ops::strided(length, ragged, ragged + chunk, chunk);
    CHECK((named.steps == schedule.steps));
    const auto rule = rule_of(file);
    const auto done =
        ops::scan(ops::initial_state(in.weights(), rule), {}, q, in.tokens(), schedule, rule);
    check_result(file, "out", done.out);
    check_weights(file, "final.w", done.state.w);
    in.check_gradients((done.out * file.at("probe")).sum());
  }
}
