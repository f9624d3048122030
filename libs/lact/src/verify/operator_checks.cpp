// Checks that need no file: what must hold of the operator on every machine. They use what a model
// uses, ops::scan and nn::lact_layer, at sizes where all of them take seconds.

#include <lact/nn/lact_layer.hpp>
#include <lact/ops/scan.hpp>
#include <lact/random.hpp>
#include <lact/verify/golden.hpp>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace lact::verify {
namespace {

using at::Tensor;
using ops::Rule;

constexpr int64_t kN = 2, kK = 5, kV = 4, kF = 6;  // all different: a swapped axis shows
// Two chunks and a ragged one. Each has more tokens than a matrix has rows: with fewer,
// Newton-Schulz has directions without gradient, in which it bends so sharply that differences say
// nothing.
constexpr int64_t kChunk = 10, kLength = 27;

// --- inputs --------------------------------------------------------------------------------------

/// Numbers of its own, the same on every device and in every run; the program's stay untouched.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : random_(seed * 2654435761u + 1) {}

  /// Normal numbers in float64, on the CPU.
  Tensor normal(const std::vector<int64_t>& shape, double scale = 1) {
    auto x = at::empty(shape, at::kDouble);
    auto* data = x.mutable_data_ptr<double>();
    for (int64_t i = 0; i < x.numel(); ++i)
      data[i] = scale * std::sqrt(-2 * std::log(uniform())) * std::cos(2 * M_PI * uniform());
    return x;
  }
  Tensor uniform(const std::vector<int64_t>& shape, double low, double high) {
    auto x = at::empty(shape, at::kDouble);
    auto* data = x.mutable_data_ptr<double>();
    for (int64_t i = 0; i < x.numel(); ++i) data[i] = low + (high - low) * uniform();
    return x;
  }

 private:
  /// In (0, 1).
  double uniform() { return (static_cast<double>(random_.next() >> 11) + 0.5) * 0x1p-53; }

  Random random_;
};

/// A case of the operator: all that scan takes.
struct Inputs {
  ops::FastWeights w;
  ops::FastWeights buffers;  ///< of momentum; undefined: zero, as at the start
  Tensor q;
  ops::Tokens tokens;

  /// Every tensor that is there, with its name.
  std::vector<std::pair<const char*, Tensor*>> all() {
    std::vector<std::pair<const char*, Tensor*>> found;
    for (const auto& [name, x] : {std::pair{"gate", &w.gate},
                                  {"up", &w.up},
                                  {"down", &w.down},
                                  {"gate's buffer", &buffers.gate},
                                  {"up's buffer", &buffers.up},
                                  {"down's buffer", &buffers.down},
                                  {"q", &q},
                                  {"k", &tokens.k},
                                  {"v", &tokens.v},
                                  {"gate's rate", &tokens.rate.gate},
                                  {"up's rate", &tokens.rate.up},
                                  {"down's rate", &tokens.rate.down},
                                  {"momentum", &tokens.momentum}})
      if (x->defined()) found.emplace_back(name, x);
    return found;
  }
};

struct Sizes {
  int64_t n = kN, length = kLength, k = kK, v = kV, f = kF;
};

Inputs make_inputs(uint64_t seed, const Rule& rule, bool linear = false, const Sizes& s = {}) {
  Numbers random(seed);
  Inputs in;
  const auto root = [](int64_t width) { return 1 / std::sqrt(static_cast<double>(width)); };
  if (!linear) {
    in.w.gate = random.normal({s.n, s.f, s.k}, root(s.k));
    in.w.up = random.normal({s.n, s.f, s.k}, root(s.k));
  }
  in.w.down = random.normal({s.n, s.v, linear ? s.k : s.f}, root(linear ? s.k : s.f));
  in.q = random.normal({s.n, s.length, s.k});
  const auto rate = [&] { return random.uniform({s.n, s.length, 1}, 0.02, 0.2); };
  in.tokens = {random.normal({s.n, s.length, s.k}),
               random.normal({s.n, s.length, s.v}),
               {rate(), rate(), rate()},
               {}};
  if (rule.momentum) in.tokens.momentum = random.uniform({s.n, s.length, 1}, 0.1, 0.9);
  return in;
}

