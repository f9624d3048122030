#include "model.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/log.hpp>
#include <lact/nn/functional.hpp>
#include <lact/nn/recompute.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <set>

namespace lact::text {
namespace {

using at::Tensor;

/// Names and shapes of one block, relative to "model.layers.I.".
nn::Shapes block_shapes(const Config& c) {
  const int64_t d = c.hidden_size, mlp = c.mlp_hidden();
  nn::Shapes shapes = {{"attn_norm.weight", {d}}};
  for (auto& [name, shape] : nn::lact_layer_shapes(layer_options(c, at::kFloat)))
    shapes.emplace_back("attn." + name, shape);
  shapes.insert(shapes.end(), {{"mlp_norm.weight", {d}},
                               {"mlp.gate_proj.weight", {mlp, d}},
                               {"mlp.up_proj.weight", {mlp, d}},
                               {"mlp.down_proj.weight", {d, mlp}}});
  return shapes;
}

/// Initial standard deviation (spec/llm 8); ones where it is NaN.
double initial_deviation(const Config& c, const std::string& name) {
  if (name.ends_with("norm.weight") || name.ends_with("qk_scale")) return NAN;
  if (name.ends_with("bias") || name.ends_with("qk_offset")) return 0;
  const double width = static_cast<double>(c.fast_width());
  if (name.ends_with(".w_left"))
    return c.fw_init_gain / std::sqrt(static_cast<double>(c.w0_w2_low_rank));
  if (name.ends_with(".w_right")) return c.fw_init_gain / std::sqrt(width);
  if (name.ends_with(".w0") || name.ends_with(".w2")) return 1 / std::sqrt(width);
  if (name.ends_with(".w1")) return 1 / std::sqrt(static_cast<double>(c.fast_hidden()));
  return c.initializer_range;
}

Tensor initial_value(const Config& c, const std::string& name, const nn::Shape& shape,
                     const at::Generator& generator) {
  if (name.ends_with("ttt_scale_proj.bias")) return at::full(shape, c.ttt_scale_bias, at::kFloat);
  if (name.ends_with("momentum_proj.0.bias")) return at::full(shape, c.momentum_bias, at::kFloat);
  const double deviation = initial_deviation(c, name);
  if (std::isnan(deviation)) return at::ones(shape, at::kFloat);
  if (deviation == 0) return at::zeros(shape, at::kFloat);
  return at::empty(shape, at::kFloat).normal_(0, deviation, generator);
}

/// Large matrices that only ever enter products.
bool only_multiplied(const std::string& name, const nn::Shape& shape) {
  return shape.size() == 2 && !name.ends_with("qk_scale") && !name.ends_with("qk_offset");
}

/// A file of the headless model lacks the prefix.
nn::StoredName stored_name(const io::Checkpoint& checkpoint) {
  return [&checkpoint](const std::string& name) {
    const std::string prefix = "model.";
    const bool bare = !checkpoint.contains(name) && name.starts_with(prefix) &&
                      checkpoint.contains(name.substr(prefix.size()));
    return bare ? name.substr(prefix.size()) : name;
  };
}

/// Says which tensors no parameter takes: the model is another than the configuration says, of
/// fewer layers, or without a part. "": none. Published files may hold tables of the rotation, and
/// the head of a model that ties it to the embeddings.
std::string not_taken(const Config& config, const io::Checkpoint& checkpoint) {
  const auto stored = stored_name(checkpoint);
  std::set<std::string> taken = {"lm_head.weight"};
  for (const auto& [name, shape] : parameter_shapes(config)) taken.insert(stored(name));
  std::vector<std::string> left;
  for (const auto& name : checkpoint.names())
    if (taken.count(name) == 0 && !name.ends_with(".rotary.inv_freq")) left.push_back(name);
  if (left.empty()) return {};
  return concat(checkpoint.folder().string(), ": the configuration has no place for ",
                left.size() == 1 ? "tensor " : concat(left.size(), " tensors, the first "),
                io::printable(left[0]));
}

std::string layer_name(size_t layer) {
  return concat("model.layers.", layer, ".");
}

}  // namespace

ops::Rule rule(const Config& c) {
  const char* published = c.use_muon ? (c.use_momentum ? "muon_momentum" : "muon")
                                     : (c.use_momentum ? "momentum" : "gd");
  auto rule = ops::Rule::from_name(c.update_rule.empty() ? published : c.update_rule);
  rule.prenorm = c.ttt_prenorm;
  rule.learn = ops::learn_from(c.learn);
  // The fused kernels' arithmetic (spec/llm 3).
  rule.stacked = c.use_fused_kernel || c.ns_stacked;
  rule.epsilon_inside = c.use_fused_kernel && !c.ttt_prenorm;
  rule.weight_norm = c.weight_norm != "off";
  rule.detach_norms = c.weight_norm == "detached";
  auto& steps = rule.orthogonalize.steps;
  if (c.ns_coefficients == "keller_jordan") steps = ops::NewtonSchulz::keller_jordan();
  const auto last = steps.back();
  steps.resize(static_cast<size_t>(c.ns_steps), last);
  return rule;
}

nn::LactLayerOptions layer_options(const Config& c, at::ScalarType compute) {
  nn::LactLayerOptions o;
  o.width = c.hidden_size;
  o.attention_heads = c.num_attn_heads;
  o.fast_heads = c.num_lact_heads;
  o.fast_hidden = c.fast_hidden();
  o.chunk = c.lact_chunk_size;
  o.window = c.window_size;
  o.rope_theta = c.rope_theta;
  o.rate_channels = c.lr_dim;
  o.low_rank = c.w0_w2_low_rank;
  o.qkv_bias = c.qkv_bias;
  o.qk_norm = c.attn_qk_norm;
  o.silu = c.qkv_silu;
  o.silu_v = !c.no_v_silu;
  o.scale = c.learnable_ttt_scale;
  o.rotate_fast = !c.ttt_nope;
  o.fast_weights = c.use_fast_weights;
  o.linear = c.linear();
  o.base_rate = c.base_lr;
  o.rule = rule(c);
  if (compute == at::kBFloat16) {
    o.rule.product = at::kBFloat16;
    o.rule.orthogonalize.dtype = at::kBFloat16;
  }
  return o;
}

nn::Shapes parameter_shapes(const Config& c) {
  nn::Shapes shapes = {{"model.embeddings.weight", {c.vocab_size, c.hidden_size}}};
  const auto block = block_shapes(c);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i)
    for (const auto& [name, shape] : block)
      shapes.emplace_back(layer_name(static_cast<size_t>(i)) + name, shape);
  shapes.push_back({"model.norm.weight", {c.hidden_size}});
  if (!c.tie_word_embeddings) shapes.push_back({"lm_head.weight", {c.vocab_size, c.hidden_size}});
  return shapes;
}

