// What replaying finds, and what it refuses: files made for it, and sound ones with one thing
// changed.
#include "support/golden.hpp"
#include "support/mutate.hpp"
#include "support/test.hpp"

#include <lact/io/safetensors.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <fstream>

using namespace lact;
using at::Tensor;
using nlohmann::json;
using verify::Verdict;

namespace {

/// A golden file in memory, to be changed and written elsewhere.
struct Draft {
  std::map<std::string, Tensor> tensors;
  json options;
  io::Metadata metadata;

  explicit Draft(const std::string& name) {
    const auto file =
        io::SafeTensors::open(test::source_root() / "tests/golden" / (name + ".safetensors"));
    for (const auto& entry : file.entries()) tensors[entry.name] = file.tensor(entry.name).clone();
    metadata = file.metadata();
    options = json::parse(metadata.at("case"));
  }
  Draft(std::map<std::string, Tensor> all, json how)
      : tensors(std::move(all)), options(std::move(how)) {}

  std::filesystem::path write() {
    metadata["case"] = options.dump();
    const auto file = folder->path() / "f.safetensors";
    io::write_safetensors(file, {tensors.begin(), tensors.end()}, metadata);
    return file;
  }
  verify::FileResult replay(
      c10::ScalarType dtype = at::kFloat,
      const std::vector<verify::GoldenKind>& kinds = verify::operator_kinds()) {
    return verify::replay(write(), kinds, {test::device(), dtype, {}});
  }
  /// What it is refused with, which must be 65 and name the file.
  std::string refusal() {
    try {
      replay();
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      const std::string what = error.what(),
                        file = (folder->path() / "f.safetensors").string() + ": ";
      CHECK(what.rfind(file, 0) == 0);
      CHECK(what.find('\n') == std::string::npos);
      return what.substr(std::min(what.size(), file.size()));
    }
    return "accepted";
  }

  std::shared_ptr<test::TemporaryFolder> folder = std::make_shared<test::TemporaryFolder>();
};

/// A kind whose results are known by hand: y = 3 x.
const std::vector<verify::GoldenKind> kTriple = {{"triple", "", [](verify::Golden& file) {
                                                    verify::Dim n("n");
                                                    const auto x = file.input("in.x", {n});
                                                    verify::Computed out{{"y", x * 3}};
                                                    file.gradients((x * 3).sum(), out);
                                                    return out;
                                                  }}};

const verify::TensorResult& tensor(const verify::FileResult& result, const std::string& name) {
  for (const auto& one : result.tensors)
    if (one.name == name) return one;
  throw std::runtime_error("no result " + name);
}

}  // namespace

TEST_CASE("an error is relative to the largest value, with a millionth added beside a case") {
  Draft draft({{"in.x", at::tensor({1.0f, 2.0f})}, {"y", at::tensor({3.0f, 6.5f})}},
              {{"kind", "triple"}, {"tolerance", {{"y", 0.08}}}});
  const auto inside = tensor(draft.replay(at::kFloat, kTriple), "y");
  CHECK(inside.error == Approx(0.5 / 6.5).epsilon(1e-12));
  CHECK(inside.tolerance == 0.08);
  CHECK(inside.verdict == Verdict::pass);
  draft.options.erase("tolerance");
  draft.metadata["tolerance"] = R"({"float32": [0.07, 1], "bfloat16": [null, 1]})";
  const auto beside = tensor(draft.replay(at::kFloat, kTriple), "y");
  CHECK(beside.error == Approx(0.5 / (6.5 + 1e-6)).epsilon(1e-12));
  CHECK(beside.verdict == Verdict::fail);
  // float64 is held to float32's number; null says nothing.
  CHECK(tensor(draft.replay(at::kDouble, kTriple), "y").tolerance == 0.07);
  CHECK(tensor(draft.replay(at::kBFloat16, kTriple), "y").verdict == Verdict::skipped);
}

TEST_CASE(
    "gradients have a tolerance of their own, and belong to the input with or without prefix") {
  Draft draft({{"in.x", at::tensor({1.0f, 2.0f})},
               {"y", at::tensor({3.0f, 6.0f})},
               {"grad.x", at::tensor({3.0f, 3.3f})}},
              {{"kind", "triple"}});
  draft.metadata["tolerance"] = R"({"float32": [1e-6, 0.2]})";
  const auto result = draft.replay(at::kFloat, kTriple);
  CHECK(tensor(result, "grad.x").verdict == Verdict::pass);
  CHECK(tensor(result, "grad.x").error == Approx(0.3 / 3.3).epsilon(1e-5));
  CHECK(result.tensors.front().name == "grad.x");  // worst first
  draft.metadata["tolerance"] = R"({"float32": [1e-6, 0.05]})";
  CHECK(draft.replay(at::kFloat, kTriple).verdict() == Verdict::fail);
}

