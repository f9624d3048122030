// Every operator file of tests/golden, forward and gradients, in each arithmetic.
#include "support/golden.hpp"
#include "support/test.hpp"

#include <lact/io/safetensors.hpp>
#include <lact/ops/schedule.hpp>

using namespace lact;
using test::count_kind;
using test::tensors_with;
using verify::Verdict;

namespace {

/// All operator files of a folder; every result of them was compared, and none is off.
std::vector<verify::FileResult> sound(const std::string& folder, c10::ScalarType dtype) {
  const auto results = test::replay_golden(folder, verify::operator_kinds(), dtype);
  CHECK(tensors_with(Verdict::fail, results) == "");
  CHECK(tensors_with(Verdict::skipped, results) == "");
  return results;
}

bool compared(const std::vector<verify::FileResult>& results, const std::string& tensor) {
  return tensors_with(Verdict::pass, results).find("tensor " + tensor + ":") != std::string::npos;
}

}  // namespace

TEST_CASE("the language model's operator matches the golden values, gradients too", "[golden]") {
  const auto results = sound("llm", GENERATE(at::kFloat, at::kDouble));
  CHECK(count_kind(results, "newton_schulz") == 5);
  CHECK(count_kind(results, "apply") == 1);
  CHECK(count_kind(results, "update") == 8);
  CHECK(count_kind(results, "block_causal") == 28);
  CHECK(count_kind(results, "schedule") == 3);
  for (const char* name : {"grad.w0", "grad.lr1", "grad.momentum", "grad.q", "grad.m2", "new.main1",
                           "new.m0", "new.g2", "final.w1", "out"}) {
    CAPTURE(name);
    CHECK(compared(results, name));
  }
}

TEST_CASE("the operator of views matches the golden values through its rule and schedule",
          "[golden]") {
  const auto results = sound("views", GENERATE(at::kFloat, at::kDouble));
  CHECK(results.size() == 2);
  for (const char* name : {"out.g2.bfloat16_steps5", "out.zero.steps0", "grad.g0", "out.y",
                           "mid.grad_w1", "mid.direction_w0", "out.w2"}) {
    CAPTURE(name);
    CHECK(compared(results, name));
  }
}

TEST_CASE("the operator of video matches the golden values through its rule and schedule",
          "[golden]") {
  const auto results = sound("video", GENERATE(at::kFloat, at::kDouble));
  CHECK(results.size() == 3);
  for (const char* name : {"grad.beta", "grad.lr2", "grad.w1", "out.w0", "out.y"}) {
    CAPTURE(name);
    CHECK(compared(results, name));
  }
}

TEST_CASE("float64 is as exact as the float32 in which results are stored", "[golden]") {
  for (const char* folder : {"llm", "video"})
    for (const auto& file : test::replay_golden(folder, verify::operator_kinds(), at::kDouble))
      for (const auto& one : file.tensors) {
        CAPTURE(file.file.string(), one.name);
        CHECK(one.error < 1e-7);
      }
}

TEST_CASE("products in bfloat16 stay within what the golden values allow them", "[golden]") {
  const auto results = test::replay_golden("llm", verify::operator_kinds(), at::kBFloat16);
  CHECK(tensors_with(Verdict::fail, results) == "");
  double worst = 0;
  for (const auto& file : results)
    for (const auto& one : file.tensors) worst = std::max(worst, one.error);
  CHECK(worst > 1e-3);  // it was bfloat16
}

TEST_CASE("the named schedules are the recorded lists of operations") {
  const int64_t length = 47, chunk = 20, ragged = 7;
  const std::map<std::string, ops::Schedule> named = {
      {"bidirectional", ops::bidirectional(length)},
      {"chunk_causal", ops::chunk_causal(length, chunk)},
      {"strided", ops::strided(length, ragged, ragged + chunk, chunk)}};
  for (const auto& [name, plan] : named) {
    const auto file = io::SafeTensors::open(test::source_root() / "tests/golden/llm" /
                                            ("schedule_" + name + ".safetensors"));
    auto recorded = nlohmann::json::array();
    for (const auto& step : plan.steps)
      recorded.push_back(
          {step.kind == ops::Step::Kind::apply ? "apply" : "update", step.begin, step.end});
    CHECK(nlohmann::json::parse(file.metadata().at("case")).at("ops") == recorded);
  }
}