/// Buffers that are not zero, as in the middle of a sequence.
void fill_buffers(Inputs& in, uint64_t seed) {
  Numbers random(seed);
  const auto like = [&](const Tensor& x) {
    return x.defined() ? random.normal(x.sizes().vec(), 0.1) : x;
  };
  in.buffers = {like(in.w.gate), like(in.w.up), like(in.w.down)};
}

Inputs moved(Inputs in, const Settings& settings, at::ScalarType type = at::kDouble) {
  for (auto& [name, x] : in.all()) *x = x->to(settings.device, type);
  return in;
}

ops::ScanResult run(const Inputs& in, const ops::Schedule& plan, const Rule& rule,
                    const ops::ScanOptions& options = {}) {
  auto state = ops::initial_state(in.w, rule);
  if (in.buffers.down.defined()) state.momentum = in.buffers;
  return ops::scan(state, {}, in.q, in.tokens, plan, rule, options);
}

ops::Tokens slice(const ops::Tokens& t, int64_t begin, int64_t end) {
  const auto cut = [&](const Tensor& x) { return x.defined() ? x.slice(1, begin, end) : x; };
  return {
      cut(t.k), cut(t.v), {cut(t.rate.gate), cut(t.rate.up), cut(t.rate.down)}, cut(t.momentum)};
}

double largest(const Tensor& x) {
  const double value = x.detach().abs().max().item<double>();
  return std::isfinite(value) ? value : INFINITY;
}

/// max|a - b| / max|b|
double distance(const Tensor& a, const Tensor& b) {
  const auto x = a.detach().cpu().to(at::kDouble), y = b.detach().cpu().to(at::kDouble);
  return x.sizes() == y.sizes() ? largest(x - y) / largest(y) : INFINITY;
}

double distance(const ops::FastWeights& a, const ops::FastWeights& b) {
  double worst = distance(a.down, b.down);
  if (!b.linear()) worst = std::max({worst, distance(a.gate, b.gate), distance(a.up, b.up)});
  return worst;
}

std::vector<Rule> all_rules() {
  std::vector<Rule> rules;
  for (const auto& name : Rule::names())
    for (const bool prenorm : {false, true}) {
      rules.push_back(Rule::from_name(name));
      rules.back().prenorm = prenorm;
    }
  return rules;
}

std::vector<ops::Schedule> all_schedules() {
  return {ops::shifted_block_causal(kLength, kChunk), ops::bidirectional(kLength),
          ops::chunk_causal(kLength, kChunk), ops::strided(kLength, 3, 12, kChunk)};
}

// --- gradients -----------------------------------------------------------------------------------

/// A sum that every output and every weight of the final state enters.
Tensor loss_of(const Inputs& in, const ops::Schedule& plan, const Rule& rule, uint64_t seed,
               const ops::ScanOptions& options = {}) {
  Numbers random(seed);
  const auto done = run(in, plan, rule, options);
  const auto weighed = [&](const Tensor& x) {
    return (x * random.normal(x.sizes().vec()).to(x.device())).sum();
  };
  Tensor sum = weighed(done.out) + weighed(done.state.w.down);
  if (!in.w.linear()) sum = sum + weighed(done.state.w.gate) + weighed(done.state.w.up);
  if (rule.momentum) sum = sum + weighed(done.state.momentum.down);
  return sum;
}

/// The derivative along a direction of the input at `place`, by central differences whose
/// second-order error is removed.
double difference(Inputs in, size_t place, const Tensor& direction, const ops::Schedule& plan,
                  const Rule& rule, uint64_t seed) {
  const at::NoGradGuard no_graph;
  Tensor& x = *in.all()[place].second;
  const Tensor middle = x.detach();
  const auto at = [&](double step) {
    x = middle + step * direction;
    return loss_of(in, plan, rule, seed).item<double>();
  };
  constexpr double kStep = 2e-5;
  const auto central = [&](double h) { return (at(h) - at(-h)) / (2 * h); };
  return (4 * central(kStep / 2) - central(kStep)) / 3;
}