TEST_CASE("what is not a number fails, and integers are equal or not") {
  const float odd = GENERATE(NAN, INFINITY);
  Draft draft({{"in.x", at::tensor({1.0f, 2.0f})}, {"y", at::tensor({3.0f, odd})}},
              {{"kind", "triple"}, {"tolerance", {{"y", 0.5}}}});
  CHECK(draft.replay(at::kFloat, kTriple).verdict() == Verdict::fail);
  draft.tensors["y"] = at::tensor({3, 6});
  CHECK(draft.replay(at::kFloat, kTriple).verdict() == Verdict::pass);
  draft.tensors["y"] = at::tensor({3, 7});
  CHECK(draft.replay(at::kFloat, kTriple).verdict() == Verdict::fail);
}

TEST_CASE("a result that nobody computes is said to be skipped, not passed") {
  Draft draft({{"in.x", at::tensor({1.0f})}, {"y", at::tensor({3.0f})}, {"z", at::tensor({9.0f})}},
              {{"kind", "triple"}, {"tolerance", {{"y", 0.5}, {"z", 0.5}}}});
  const auto result = draft.replay(at::kFloat, kTriple);
  CHECK(tensor(result, "z").verdict == Verdict::skipped);
  CHECK(tensor(result, "z").note == "not replayed");
  draft.options["outputs"] = {"y"};  // the file itself says that z is no result
  CHECK(draft.replay(at::kFloat, kTriple).tensors.size() == 1);
}

TEST_CASE("one changed value of a result fails, by the tensor's name") {
  const auto [name, changed] = GENERATE(std::pair{"llm/bc_post_muon_ragged", "final.w1"},
                                        std::pair{"llm/update_pre_momentum", "grad.lr2"},
                                        std::pair{"views/fast_weight_update", "mid.direction_w2"},
                                        std::pair{"video/scan_momentum", "grad.beta"});
  Draft draft(name);
  auto& x = draft.tensors.at(changed);
  x.flatten()[0] += 0.01 * x.abs().max();
  const auto result = draft.replay();
  CHECK(result.count(Verdict::fail) == 1);
  CHECK(result.tensors.front().name == changed);
  CHECK(result.tensors.front().error == Approx(0.01).epsilon(0.05));
}

TEST_CASE("a rule that is not the file's is found out") {
  Draft muon("llm/bc_post_muon_exact");
  muon.options["rule"] = "gd";
  CHECK(muon.replay().verdict() == Verdict::fail);
  Draft norm("llm/bc_fused_post_momentum");
  norm.options["fused"] = false;
  CHECK(norm.replay().verdict() == Verdict::fail);
  Draft plain("video/scan_plain");
  plain.options["weight_norm"] = false;
  CHECK(plain.replay().verdict() == Verdict::fail);
  Draft steps("views/fast_weight_update");
  steps.options["muon_update_steps"] = 4;
  CHECK(steps.replay().verdict() == Verdict::fail);
}

TEST_CASE("files without a case, or of a kind nobody knows, are passed over") {
  Draft draft("llm/apply");
  draft.options["kind"] = "opera";
  CHECK(draft.replay().passed_over == "nobody replays kind opera");
  CHECK(draft.replay().verdict() == Verdict::skipped);
  // The same word, but another system's file.
  draft.options["kind"] = "block_causal";
  CHECK(draft.replay().passed_over == "nobody replays kind block_causal");
  io::write_safetensors(draft.folder->path() / "g.safetensors", {{"x", at::tensor({1.0f})}});
  CHECK(verify::replay(draft.folder->path() / "g.safetensors", verify::operator_kinds(), {})
            .passed_over == "no case in its metadata");
}

