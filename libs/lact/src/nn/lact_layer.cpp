#include <lact/error.hpp>
#include <lact/nn/functional.hpp>
#include <lact/nn/lact_layer.hpp>
#include <lact/ops/window_attention.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

namespace lact::nn {
namespace {

using at::Tensor;
using Taps = std::map<std::string, Tensor>;

constexpr double kInnerNormEpsilon = 1e-5;  // of q_norm, k_norm and ttt_norm, whatever norm_eps is
constexpr double kUnitEpsilon = 1e-5;       // added to the norm of fast queries and keys
constexpr double kSoftplusThreshold = 20;

/// A layer being run: options and parameters under short names.
struct Layer {
  const LactLayerOptions& o;
  const Parameters& p;

  /// [B, L, heads, channels] -> [B * heads, L, channels], head fastest; on a CPU a view of what
  /// fast_input makes.
  Tensor fold(const Tensor& x) const {
    return x.transpose(1, 2).reshape({x.size(0) * x.size(2), x.size(1), x.size(3)});
  }
  Tensor unfold(const Tensor& x) const {
    return x.unflatten(0, {-1, o.fast_heads}).transpose(1, 2);
  }
  Tensor attention_heads(const Tensor& x) const {  // [B, L, A, a]
    return x.view({x.size(0), x.size(1), o.attention_heads, -1});
  }
};

struct Projected {
  Tensor q, k, v;    // [B, L, A, a], q and k rotated
  Tensor fast_q;     // [B, L, N, K]
  ops::Tokens fast;  // [B, L, N, K], or [B, L, N, channels]: not folded yet