/// The largest |gradient . d - derivative along d| / (|gradient| |d| / sqrt(n)) of all inputs: the
/// error as a part of what such a product usually is.
double gradient_error(Inputs in, const ops::Schedule& plan, const Rule& rule, uint64_t seed,
                      const ops::ScanOptions& options) {
  const at::AutoGradMode graph(true);
  const auto leaves = in.all();
  for (auto& [name, x] : leaves) *x = x->detach().clone().requires_grad_(true);
  loss_of(in, plan, rule, seed, options).backward();
  Numbers random(seed + 1);
  double worst = 0;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Tensor leaf = *leaves[i].second;
    const auto gradient = leaf.grad().defined() ? leaf.grad() : leaf.detach() * 0;
    const auto d = random.normal(leaf.sizes().vec()).to(leaf.device());
    const double got = (gradient * d).sum().item<double>();
    const double want = difference(in, i, d, plan, rule, seed);
    const double usual = gradient.norm().item<double>() * d.norm().item<double>() /
                         std::sqrt(static_cast<double>(d.numel()));
    const double error = std::abs(got - want) / (usual + 1e-6);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return worst;
}

/// Differences of float64 are good to about 1e-8 here; a wrong term is a part of the gradient.
constexpr double kGradientBound = 1e-6;

Check gradients(const std::string& name, const Rule& rule, bool linear = false,
                const ops::ScanOptions& options = {}) {
  return {concat("gradients are float64 differences: ", name), [=](const Settings& settings) {
            double worst = 0;
            uint64_t seed = 1;
            for (const auto& plan : all_schedules()) {
              ++seed;
              auto in = make_inputs(seed, rule, linear);
              if (rule.momentum) fill_buffers(in, seed + 100);
              in = moved(in, settings);
              worst = std::max(worst, gradient_error(in, plan, rule, seed, options));
            }
            return Seen{worst, kGradientBound, ""};
          }};
}

std::vector<Check> gradient_checks() {
  std::vector<Check> checks;
  for (const auto& rule : all_rules())
    checks.push_back(gradients(concat(rule.name(), rule.prenorm ? ", pre-norm" : ""), rule));
  auto other = Rule::from_name("muon_momentum");
  other.stacked = other.epsilon_inside = true;
  checks.push_back(gradients("gate and up stacked", other));
  other = Rule::from_name("momentum");
  other.weight_norm = false;
  checks.push_back(gradients("no weight norm", other));
  other = Rule::from_name("muon_momentum");
  other.learn = ops::Learn::last;
  checks.push_back(gradients("only down is updated", other));
  const auto momentum = Rule::from_name("momentum"), muon = Rule::from_name("muon_momentum");
  checks.push_back(gradients("linear fast weights", momentum, /*linear=*/true));
  checks.push_back(gradients("recomputed, in tiles", muon, false, {.recompute = true, .tile = 3}));
  return checks;
}

// --- who sees what -------------------------------------------------------------------------------

/// float64's rounding, and what Newton-Schulz makes of it.
constexpr double kRounding = 1e-10;

Seen earlier_chunks_only(const Settings& settings) {
  double leaked = 0;
  const int64_t changed = kChunk + 2, next = 2 * kChunk;  // a token of the second chunk
  for (const auto& rule : all_rules()) {
    const auto in = moved(make_inputs(21, rule), settings);
    auto other = in;
    for (Tensor* x : {&other.tokens.k, &other.tokens.v, &other.tokens.rate.up}) {
      *x = x->clone();
      x->slice(1, changed, changed + 1).mul_(3);
    }
    const auto plan = ops::shifted_block_causal(kLength, kChunk);
    const auto difference = run(in, plan, rule).out - run(other, plan, rule).out;
    leaked = std::max(leaked, largest(difference.slice(1, 0, next)));
    if (largest(difference.slice(1, next)) == 0) leaked = INFINITY;  // it must be seen after that
  }
  return {leaked, 0, ""};
}

nn::LactLayerOptions layer_options() {
  nn::LactLayerOptions o;
  o.width = 24;
  o.attention_heads = 2;
  o.fast_heads = 3;
  o.fast_hidden = 10;
  o.chunk = 8;
  o.window = 6;
  o.low_rank = 2;
  o.rule = Rule::from_name("muon_momentum");
  return o;
}

nn::Parameters layer_parameters(const nn::LactLayerOptions& options, const Settings& settings) {
  Numbers random(31);
  return {nn::lact_layer_shapes(options), [&](const std::string& name, const nn::Shape& shape) {
            const bool around_one = name.find("norm") != std::string::npos || name == "qk_scale";
            return (random.normal(shape, 0.3) + (around_one ? 1.0 : 0.0)).to(settings.device);
          }};
}