TEST_CASE("tensors that contradict each other are refused by name") {
  const auto cut = [](const std::string& name, const std::string& changed, int64_t dim) {
    Draft draft(name);
    auto& x = draft.tensors.at(changed);
    x = x.slice(dim, 0, x.size(dim) - 1).contiguous();
    return draft.refusal();
  };
  CHECK(cut("llm/bc_post_gd_ragged", "k", 1) ==
        "tensor k: expected [N = 2, L = 47, K = 16], found [2, 46, 16]");
  CHECK_THAT(cut("llm/bc_post_gd_ragged", "w1", 2), Catch::Contains("tensor w1: "));
  CHECK_THAT(cut("llm/bc_post_gd_ragged", "probe", 1), Catch::Contains("tensor probe: "));
  CHECK_THAT(cut("llm/bc_post_gd_ragged", "out", 1), Catch::Contains("tensor out: "));
  CHECK_THAT(cut("llm/update_post_muon_momentum", "m1", 1), Catch::Contains("tensor m1: "));
  CHECK_THAT(cut("llm/ns_tall_2x24x16", "probe", 1), Catch::Contains("tensor probe: "));
  CHECK_THAT(cut("views/newton_schulz", "in.dy", 1), Catch::Contains("tensor in.dy: "));
  CHECK_THAT(cut("views/fast_weight_update", "in.lr1", 1), Catch::Contains("tensor in.lr1: "));
  CHECK_THAT(cut("views/fast_weight_update", "mid.grad_w0", 1),
             Catch::Contains("tensor mid.grad_w0: "));
  CHECK_THAT(cut("video/scan_momentum", "in.beta", 1), Catch::Contains("tensor in.beta: "));
  CHECK_THAT(cut("video/scan_momentum", "grad.w2", 1), Catch::Contains("tensor grad.w2: "));

  Draft missing("llm/bc_post_gd_ragged");
  missing.tensors.erase("lr2");
  CHECK(missing.refusal() == "tensor lr2 is missing");
  Draft wide("llm/apply");
  wide.tensors.at("x") = wide.tensors.at("x").to(at::kLong);
  CHECK(wide.refusal() == "tensor x: expected a floating dtype, found I64");
  Draft channels("llm/bc_post_gd_ragged");
  channels.tensors.at("lr0") = at::full({2, 47, 3}, 0.1f);
  CHECK(channels.refusal() == "tensor lr0: expected 1 or K = 16 channels, found 3");
}

TEST_CASE("options that cannot be are refused with what was expected") {
  const auto with = [](const std::string& name, const json& change) {
    Draft draft(name);
    draft.options.update(change);
    return draft.refusal();
  };
  CHECK_THAT(with("llm/bc_post_gd_ragged", {{"rule", "adam"}}), Catch::Contains("muon_momentum"));
  CHECK_THAT(with("llm/bc_post_gd_ragged", {{"rule", 3}}),
             Catch::Contains("rule: expected a string, found 3"));
  CHECK_THAT(with("llm/bc_post_gd_ragged", {{"chunk", 0}}),
             Catch::Contains("chunk: expected a whole number from 1"));
  CHECK_THAT(with("llm/bc_post_gd_ragged", {{"chunk", 2.5}}), Catch::Contains("found 2.5"));
  CHECK_THAT(with("llm/bc_post_gd_ragged", {{"prenorm", "no"}}),
             Catch::Contains("prenorm: expected true or false"));
  CHECK_THAT(with("llm/schedule_strided", {{"ops", {{"apply", 0, 48}}}}),
             Catch::Contains("spans within 47 tokens"));
  CHECK_THAT(with("llm/schedule_strided", {{"ops", {{"apply", 9, 9}}}}),
             Catch::Contains("found 9 to 9"));
  CHECK_THAT(with("llm/schedule_strided", {{"ops", {{"update", 0, 9}}}}),
             Catch::Contains("nothing is applied"));
  CHECK_THAT(with("llm/schedule_strided", {{"ops", {{"apply", 0}}}}), Catch::Contains("case: "));
  CHECK_THAT(with("llm/schedule_strided", {{"ops", 7}}), Catch::Contains("case: "));
  CHECK_THAT(with("video/scan_plain", {{"chunks", 4}}), Catch::Contains("expected 112 tokens"));
  CHECK_THAT(with("video/scan_plain", {{"muon_steps", "five"}}), Catch::Contains("muon_steps"));
  CHECK_THAT(with("views/newton_schulz", {{"tolerance", 3}}),
             Catch::Contains("tolerance: expected an object"));
  Draft none("llm/apply");
  none.metadata.erase("tolerance");
  CHECK(none.refusal() == "no tolerance, neither in the case nor beside it");
  Draft other("llm/apply");
  other.metadata["tolerance"] = R"({"float32": 1})";
  CHECK_THAT(other.refusal(), Catch::Contains("tolerance: expected"));
}

TEST_CASE("a golden file of any bytes is replayed or refused in one line") {
  std::vector<std::string> seeds;
  for (const char* name :
       {"llm/bc_post_momentum_short", "llm/schedule_bidirectional", "video/scan_plain"}) {
    std::ifstream file(test::source_root() / "tests/golden" / (std::string(name) + ".safetensors"),
                       std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  const test::TemporaryFolder folder;
  const auto path = folder / "f.safetensors";
  int replayed = 0, refused = 0;
  for (auto bytes : test::malformed_inputs(seeds, static_cast<size_t>(test::trials(200)))) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      verify::replay(path, verify::operator_kinds(), {});
      ++replayed;
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
      ++refused;
    }
  }
  CHECK(replayed > 10);
  CHECK(refused > 10);
}