  Projected row(int64_t i) const;
};

Tensor fast_queries(const Layer& layer, const Tensor& x, int64_t column, const Rotary& table) {
  const auto& o = layer.o;
  return fast_input(x, {o.fast_heads, layer.p("qk_scale").select(1, column),
                        layer.p("qk_offset").select(1, column), o.silu, kUnitEpsilon,
                        o.rotate_fast ? table : Rotary()});
}

/// A head's rates of a token: one for each matrix.
int64_t rate_count(const LactLayerOptions& o) {
  return o.linear ? 1 : 3;
}

Tensor rates(const Layer& layer, const Tensor& x) {
  auto z = affine(x, layer.p("lr_proj.weight"), layer.p("lr_proj.bias"));
  if (z.scalar_type() == at::kBFloat16 || z.scalar_type() == at::kHalf) z = z.to(at::kFloat);
  const double base = layer.o.base_rate, offset = base + std::log(-std::expm1(-base));
  return at::softplus(z + offset, 1, kSoftplusThreshold);  // [B, L, N * rates * channels]
}

Projected project(const Layer& layer, const Tensor& x, const Tensor& positions) {
  const auto& o = layer.o;
  const auto qkv = affine(x, layer.p("qkv.weight"), layer.p.find("qkv.bias")).chunk(3, -1);
  Tensor q = qkv[0], k = qkv[1];
  const Tensor& v = qkv[2];
  if (o.qk_norm) {
    q = rms_norm(q, layer.p("q_norm.weight"), kInnerNormEpsilon);
    k = rms_norm(k, layer.p("k_norm.weight"), kInnerNormEpsilon);
  }
  const auto table = rotary(positions, o.width / o.attention_heads, o.rope_theta, x.scalar_type());
  Projected out;
  out.q = rotate(layer.attention_heads(q), table);
  out.k = rotate(layer.attention_heads(k), table);
  out.v = layer.attention_heads(v);
  if (!o.fast_weights) return out;
  out.fast_q = fast_queries(layer, q, 0, table);
  if (o.rule.learn == ops::Learn::none) return out;
  out.fast.k = fast_queries(layer, k, 1, table);
  out.fast.v = fast_input(v, {.heads = o.fast_heads, .silu = o.silu && o.silu_v});
  const auto rate = rates(layer, x).unflatten(-1, {o.fast_heads, rate_count(o), o.rate_channels});
  const auto one = [&](int64_t i) { return rate.select(-2, i); };
  if (o.linear)
    out.fast.rate = {{}, {}, one(0)};
  else
    out.fast.rate = {one(0), one(2), one(1)};  // published order: gate, down, up
  if (o.rule.momentum)
    out.fast.momentum =
        at::sigmoid(affine(x, layer.p("momentum_proj.0.weight"), layer.p("momentum_proj.0.bias")))
            .unsqueeze(-1);
  return out;
}

template <class Function>
ops::Tokens map_tokens(const ops::Tokens& t, const Function& f) {
  const auto g = [&](const Tensor& x) { return x.defined() ? f(x) : Tensor(); };
  return {g(t.k), g(t.v), {g(t.rate.gate), g(t.rate.up), g(t.rate.down)}, g(t.momentum)};
}

/// One sequence of a batch, as a batch of one.
Projected Projected::row(int64_t i) const {
  const auto take = [i](const Tensor& x) { return x.slice(0, i, i + 1); };
  return {take(q), take(k), take(v), fast_q.defined() ? take(fast_q) : Tensor(),
          map_tokens(fast, take)};
}

/// The initial fast weights of every sequence, [B * N, ., .], head fastest.
ops::FastWeights initial_weights(const Layer& layer, int64_t batch) {
  const auto one = [&](const std::string& name) {
    if (layer.o.low_rank <= 0) return layer.p(name);
    const auto w = at::matmul(layer.p(name + ".w_left"), layer.p(name + ".w_right"));
    return w + 0.5 * at::eye(w.size(1), w.size(2), w.options());
  };
  const auto repeat = [&](const Tensor& w) { return w.repeat({batch, 1, 1}); };
  if (layer.o.linear) return {{}, {}, repeat(layer.p("w1"))};
  return {repeat(one("w0")), repeat(one("w2")), repeat(layer.p("w1"))};
}

/// Norm, scale, sum with the attention output, projection (spec/llm 5.6). fast [B, L, N, K] or
/// undefined.
Tensor output(const Layer& layer, const Tensor& x, const Tensor& attention, const Tensor& fast) {
  if (!fast.defined()) return affine(attention.flatten(-2), layer.p("o_proj.weight"));
  Tensor z;
  if (layer.o.scale)
    z = affine(x, layer.p("ttt_scale_proj.weight"), layer.p("ttt_scale_proj.bias"));
  return affine(mix(attention, fast, layer.p("ttt_norm.weight"), kInnerNormEpsilon, z),
                layer.p("o_proj.weight"));
}

/// All fast-weight work of a batch of rows; returns [B, L, N, K].
Tensor fast_rows(const Layer& layer, const Projected& in, const Rows& rows, Taps* taps) {
  const auto& o = layer.o;
  std::vector<Tensor> pieces;
  for (const auto& group : rows.groups) {
    const auto take = [&](const Tensor& x) {
      if (!group.index.defined()) return layer.fold(x);
      const auto some = x.flatten(0, 1).index_select(0, group.index.flatten());
      return layer.fold(some.unflatten(0, group.index.sizes()));
    };
    const auto q = take(in.fast_q);
    const auto tokens = map_tokens(in.fast, take);
    const int64_t length = q.size(1), sequences = q.size(0) / o.fast_heads;
    const auto state = ops::initial_state(initial_weights(layer, sequences), o.rule);
    const auto done =
        ops::scan(state, {}, q, tokens, ops::shifted_block_causal(length, o.chunk), o.rule);
    if (taps != nullptr && tokens.k.defined()) {
      *taps = {{"fq", q},
               {"fk", tokens.k},
               {"fv", tokens.v},
               {"fast", done.out},
               {"lr0", tokens.rate.gate},
               {"lr1", tokens.rate.down},
               {"lr2", tokens.rate.up}};
      if (tokens.momentum.defined()) taps->emplace("beta", tokens.momentum);
    }
    pieces.push_back(layer.unfold(done.out));
  }
  if (!rows.inverse.defined()) return pieces.at(0);
  for (auto& piece : pieces) piece = piece.flatten(0, 1);
  return at::cat(pieces, 0).index_select(0, rows.inverse).unflatten(0, {rows.batch, rows.length});
}

/// What the next tokens see through the window, which they join. [B, T, A, a]
Tensor attend(const Layer& layer, const Projected& in, LactLayerStream& stream) {
  const auto& window = layer.o.window;
  stream.window.append(in.k.transpose(1, 2), in.v.transpose(1, 2), window);
  const auto out = ops::window_attention(in.q.transpose(1, 2), stream.window.keys(),
                                         stream.window.values(), window);
  stream.window.trim(window);
  return out.transpose(1, 2);
}

/// What applying the fast weights gives the tokens, which then update them. [B, T, N, K]
Tensor scan_on(const Layer& layer, const Projected& in, LactLayerStream& stream,
               const ops::Schedule& schedule) {
  const auto fold = [&](const Tensor& y) { return layer.fold(y); };
  auto done = ops::scan(stream.fast, stream.open, fold(in.fast_q), map_tokens(in.fast, fold),
                        schedule, layer.o.rule);
  stream.fast = done.state;
  stream.open = done.open;
  return done.out.defined() ? layer.unfold(done.out) : Tensor();
}

/// The rows' tensors one after another; each row's becomes its part of the result. Nothing is
/// copied where they are parts of one tensor already, as they are until one of them changes.
Tensor joined(const std::vector<Tensor*>& rows) {
  const auto& first = *rows[0];
  const auto* next = static_cast<const char*>(first.const_data_ptr());
  bool together = true;
  for (const auto* row : rows) {
    together = together && row->is_contiguous() && row->const_data_ptr() == next &&
               row->is_alias_of(first);
    next += row->nbytes();
  }
  auto sizes = first.sizes().vec();
  const int64_t each = sizes[0];
  sizes[0] *= static_cast<int64_t>(rows.size());
  if (together) return first.as_strided(sizes, first.strides());
  std::vector<Tensor> parts;
  for (const auto* row : rows) parts.push_back(*row);
  const auto whole = at::cat(parts);
  for (size_t i = 0; i < rows.size(); ++i)
    *rows[i] = whole.slice(0, static_cast<int64_t>(i) * each, static_cast<int64_t>(i + 1) * each);
  return whole;
}

/// The fast weights of all streams, [B * N, ., .].
ops::FastWeights joined_weights(const std::vector<LactLayerStream*>& streams, bool prenorm) {
  const auto of = [&](Tensor ops::FastWeights::*member) {
    if (!(streams[0]->fast.w.*member).defined()) return Tensor();
    std::vector<Tensor*> rows;
    for (auto* stream : streams) rows.push_back(&(stream->fast.w.*member));
    return joined(rows);
  };
  const ops::FastWeights all{of(&ops::FastWeights::gate), of(&ops::FastWeights::up),
                             of(&ops::FastWeights::down)};
  if (!prenorm)  // main is w: the copy that is not used any more would stay in memory
    for (auto* stream : streams) stream->fast.main = stream->fast.w;
  return all;
}

/// The fast weights' part of one token of each stream, x [B, 1, d]: all are applied together, each
/// is updated on its own. [B, 1, N, K]
Tensor fast_together(const Layer& layer, const Projected& in,
                     const std::vector<LactLayerStream*>& streams) {
  const auto& o = layer.o;
  const auto fold = [&](const Tensor& y) { return layer.fold(y); };
  const ops::Schedule read{{{ops::Step::Kind::apply, 0, 1}}, /*carry_from=*/1};
  const auto out = ops::scan({joined_weights(streams, o.rule.prenorm)}, {}, fold(in.fast_q),
                             map_tokens(in.fast, fold), read, o.rule)
                       .out;
  if (o.rule.learn == ops::Learn::none) return layer.unfold(out);
  for (size_t i = 0; i < streams.size(); ++i) {
    auto schedule = ops::shifted_block_causal_stream(streams[i]->open.count, 1, o.chunk);
    std::erase_if(schedule.steps,
                  [](const ops::Step& step) { return step.kind == ops::Step::Kind::apply; });
    scan_on(layer, in.row(static_cast<int64_t>(i)), *streams[i], schedule);
  }
  return layer.unfold(out);
}

}  // namespace

Shapes lact_layer_shapes(const LactLayerOptions& o) {
  const int64_t d = o.width, n = o.fast_heads, k = d / n, f = o.fast_hidden;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    shapes.emplace_back(name, std::move(shape));
  };
  add("qkv.weight", {3 * d, d});
  if (o.qkv_bias) add("qkv.bias", {3 * d});
  if (o.qk_norm) {
    add("q_norm.weight", {d});
    add("k_norm.weight", {d});
  }
  if (o.fast_weights) {
    add("qk_scale", {d, 2});
    add("qk_offset", {d, 2});
    for (const std::string name : {"w0", "w2"}) {
      if (o.linear) continue;
      if (o.low_rank > 0) {
        add(name + ".w_left", {n, f, o.low_rank});
        add(name + ".w_right", {n, o.low_rank, k});
      } else {
        add(name, {n, f, k});
      }
    }
    add("w1", {n, k, o.linear ? k : f});
    add("lr_proj.weight", {rate_count(o) * n * o.rate_channels, d});
    add("lr_proj.bias", {rate_count(o) * n * o.rate_channels});
    if (o.rule.momentum) {
      add("momentum_proj.0.weight", {n, d});
      add("momentum_proj.0.bias", {n});
    }
    if (o.scale) {
      add("ttt_scale_proj.weight", {n, d});
      add("ttt_scale_proj.bias", {n});
    }
    add("ttt_norm.weight", {k});
  }
  add("o_proj.weight", {d, d});
  return shapes;
}

Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters, const Tensor& x,
                  const Rows& rows, Taps* taps) {
  const Layer layer{options, parameters};
  const auto in = project(layer, x, rows.positions);
  const auto attention = ops::window_attention(in.q.transpose(1, 2), in.k.transpose(1, 2),
                                               in.v.transpose(1, 2), options.window, rows.documents)
                             .transpose(1, 2);  // [B, L, A, a]
  const auto fast = options.fast_weights ? fast_rows(layer, in, rows, taps) : Tensor();
  if (taps != nullptr) taps->insert({{"q", in.q}, {"k", in.k}, {"v", in.v}, {"attn", attention}});
  return output(layer, x, attention, fast);
}