LanguageModel::LanguageModel(const Config& config, nn::Parameters parameters)
    : config_(config), parameters_(std::move(parameters)) {
  config_.check("model");
  embeddings_ = parameters_("model.embeddings.weight");
  norm_ = parameters_("model.norm.weight");
  lm_head_ = parameters_.find("lm_head.weight");
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.push_back(layer_of(parameters_.under(layer_name(static_cast<size_t>(i)))));
  }
}

LanguageModel::Layer LanguageModel::layer_of(const nn::Parameters& p) {
  return {p("attn_norm.weight"),   p("mlp_norm.weight"),      p("mlp.gate_proj.weight"),
          p("mlp.up_proj.weight"), p("mlp.down_proj.weight"), p.under("attn.")};
}

LanguageModel::Layer LanguageModel::layer(size_t number) const {
  return shards_.empty()
             ? layers_[number]
             : layer_of(nn::Parameters(shards_[number]->gathered()).under(layer_name(number)));
}

dist::Shards LanguageModel::shard(const dist::Group& group) {
  shards_ = nn::shard(parameters_, layers_.size(), layer_name, group);
  layers_.clear();
  return shards_;
}

LanguageModel LanguageModel::fresh(const Config& config, uint64_t seed, at::Device device) {
  const auto value = [&](const std::string& name, const nn::Shape& shape, const auto& generator) {
    return initial_value(config, name, shape, generator);
  };
  return {config, nn::fresh(parameter_shapes(config), seed, device, value)};
}

LanguageModel LanguageModel::load(const io::Checkpoint& checkpoint, at::Device device,
                                  at::ScalarType products) {
  const auto config = Config::of(checkpoint);
  if (const auto left = not_taken(config, checkpoint); !left.empty())
    throw Error(Exit::data, left, ": is it of ", config.num_hidden_layers,
                " layers, and is config.json of this model?");
  LanguageModel model(config, nn::load(parameter_shapes(config), checkpoint, device, products,
                                       only_multiplied, stored_name(checkpoint)));
  model.set_compute_dtype(products);
  return model;
}

void LanguageModel::assign(const io::Checkpoint& checkpoint) {
  if (const auto left = not_taken(config_, checkpoint); !left.empty())
    log::warning(left, ", which this model begins without");
  nn::assign(parameters_, checkpoint, stored_name(checkpoint));
}

Tensor LanguageModel::embed(const Tensor& ids) const {
  return at::embedding(embeddings_, ids, config_.pad_token_id.value_or(-1)).to(compute_);
}

Tensor LanguageModel::head(const Tensor& x) const {
  return nn::affine(nn::rms_norm(x, norm_, config_.norm_eps), output_embeddings());
}

