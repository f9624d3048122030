// The operator's golden files. Each reader turns what its system stores into the operator's one
// layout, and its arithmetic into a rule; what is computed is turned back.

#include <lact/ops/scan.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace lact::verify {
namespace {

using at::Tensor;
using ops::FastWeights;
using ops::Rule;

constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr int64_t kMostSteps = 1000;

/// Batch * heads, tokens, key, value and hidden width.
struct Dims {
  Dim N{"N"}, L{"L"}, K{"K"}, V{"V"}, F{"F"}, one{"", 1};
};

/// How a system stores its three matrices: w0 is gate, w1 down, w2 up.
struct Layout {
  std::string prefix;       ///< of inputs: "" or "in."
  bool transposed = false;  ///< columns are outputs (views)
};
const Layout kText{"", false}, kViews{"in.", true}, kVideo{"in.", false};

Tensor turn(const Tensor& x, const Layout& layout) {
  return layout.transposed ? x.mT() : x;
}

/// NAME0, NAME1, NAME2, in the operator's layout.
FastWeights weights(Golden& file, Dims& d, const Layout& layout, const std::string& name = "w") {
  const Shape in = layout.transposed ? Shape{d.N, d.K, d.F} : Shape{d.N, d.F, d.K};
  const Shape out = layout.transposed ? Shape{d.N, d.F, d.V} : Shape{d.N, d.V, d.F};
  const auto take = [&](const char* number, const Shape& shape) {
    return turn(file.input(layout.prefix + name + number, shape), layout);
  };
  return {take("0", in), take("2", in), take("1", out)};
}

void put(Computed& out, const std::string& name, const FastWeights& w, const Layout& layout) {
  out[name + "0"] = turn(w.gate, layout);
  out[name + "1"] = turn(w.down, layout);
  out[name + "2"] = turn(w.up, layout);
}

/// Published rates are a scalar per token; one per channel is what the operator takes, too.
ops::Tokens tokens(Golden& file, Dims& d, const Layout& layout, const char* momentum) {
  const auto& p = layout.prefix;
  Dim channels0("channels"), channels1("channels"), channels2("channels");
  ops::Tokens t{
      file.input(p + "k", {d.N, d.L, d.K}),
      file.input(p + "v", {d.N, d.L, d.V}),
      {file.input(p + "lr0", {d.N, d.L, channels0}), file.input(p + "lr2", {d.N, d.L, channels2}),
       file.input(p + "lr1", {d.N, d.L, channels1})},
      {}};
  const auto fits = [&](const char* name, const Dim& found, const Dim& width) {
    if (found.size != 1 && found.size != width.size)
      file.refuse("tensor ", p, name, ": expected 1 or ", width.letter, " = ", width.size,
                  " channels, found ", found.size);
  };
  fits("lr0", channels0, d.K);
  fits("lr1", channels1, d.F);
  fits("lr2", channels2, d.K);
  if (momentum != nullptr) t.momentum = file.input(p + momentum, {d.N, d.L, d.one});
  return t;
}

void in_bfloat16(Rule& rule, const Golden& file) {
  if (file.settings().dtype != at::kBFloat16) return;
  rule.product = at::kBFloat16;
  rule.orthogonalize.dtype = at::kBFloat16;
}

// --- language model ------------------------------------------------------------------------------

Rule text_rule(const Golden& file) {
  auto rule = Rule::from_name(file.word("rule"));
  const bool fused = file.flag("fused");
  rule.prenorm = file.flag("prenorm");
  rule.stacked = fused;
  rule.epsilon_inside = fused && !rule.prenorm;
  in_bfloat16(rule, file);
  return rule;
}

Computed text_newton_schulz(Golden& file) {
  Dim n("N"), rows("rows"), columns("columns");
  const Shape shape{n, rows, columns};
  Rule rule;
  in_bfloat16(rule, file);
  const auto x = ops::orthogonalize(file.input("g", shape), rule.orthogonalize);
  Computed out{{"out", x}};
  if (file.has("probe")) file.gradients((x * file.probe("probe", shape)).sum(), out);
  return out;
}

Computed text_apply(Golden& file) {
  Dims d;
  Rule rule;
  in_bfloat16(rule, file);
  const auto w = weights(file, d, kText);
  const auto x = file.input("x", {d.N, d.L, d.K});
  const ops::Schedule plan{{{ops::Step::Kind::apply, 0, d.L.size}}, d.L.size, 0};
  const auto nothing = at::zeros({d.N.size, d.L.size, 1}, x.options());
  const ops::Tokens dummy{
      x.detach(), nothing.expand({-1, -1, d.V.size}), {nothing, nothing, nothing}, {}};
  const auto y = ops::scan(ops::initial_state(w, rule), {}, x, dummy, plan, rule).out;
  Computed out{{"out", y}};
  if (file.has("probe")) file.gradients((y * file.probe("probe", {d.N, d.L, d.V})).sum(), out);
  return out;
}

Computed text_update(Golden& file) {
  Dims d;
  const auto rule = text_rule(file);
  const auto w = weights(file, d, kText);
  const auto t = tokens(file, d, kText, rule.momentum ? "momentum" : nullptr);
  auto state = ops::initial_state(w, rule);
  if (rule.momentum) state.momentum = weights(file, d, kText, "m");
  const ops::Schedule plan{{{ops::Step::Kind::update, 0, d.L.size}}, d.L.size, 0};
  const auto next = ops::scan(state, {}, t.k, t, plan, rule).state;
  Computed out;
  put(out, "new.g", ops::delta(state.w, t, rule), kText);
  put(out, "new.w", next.w, kText);
  if (rule.prenorm) put(out, "new.main", next.main, kText);
  if (rule.momentum) put(out, "new.m", next.momentum, kText);
  if (file.has("probe0"))
    file.gradients((next.w.gate * file.probe("probe0", {d.N, d.F, d.K})).sum() +
                       (next.w.down * file.probe("probe1", {d.N, d.V, d.F})).sum() +
                       (next.w.up * file.probe("probe2", {d.N, d.F, d.K})).sum(),
                   out);
  return out;
}

/// Any schedule over the file's tokens.
template <class Plan>
Computed text_scan(Golden& file, const Plan& plan) {
  Dims d;
  const auto rule = text_rule(file);
  const auto w = weights(file, d, kText);
  const auto q = file.input("q", {d.N, d.L, d.K});
  const auto t = tokens(file, d, kText, rule.momentum ? "momentum" : nullptr);
  const auto done = ops::scan(ops::initial_state(w, rule), {}, q, t, plan(d.L.size), rule);
  Computed out{{"out", done.out}};
  put(out, "final.w", done.state.w, kText);
  Dim applied("tokens applied", done.out.size(1));
  if (file.has("probe"))
    file.gradients((done.out * file.probe("probe", {d.N, applied, d.V})).sum(), out);
  return out;
}

Computed text_block_causal(Golden& file) {
  return text_scan(file, [&](int64_t length) {
    return ops::shifted_block_causal(length, file.integer("chunk", 1, kMostTokens));
  });
}

/// A span [begin, end) of a case's `ops`, inside the sequence.
void add_step(const Golden& file, ops::Schedule& plan, ops::Step::Kind kind,
              const nlohmann::json& begin, const nlohmann::json& end) {
  const bool whole = begin.is_number_integer() && end.is_number_integer();
  if (!whole || begin.get<int64_t>() < 0 || end.get<int64_t>() <= begin.get<int64_t>() ||
      end.get<int64_t>() > plan.carry_from)
    file.refuse("case: ops: expected spans within ", plan.carry_from, " tokens, found ",
                begin.dump(), " to ", end.dump());
  plan.steps.push_back({kind, begin.get<int64_t>(), end.get<int64_t>()});
}

void need_an_apply(const Golden& file, const ops::Schedule& plan) {
  for (const auto& step : plan.steps)
    if (step.kind == ops::Step::Kind::apply) return;
  file.refuse("case: ops: nothing is applied");
}

Computed text_schedule(Golden& file) {
  return text_scan(file, [&](int64_t length) {
    ops::Schedule plan{{}, length, 0};
    for (const auto& op : file.option("ops")) {
      const bool apply = op.at(0) == "apply";
      if (!apply && op.at(0) != "update")
        file.refuse("case: ops: expected apply or update, found ", op.at(0).dump());
      add_step(file, plan, apply ? ops::Step::Kind::apply : ops::Step::Kind::update, op.at(1),
               op.at(2));
    }
    need_an_apply(file, plan);
    return plan;
  });
}

// --- views ---------------------------------------------------------------------------------------

/// `count` steps with the case's coefficients; without any, the triple of views and video.
ops::NewtonSchulz repeated(const Golden& file, int64_t count) {
  ops::NewtonSchulz how;
  std::array<double, 3> triple = ops::NewtonSchulz::keller_jordan()[0];
  if (file.has_option("coefficients"))
    triple = file.option("coefficients").get<std::array<double, 3>>();
  how.steps.assign(static_cast<size_t>(count), triple);
  how.square_first = true;
  if (file.settings().dtype == at::kBFloat16) how.dtype = at::kBFloat16;
  return how;
}

int64_t whole_number(const Golden& file, const std::string& digits, const std::string& tensor) {
  if (digits.empty() || digits.size() > 3 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    file.refuse("tensor ", tensor, ": expected a name that ends in a number of steps");
  return std::stoll(digits);
}

/// out.NAME.stepsN and out.NAME.bfloat16_stepsN of in.NAME; grad.g0 with the most steps of `steps`.
Computed views_newton_schulz(Golden& file) {
  Computed out;
  const auto matrix = [&](const std::string& name) {
    Dim n("N"), rows("rows"), columns("columns");
    return file.input("in." + name, {n, rows, columns});
  };
  for (const auto& entry : file.file().entries()) {
    const auto dot = entry.name.rfind('.'), steps = entry.name.rfind("steps");
    if (entry.name.rfind("out.", 0) != 0 || dot < 4 || steps == std::string::npos || steps < dot)
      continue;
    auto how = repeated(file, whole_number(file, entry.name.substr(steps + 5), entry.name));
    if (entry.name.compare(dot + 1, 8, "bfloat16") == 0) how.dtype = at::kBFloat16;
    out[entry.name] = ops::orthogonalize(matrix(entry.name.substr(4, dot - 4)), how);
  }
  if (!file.has("in.dy")) return out;
  int64_t most = 0;
  for (const auto& one : file.option("steps"))
    most = std::max(most, std::min(one.get<int64_t>(), kMostSteps));
  const auto x = ops::orthogonalize(matrix("g0"), repeated(file, most));
  Dim n("N", x.size(0)), rows("rows", x.size(1)), columns("columns", x.size(2));
  file.gradients((x * file.probe("in.dy", {n, rows, columns})).sum(), out);
  return out;
}

Rule views_rule(const Golden& file) {
  auto rule = Rule::from_name("muon");
  rule.detach_norms = true;
  rule.orthogonalize = repeated(file, file.integer("muon_update_steps", 0, kMostSteps));
  if (file.settings().dtype == at::kBFloat16) rule.product = at::kBFloat16;
  return rule;
}

/// `ops` is a list of [begin, end, update, apply]: update first.
ops::Schedule views_schedule(const Golden& file, int64_t length) {
  ops::Schedule plan{{}, length, 0};
  for (const auto& op : file.option("ops")) {
    if (op.at(2).get<bool>()) add_step(file, plan, ops::Step::Kind::update, op.at(0), op.at(1));
    if (op.at(3).get<bool>()) add_step(file, plan, ops::Step::Kind::apply, op.at(0), op.at(1));
  }
  need_an_apply(file, plan);
  return plan;
}

/// The scan gives tokens in their order, views in the order in which they were applied.
Tensor in_order_of_steps(const Tensor& out, const ops::Schedule& plan) {
  std::vector<std::pair<int64_t, size_t>> spans;  // begin, place among the applied
  std::vector<int64_t> lengths, offsets;
  for (const auto& step : plan.steps) {
    if (step.kind != ops::Step::Kind::apply) continue;
    spans.emplace_back(step.begin, lengths.size());
    lengths.push_back(step.end - step.begin);
  }
  std::stable_sort(spans.begin(), spans.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  offsets.resize(lengths.size());
  int64_t at = 0;
  for (const auto& [begin, place] : spans) {
    offsets[place] = at;
    at += lengths[place];
  }
  std::vector<Tensor> parts;
  for (size_t i = 0; i < lengths.size(); ++i)
    parts.push_back(out.slice(1, offsets[i], offsets[i] + lengths[i]));
  return at::cat(parts, 1);
}

/// Gradient and direction of the first update, from the initial weights.
void views_intermediates(const ops::FastWeights& w, const ops::Tokens& t, const ops::Schedule& plan,
                         const Rule& rule, Computed& out) {
  for (const auto& step : plan.steps) {
    if (step.kind != ops::Step::Kind::update) continue;
    const auto cut = [&](const Tensor& x) { return x.slice(1, step.begin, step.end); };
    const ops::Tokens chunk{
        cut(t.k), cut(t.v), {cut(t.rate.gate), cut(t.rate.up), cut(t.rate.down)}, {}};
    const auto g = ops::delta(w, chunk, rule);
    const auto how = rule.orthogonalize;
    put(out, "mid.grad_w", g, kViews);
    put(out, "mid.direction_w",
        {ops::orthogonalize(g.gate, how), ops::orthogonalize(g.up, how),
         ops::orthogonalize(g.down, how)},
        kViews);
    return;
  }
}

Computed views_fast_weight(Golden& file) {
  Dims d;
  const auto rule = views_rule(file);
  const auto w = weights(file, d, kViews);
  const auto q = file.input("in.q", {d.N, d.L, d.K});
  const auto t = tokens(file, d, kViews, nullptr);
  const auto plan = views_schedule(file, d.L.size);
  const auto done = ops::scan(ops::initial_state(w, rule), {}, q, t, plan, rule);
  Computed out{{"out.y", in_order_of_steps(done.out, plan)}};
  put(out, "out.w", done.state.w, kViews);
  views_intermediates(w, t, plan, rule, out);
  Dim applied("tokens applied", done.out.size(1));
  if (file.has("in.dy"))
    file.gradients((out["out.y"] * file.probe("in.dy", {d.N, applied, d.V})).sum(), out);
  return out;
}

// --- video ---------------------------------------------------------------------------------------

Rule video_rule(const Golden& file) {
  const bool muon = !file.option("muon_steps").is_null(), momentum = file.flag("momentum");
  auto rule = Rule::from_name(muon       ? momentum ? "muon_momentum" : "muon"
                              : momentum ? "momentum"
                                         : "gd");
  if (muon) rule.orthogonalize = repeated(file, file.integer("muon_steps", 0, kMostSteps));
  rule.weight_norm = file.flag("weight_norm");
  if (file.settings().dtype == at::kBFloat16) rule.product = at::kBFloat16;
  return rule;
}

/// Per chunk `repeats` noisy entries, which apply, then a clean one, which first updates and then
/// applies too; the last chunk has no clean one.
ops::Schedule video_schedule(const Golden& file, int64_t length) {
  const auto chunks = file.integer("chunks", 1, length),
             repeats = file.integer("repeats", 1, length);
  const auto tokens = file.integer("tokens_per_chunk", 1, length);
  if ((chunks * (repeats + 1) - 1) * tokens != length)
    file.refuse("tensor in.q: expected ", (chunks * (repeats + 1) - 1) * tokens,
                " tokens by the case's chunks, repeats and tokens_per_chunk, found ", length);
  ops::Schedule plan{{}, length, 0};
  int64_t begin = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int64_t entry = 0; entry <= repeats && begin < length; ++entry, begin += tokens) {
      if (entry == repeats) plan.steps.push_back({ops::Step::Kind::update, begin, begin + tokens});
      plan.steps.push_back({ops::Step::Kind::apply, begin, begin + tokens});
    }
  return plan;
}

Computed video_scan(Golden& file) {
  Dims d;
  const auto rule = video_rule(file);
  const auto w = weights(file, d, kVideo);
  const auto q = file.input("in.q", {d.N, d.L, d.K});
  const auto t = tokens(file, d, kVideo, rule.momentum ? "beta" : nullptr);
  const auto done =
      ops::scan(ops::initial_state(w, rule), {}, q, t, video_schedule(file, d.L.size), rule);
  Computed out{{"out.y", done.out}};
  put(out, "out.w", done.state.w, kVideo);
  if (file.has("in.dy"))
    file.gradients((done.out * file.probe("in.dy", {d.N, d.L, d.V})).sum(), out);
  return out;
}

}  // namespace

std::vector<GoldenKind> operator_kinds() {
  return {{"newton_schulz", "g", text_newton_schulz},
          {"newton_schulz", "in.g0", views_newton_schulz},
          {"apply", "x", text_apply},
          {"update", "k", text_update},
          {"block_causal", "q", text_block_causal},
          {"schedule", "q", text_schedule},
          {"fast_weight", "in.q", views_fast_weight},
          {"fast_weight_scan", "in.q", video_scan}};
}

}  // namespace lact::verify