double write_strength(const LactLayerOptions& o, const Parameters& parameters, const Tensor& x) {
  const at::NoGradGuard no_grad;
  if (!o.fast_weights || o.rule.learn == ops::Learn::none || x.size(1) <= o.chunk) return 0;
  const Layer layer{o, parameters};
  const int64_t length = std::min(2 * o.chunk, x.size(1));
  const auto some = x.slice(0, 0, 1).slice(1, 0, length);
  const auto in = project(layer, some, at::arange(length, x.options().dtype(at::kLong)));
  const auto fold = [&](const Tensor& y) { return layer.fold(y); };
  const auto state = ops::initial_state(initial_weights(layer, 1), o.rule);
  const auto q = fold(in.fast_q);
  const auto second = [&](const Tensor& y) { return y.slice(1, o.chunk).to(at::kDouble); };
  const auto learned = second(ops::scan(state, {}, q, map_tokens(in.fast, fold),
                                        ops::shifted_block_causal(length, o.chunk), o.rule)
                                  .out);
  const auto before = second(ops::apply(state.w, q, o.rule));
  return ((learned - before).norm() / before.norm()).item<double>();
}

LactLayerStream start_stream(const LactLayerOptions& options, const Parameters& parameters,
                             int64_t batch) {
  LactLayerStream stream;
  if (options.fast_weights)
    stream.fast = ops::initial_state(initial_weights({options, parameters}, batch), options.rule);
  return stream;
}

Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters, const Tensor& x,
                  LactLayerStream& stream) {
  const Layer layer{options, parameters};
  const int64_t length = x.size(1);
  const auto positions =
      at::arange(stream.position, stream.position + length, x.options().dtype(at::kLong));
  const auto in = project(layer, x, positions);
  const auto attention = attend(layer, in, stream);
  Tensor fast;
  if (options.fast_weights)
    fast = scan_on(layer, in, stream,
                   ops::shifted_block_causal_stream(stream.open.count, length, options.chunk));
  stream.position += length;
  return output(layer, x, attention, fast);
}

Tensor lact_layer(const LactLayerOptions& options, const Parameters& parameters, const Tensor& x,
                  const std::vector<LactLayerStream*>& streams) {
  const Layer layer{options, parameters};
  std::vector<int64_t> positions;
  for (auto* stream : streams) positions.push_back(stream->position++);
  const auto in =
      project(layer, x, at::tensor(positions, x.options().dtype(at::kLong)).unsqueeze(1));
  std::vector<Tensor> attention;
  for (size_t i = 0; i < streams.size(); ++i)
    attention.push_back(attend(layer, in.row(static_cast<int64_t>(i)), *streams[i]));
  return output(layer, x, at::cat(attention),
                options.fast_weights ? fast_together(layer, in, streams) : Tensor());
}

}  // namespace lact::nn