/// Two documents in a row: a layer's output for the second, as the first one changes.
Seen documents(const Settings& settings, bool alone) {
  const auto options = layer_options();
  const auto parameters = layer_parameters(options, settings);
  const int64_t length = 45, border = 19;
  Numbers random(32);
  auto numbers = at::zeros({1, length}, at::kLong);
  numbers.slice(1, border).fill_(1);
  const auto rows = nn::cut_rows(numbers, options.chunk, /*fast_weights=*/true, settings.device);
  const auto x = random.normal({1, length, options.width}).to(settings.device);
  const auto other = x.clone();
  other.slice(1, 0, border).copy_(random.normal({1, border, options.width}));
  const auto second = [&](const Tensor& in) {
    return nn::lact_layer(options, parameters, in, rows).slice(1, border);
  };
  if (!alone) return {largest(second(x) - second(other)), 0, ""};
  const auto by_itself = nn::lact_layer(options, parameters, x.slice(1, border),
                                        nn::whole_rows(1, length - border, settings.device));
  return {distance(second(x), by_itself), kRounding, ""};
}

// --- rates and norms -----------------------------------------------------------------------------

Seen rate_of_zero(const Settings& settings) {
  double moved_by = 0;
  for (auto rule : all_rules()) {
    rule.weight_norm = false;
    auto in = moved(make_inputs(41, rule), settings);
    for (Tensor* x : {&in.tokens.rate.gate, &in.tokens.rate.up, &in.tokens.rate.down}) *x = *x * 0;
    const auto done = run(in, ops::chunk_causal(kLength, kChunk), rule);
    moved_by = std::max(moved_by, distance(done.state.w, in.w));
  }
  return {moved_by, 0, ""};
}

Seen row_norms_stay(const Settings& settings) {
  double worst = 0;
  for (const auto& rule : all_rules()) {
    const auto in = moved(make_inputs(42, rule), settings);
    const auto after = run(in, ops::chunk_causal(kLength, kChunk), rule).state.w;
    const auto norms = [](const Tensor& x) { return x.norm(2, {2}); };
    for (const auto& [a, b] :
         {std::pair{after.gate, in.w.gate}, {after.up, in.w.up}, {after.down, in.w.down}}) {
      worst = std::max(worst, largest(norms(a) / norms(b) - 1));
      if (distance(a, b) < 1e-3) worst = INFINITY;  // the rows themselves must have turned
    }
  }
  return {worst, 1e-4, ""};  // the norm's epsilon, 1e-5, over the smallest norms
}

// --- pieces --------------------------------------------------------------------------------------

Seen streamed(const Settings& settings) {
  double worst = 0;
  for (const auto& rule : all_rules())
    for (const bool graph : {false, true}) {  // without one, buffers are written in place
      const at::AutoGradMode mode(graph);
      const auto in = moved(make_inputs(51, rule), settings);
      const auto whole = run(in, ops::shifted_block_causal(kLength, kChunk), rule);
      auto state = ops::initial_state(in.w, rule);
      ops::OpenChunk open;
      std::vector<Tensor> outs;
      int64_t size = 1;
      for (int64_t begin = 0; begin < kLength; size = size * 3 % 11) {
        const int64_t end = std::min(begin + size, kLength);
        auto done =
            ops::scan(state, open, in.q.slice(1, begin, end), slice(in.tokens, begin, end),
                      ops::shifted_block_causal_stream(open.count, end - begin, kChunk), rule);
        state = done.state;
        open = done.open;
        outs.push_back(done.out);
        begin = end;
      }
      worst = std::max(
          {worst, distance(at::cat(outs, 1), whole.out), distance(state.w, whole.state.w)});
      if (open.count != kLength % kChunk) worst = INFINITY;
    }
  return {worst, kRounding, ""};
}

/// Output, final weights and all gradients of one case, one after another.
std::vector<Tensor> everything(Inputs in, const ops::Schedule& plan, const Rule& rule,
                               const ops::ScanOptions& options = {}) {
  const at::AutoGradMode graph(true);
  for (auto& [name, x] : in.all()) *x = x->detach().clone().requires_grad_(true);
  const auto done = run(in, plan, rule, options);
  (done.out * done.out.detach()).sum().backward();
  std::vector<Tensor> all{done.out, done.state.w.gate, done.state.w.up, done.state.w.down};
  for (auto& [name, x] : in.all()) all.push_back(x->grad());
  return all;
}