template <class Mix>
Tensor LanguageModel::block(const Layer& layer, const Tensor& x, const Mix& mix) const {
  const auto h = x + mix(nn::rms_norm(x, layer.attn_norm, config_.norm_eps));
  const auto g = nn::rms_norm(h, layer.mlp_norm, config_.norm_eps);
  return h + nn::swiglu(g, layer.gate_proj, layer.up_proj, layer.down_proj);
}

Tensor LanguageModel::hidden(const Tensor& ids, const Tensor& documents, Reset reset) const {
  const bool cut = documents.defined() && reset != Reset::none;
  const auto rows =
      cut ? nn::cut_rows(documents, config_.lact_chunk_size,
                         reset == Reset::all && config_.use_fast_weights, ids.device())
          : nn::whole_rows(ids.size(0), ids.size(1), ids.device());
  const auto options = layer_options(config_, compute_);
  Tensor x = embed(ids);  // [B, L, d]
  for (size_t i = 0; i < depth(); ++i) {
    const auto run = [this, i, options, rows](const Tensor& in) {
      const auto layer = this->layer(i);
      return block(layer, in,
                   [&](const Tensor& y) { return nn::lact_layer(options, layer.mixing, y, rows); });
    };
    x = recompute_ ? nn::recompute(run, x) : run(x);
  }
  return x;
}

void LanguageModel::set_learn(const std::string& word) {
  ops::learn_from(word);
  config_.learn = word;
  config_.check("model");
}

double LanguageModel::write_strength(const Tensor& ids) const {
  const at::NoGradGuard no_grad;
  const auto options = layer_options(config_, compute_);
  const auto row = ids.slice(0, 0, 1).slice(1, 0, 2 * config_.lact_chunk_size);
  const auto rows = nn::whole_rows(1, row.size(1), row.device());
  Tensor x = embed(row);
  double sum = 0;
  for (size_t i = 0; i < depth(); ++i) {
    const auto layer = this->layer(i);
    x = block(layer, x, [&](const Tensor& y) {
      sum += nn::write_strength(options, layer.mixing, y);
      return nn::lact_layer(options, layer.mixing, y, rows);
    });
  }
  return sum / static_cast<double>(depth());
}

double LanguageModel::write_strength(uint64_t seed) const {
  const auto rank = at::arange(1, config_.vocab_size + 1, at::kDouble);
  const auto generator = at::detail::createCPUGenerator(seed);
  const auto ids = at::multinomial(rank.reciprocal(), 2 * config_.lact_chunk_size,
                                   /*replacement=*/true, generator);
  return write_strength(ids.unsqueeze(0).to(embeddings_.device()));
}

double LanguageModel::fresh_write_strength(Config config, uint64_t seed, at::Device device) {
  if (!config.use_fast_weights) return 0;
  config.num_hidden_layers = 1;
  config.intermediate_size = 8;
  config.vocab_size = 2048;
  return fresh(config, seed, device).write_strength(seed);
}

Tensor LanguageModel::forward(const Tensor& ids, const Tensor& documents, Reset reset) const {
  return head(hidden(ids, documents, reset));
}

Tensor LanguageModel::loss(const Tensor& ids, const Tensor& labels, const Tensor& documents,
                           Reset reset) const {
  const int64_t length = ids.size(1);
  const auto x = hidden(ids, documents, reset).slice(1, 0, length - 1);
  return nn::linear_cross_entropy(nn::rms_norm(x, norm_, config_.norm_eps).flatten(0, 1),
                                  output_embeddings(), labels.slice(1, 1, length).flatten());
}

LanguageModel::Stream LanguageModel::start(int64_t batch) const {
  const at::NoGradGuard no_grad;
  const auto options = layer_options(config_, compute_);
  Stream stream;
  for (const auto& layer : layers_)
    stream.layers.push_back(nn::start_stream(options, layer.mixing, batch));
  return stream;
}

Tensor LanguageModel::feed(Stream& stream, const Tensor& ids, bool all) const {
  const at::NoGradGuard no_grad;
  const auto options = layer_options(config_, compute_);
  Tensor x = embed(ids);  // [B, T, d]
  for (size_t i = 0; i < layers_.size(); ++i)
    x = block(layers_[i], x, [&](const Tensor& y) {
      return nn::lact_layer(options, layers_[i].mixing, y, stream.layers[i]);
    });
  stream.position += ids.size(1);
  return head(all ? x : x.slice(1, ids.size(1) - 1));
}