double distance(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i)
    if (b[i].defined()) worst = std::max(worst, distance(a[i], b[i]));
  return worst;
}

Seen in_tiles(const Settings& settings) {
  double worst = 0;
  for (const auto& rule : all_rules()) {
    const auto in = moved(make_inputs(53, rule), settings);
    const auto plan = ops::chunk_causal(kLength, kChunk);
    const auto whole = everything(in, plan, rule);
    for (const bool recompute : {false, true})
      worst = std::max(
          worst, distance(everything(in, plan, rule, {.recompute = recompute, .tile = 3}), whole));
  }
  return {worst, kRounding, ""};
}

Seen in_pieces(const Settings& settings) {
  double worst = 0;
  for (const bool linear : {false, true})
    for (const auto& rule : all_rules()) {
      const auto in = moved(make_inputs(52, rule, linear), settings);
      const auto whole = run(in, ops::bidirectional(kLength), rule).state;
      const auto start = ops::initial_state(in.w, rule);
      ops::FastWeights sum;
      const auto add = [](Tensor& a, const Tensor& b) {
        if (b.defined()) a = a.defined() ? a + b : b;
      };
      for (int64_t begin = 0; begin < kLength; begin += 5) {
        const auto piece = slice(in.tokens, begin, std::min<int64_t>(begin + 5, kLength));
        const auto delta = ops::delta(start.w, piece, rule);
        add(sum.gate, delta.gate);
        add(sum.up, delta.up);
        add(sum.down, delta.down);
      }
      const auto beta = rule.momentum ? in.tokens.momentum.mean({1}, true) : Tensor();
      worst = std::max(worst, distance(ops::step(start, sum, beta, rule).w, whole.w));
    }
  return {worst, kRounding, ""};
}

// --- devices -------------------------------------------------------------------------------------

bool has_cuda() {
  return at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
}

/// Chunks hold more tokens than a matrix has columns: Newton-Schulz then has no empty direction.
Check cpu_against_cuda(const char* rule_name, at::ScalarType type, double bound) {
  const bool narrow = type == at::kBFloat16;
  return {concat("CUDA computes what the CPU computes: ", rule_name,
                 narrow ? ", products in bfloat16" : ""),
          [=](const Settings& settings) {
            if (!has_cuda()) return Seen{0, bound, "no CUDA device"};
            const c10::Device device =
                settings.device.is_cuda() ? settings.device : c10::Device(c10::kCUDA, 0);
            auto rule = Rule::from_name(rule_name);
            if (narrow) rule.product = rule.orthogonalize.dtype = type;
            const auto in = make_inputs(61, rule, false, {3, 300, 48, 48, 64});
            const auto plan = ops::shifted_block_causal(300, 128);
            const auto there = everything(moved(in, {device, type, {}}, at::kFloat), plan, rule);
            const auto here = everything(moved(in, {c10::kCPU, type, {}}, at::kFloat), plan, rule);
            return Seen{distance(there, here), bound, ""};
          }};
}

}  // namespace

std::vector<Check> operator_checks() {
  auto checks = gradient_checks();
  checks.insert(checks.end(), {{"an output depends on earlier chunks only", earlier_chunks_only},
                               {"nothing leaks across documents",
                                [](const auto& s) { return documents(s, false); }},
                               {"a document in a row equals itself alone",
                                [](const auto& s) { return documents(s, true); }},
                               {"a rate of 0 changes no weight", rate_of_zero},
                               {"updated rows keep their norms", row_norms_stay},
                               {"streamed equals whole", streamed},
                               {"a chunk summed in pieces equals whole", in_pieces},
                               {"a chunk worked on in tiles equals whole, gradients too", in_tiles},
                               cpu_against_cuda("gd", at::kFloat, 1e-4),
                               cpu_against_cuda("muon_momentum", at::kFloat, 5e-3),
                               cpu_against_cuda("momentum", at::kBFloat16, 1e-1)});
  return checks;
}

}  // namespace lact::verify