Tensor LanguageModel::feed(const std::vector<Stream*>& streams, const Tensor& ids) const {
  const at::NoGradGuard no_grad;
  const auto options = layer_options(config_, compute_);
  Tensor x = embed(ids);  // [B, 1, d]
  for (size_t i = 0; i < layers_.size(); ++i) {
    std::vector<nn::LactLayerStream*> layer;
    for (auto* stream : streams) layer.push_back(&stream->layers[i]);
    x = block(layers_[i], x, [&](const Tensor& y) {
      return nn::lact_layer(options, layers_[i].mixing, y, layer);
    });
  }
  for (auto* stream : streams) ++stream->position;
  return head(x);
}

namespace {

/// Every tensor of a layer's stream with its name, in one place for saving and restoring.
template <class Stream, class Visit>
void visit_layer(Stream& s, const Visit& visit) {
  const auto weights = [&](const std::string& name, auto& w) {
    visit(name + ".gate", w.gate);
    visit(name + ".up", w.up);
    visit(name + ".down", w.down);
  };
  weights("fast", s.fast.w);
  weights("main", s.fast.main);
  weights("momentum", s.fast.momentum);
  weights("norms", s.fast.norms);
}

template <class Chunk, class Visit>
void visit_open(Chunk& open, const Visit& visit) {
  visit("open.k", open.tokens.k);
  visit("open.v", open.tokens.v);
  visit("open.rate.gate", open.tokens.rate.gate);
  visit("open.rate.up", open.tokens.rate.up);
  visit("open.rate.down", open.tokens.rate.down);
  visit("open.momentum", open.tokens.momentum);
}

}  // namespace

void LanguageModel::save(const Stream& stream, io::State& state) const {
  state.set_count("tokens", stream.position);
  for (size_t i = 0; i < stream.layers.size(); ++i) {
    const auto& layer = stream.layers[i];
    const auto prefix = concat("layers.", i, ".");
    const auto put = [&](const std::string& name, const Tensor& x) {
      if (x.defined()) state.tensors[prefix + name] = x.detach().cpu().contiguous();
    };
    if (layer.window.size() > 0) {
      put("window.keys", layer.window.keys());
      put("window.values", layer.window.values());
    }
    if (!config_.use_fast_weights) continue;
    visit_layer(layer, [&](const std::string& name, const Tensor& x) {
      // Without pre-norm, main is w.
      if (config_.ttt_prenorm || name.rfind("main", 0) != 0) put(name, x);
    });
    if (layer.open.count > 0)
      visit_open(layer.open, [&](const std::string& name, const Tensor& x) {
        if (x.defined()) put(name, x.slice(1, 0, layer.open.count));
      });
  }
}

LanguageModel::Stream LanguageModel::restore(const io::State& state) const {
  const at::NoGradGuard no_grad;
  Stream stream = start(1);
  const auto options = layer_options(config_, compute_);
  const int64_t position = state.count("tokens");
  stream.position = position;

  const auto device = embeddings_.device();
  const int64_t heads = config_.num_attn_heads, width = config_.attn_head_width();
  const int64_t held =
      config_.window_size ? std::min(position, *config_.window_size - 1) : position;
  const int64_t open = config_.learn == "none" ? 0 : position % config_.lact_chunk_size;
  for (size_t i = 0; i < stream.layers.size(); ++i) {
    auto& layer = stream.layers[i];
    const auto prefix = concat("layers.", i, ".");
    const auto take = [&](const std::string& name, at::IntArrayRef shape,
                          std::optional<at::ScalarType> type = {}) {
      return state.tensor(prefix + name, shape, type).to(device);
    };
    layer.position = position;
    if (held > 0)
      layer.window.append(take("window.keys", {1, heads, held, width}, compute_),
                          take("window.values", {1, heads, held, width}, compute_),
                          config_.window_size);
    if (!config_.use_fast_weights) continue;
    visit_layer(layer, [&](const std::string& name, Tensor& x) {
      if (x.defined() && (config_.ttt_prenorm || name.rfind("main", 0) != 0))
        x = take(name, x.sizes());
    });
    if (!config_.ttt_prenorm) layer.fast.main = layer.fast.w;
    layer.open.count = open;
    if (open == 0) continue;
    const int64_t n = config_.num_lact_heads, m = config_.lr_dim;
    const auto shape = [&](const std::string& name) -> int64_t {
      if (name == "open.momentum") return 1;
      return name.rfind("open.rate", 0) == 0 ? m : config_.fast_width();
    };
    visit_open(layer.open, [&](const std::string& name, Tensor& x) {
      if (name == "open.momentum" && !options.rule.momentum) return;
      if (config_.linear() && (name == "open.rate.gate" || name == "open.rate.up")) return;
      const auto stored = take(name, {n, open, shape(name)});
      // Room for the whole chunk, as a stream that was never saved has.
      x = at::empty({n, config_.lact_chunk_size, shape(name)}, stored.options());
      x.slice(1, 0, open).copy_(stored);
    });
  }
  return stream;
}

}  // namespace lact::text
