#include "model.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>
#include <lact/nn/recompute.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lact::views {
namespace {

using at::Tensor;
using Kind = Sublayer::Kind;

/// Initial standard deviation (spec/views 4.5); ones where it is NaN.
double initial_deviation(const Config& c, const std::string& name, const nn::Shape& shape) {
  if (shape.size() == 1) return name.ends_with("bias") ? 0 : NAN;
  if (shape.size() == 3) return std::sqrt(2.0 / static_cast<double>(shape[1]));
  const auto residuals = static_cast<double>(c.layers * static_cast<int64_t>(c.block.size()));
  return name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(residuals) : 0.02;
}

Tensor initial_value(const Config& c, const std::string& name, const nn::Shape& shape,
                     const at::Generator& generator) {
  const double deviation = initial_deviation(c, name, shape);
  if (std::isnan(deviation)) return at::ones(shape, at::kFloat);
  if (deviation == 0) return at::zeros(shape, at::kFloat);
  return at::empty(shape, at::kFloat).normal_(0, deviation, generator);
}

/// One update on every context token, then all tokens are applied.
ops::Schedule update_then_apply(int64_t updated, int64_t all) {
  return {{{ops::Step::Kind::update, 0, updated}, {ops::Step::Kind::apply, 0, all}}, all, 0};
}

Posed slice(const Posed& views, int64_t begin, int64_t end) {
  return {views.images.defined() ? views.images.slice(0, begin, end) : Tensor(),
          views.intrinsics.slice(0, begin, end), views.poses.slice(0, begin, end)};
}

std::string block_name(size_t number) {
  return concat("blocks.", number, ".");
}

/// Cameras alone: what is to be rendered must not be looked at.
Posed unseen(const Posed& views) {
  return {{}, views.intrinsics, views.poses};
}

}  // namespace

ViewModel::ViewModel(const Config& config, Parameters parameters)
    : config_(config), parameters_(std::move(parameters)) {
  config_.check("model");
  input_linear_ = parameters_("input_linear.weight");
  input_norm_ = parameters_("input_layernorm.weight");
  output_norm_ = parameters_("image_token_decoder.0.weight");
  output_linear_ = parameters_("image_token_decoder.1.weight");
  for (int64_t i = 0; i < config.layers; ++i)
    layers_.push_back(layer_of(parameters_.under(block_name(static_cast<size_t>(i)))));
}

ViewModel::Layer ViewModel::layer_of(const Parameters& p) const {
  Layer layer;
  for (size_t j = 0; j < config_.block.size(); ++j)
    layer.push_back(p.under(concat("module_list.", j, ".")));
  return layer;
}

ViewModel::Layer ViewModel::layer(size_t number) const {
  return shards_.empty()
             ? layers_[number]
             : layer_of(Parameters(shards_[number]->gathered()).under(block_name(number)));
}

dist::Shards ViewModel::shard(const dist::Group& group) {
  shards_ = nn::shard(parameters_, layers_.size(), block_name, group);
  layers_.clear();
  return shards_;
}

ViewModel ViewModel::fresh(const Config& config, uint64_t seed, at::Device device) {
  const auto value = [&](const std::string& name, const nn::Shape& shape, const auto& generator) {
    return initial_value(config, name, shape, generator);
  };
  return {config, nn::fresh(parameter_shapes(config), seed, device, value)};
}

ViewModel ViewModel::load(const io::Checkpoint& checkpoint, at::Device device,
                          at::ScalarType products) {
  const auto config = Config::of(checkpoint);
  const auto only_multiplied = [](const std::string& name, const nn::Shape& shape) {
    return shape.size() == 2 && !name.ends_with("lr_fc.weight");
  };
  ViewModel model(
      config, nn::load(parameter_shapes(config), checkpoint, device, products, only_multiplied));
  model.set_compute_dtype(products);
  return model;
}

void ViewModel::assign(const io::Checkpoint& checkpoint) {
  nn::assign(parameters_, checkpoint);
}

void ViewModel::set_learn(const std::string& word) {
  ops::learn_from(word);
  config_.learn = word;
}

void ViewModel::whiten_input(const Posed& views) {
  const at::NoGradGuard no_grad;
  constexpr int64_t kChannels = 12;
  constexpr double kLeast = 1e-3;  // of a second moment: what hardly varies is not blown up
  const auto pixels = pixel_features(views, views.images.size(-2), views.images.size(-1));
  const int64_t p = config_.patch_size;
  const auto flat = pixels.flatten(0, -4).to(at::kDouble).permute({0, 3, 1, 2});  // [V, 12, h, w]
  const auto means = at::avg_pool2d(flat, {p, p}).permute({0, 2, 3, 1}).reshape({-1, kChannels});
  const auto moments = at::matmul(means.t(), means) / static_cast<double>(means.size(0));
  const auto [values, vectors] = at::linalg_eigh(moments);
  const auto inverse = at::matmul(vectors * (values + kLeast).rsqrt(), vectors.t());
  auto weight = input_linear_;
  weight.copy_(at::matmul(weight.to(at::kCPU, at::kDouble).unflatten(1, {-1, kChannels}), inverse)
                   .flatten(1));
}

at::Device ViewModel::device() const {
  return input_linear_.device();
}

int64_t ViewModel::tokens_per_view(int64_t height, int64_t width) const {
  const int64_t p = config_.patch_size;
  if (height < 1 || width < 1 || height % p != 0 || width % p != 0)
    throw Error(Exit::usage, "images of ", width, " x ", height,
                " do not fit the model: both must be multiples of its patch, ", p);
  return height / p * (width / p);
}

Tensor ViewModel::embed(const Posed& views, int64_t height, int64_t width) const {
  const auto there = [&](const Tensor& x) { return x.defined() ? x.to(device()) : x; };
  const auto tokens = patches({there(views.images), there(views.intrinsics), there(views.poses)},
                              height, width, config_.patch_size);
  const auto x = nn::affine(tokens.to(compute_), input_linear_);
  return layer_norm(residual(x), input_norm_);
}

Tensor ViewModel::residual(const Tensor& x) const {
  return compute_ == at::kDouble ? x.to(at::kDouble) : x.to(at::kFloat);
}

Tensor ViewModel::decode(const Tensor& x, int64_t height, int64_t width) const {
  const auto tokens =
      nn::affine(layer_norm(x, output_norm_).to(compute_), output_linear_);  // [..., l, 3 p^2]
  return unpatch(at::sigmoid(residual(tokens)), height, width, config_.patch_size);
}

Tensor ViewModel::forward(const Posed& context, const Posed& targets,
                          std::map<std::string, Tensor>* taps,
                          const ops::ScanOptions& options) const {
  const auto tap = [&](const std::string& name, const Tensor& x) {
    if (taps != nullptr) (*taps)[name] = x;
  };
  const int64_t height = context.images.size(-2), width = context.images.size(-1);
  const int64_t l = tokens_per_view(height, width), seen = context.images.size(1) * l;
  const int64_t count = targets.poses.size(1);
  Tensor x = at::cat({embed(context, height, width), embed(unseen(targets), height, width)}, 1);
  tap("tokens", x);
  const auto plan = update_then_apply(seen, x.size(1));
  for (size_t i = 0; i < depth(); ++i) {
    const auto run = [this, i, l, plan, options](const Tensor& in) {
      return block(config_, layer(i), in, l, plan, nullptr, compute_, options);
    };
    x = recompute_ ? nn::recompute(run, x) : run(x);
    tap(concat("block.", i), x);
  }
  return decode(x.slice(1, seen).unflatten(1, {count, l}), height, width);
}

double ViewModel::write_strength(const Posed& context, const Posed& targets) const {
  const at::NoGradGuard no_grad;
  const int64_t height = context.images.size(-2), width = context.images.size(-1);
  const int64_t l = tokens_per_view(height, width), seen = context.images.size(1) * l;
  Tensor x = at::cat({embed(context, height, width), embed(unseen(targets), height, width)}, 1);
  const auto plan = update_then_apply(seen, x.size(1));
  std::vector<double> strengths;
  for (size_t i = 0; i < depth(); ++i)
    x = block(config_, layer(i), x, l, plan, nullptr, compute_, {}, &strengths);
  const auto sum = std::accumulate(strengths.begin(), strengths.end(), 0.0);
  return strengths.empty() ? 0 : sum / static_cast<double>(strengths.size());
}

SceneWeights ViewModel::start() const {
  const at::NoGradGuard no_grad;
  SceneWeights all;
  for (const auto& layer : layers_)
    for (size_t j = 0; j < layer.size(); ++j)
      if (config_.block[j].kind == Kind::fast_weights) all.push_back(initial_weights(layer[j], 1));
  return all;
}

/// Fast weights of a scene, with the norms of those that nothing has been read into.
ops::FastState ViewModel::state_of(const Sublayer& s, const Parameters& p,
                                   const ops::FastWeights& w) const {
  auto state = ops::initial_state(initial_weights(p, 1), rule(config_, s, compute_));
  state.w = state.main = w;
  return state;
}

void ViewModel::update_and_apply(const Sublayer& s, const Parameters& p, Tensor& x, int64_t step,
                                 ops::FastWeights& w, const std::function<void(int64_t)>& passed,
                                 const ops::ScanOptions& options) const {
  const auto tile = [&](int64_t begin) { return x.slice(1, begin, begin + step); };
  const auto normed = [&](int64_t begin) { return layer_norm(tile(begin), p("ln.weight")); };
  ops::FastWeights sum;
  // In float32 or better, however many tiles there are.
  const auto add_up = [&](Tensor& to, const Tensor& one) {
    if (one.defined()) to = to.defined() ? to + one : residual(one);
  };
  const bool learns = config_.learn != "none";
  // Without any view it is a sum of nothing, which others add to.
  for (int64_t begin = 0; learns && (begin == 0 || begin < x.size(1)); begin += step) {
    const auto one = delta(config_, s, p, normed(begin), w, compute_);
    add_up(sum.gate, one.gate);
    add_up(sum.up, one.up);
    add_up(sum.down, one.down);
    passed(tile(begin).size(1));
  }
  if (learns && options.exchange) {
    std::vector<Tensor> parts;
    for (const auto& part : {sum.gate, sum.up, sum.down})
      if (part.defined()) parts.push_back(part);
    options.exchange(parts);
  }
  if (learns) w = ops::step(state_of(s, p, w), sum, {}, rule(config_, s, compute_)).w;
  for (int64_t begin = 0; begin < x.size(1); begin += step) {
    tile(begin) += apply(config_, s, p, normed(begin), w, compute_);
    passed(tile(begin).size(1));
  }
}

void ViewModel::add(const Sublayer& s, const Parameters& p, Tensor& x, int64_t step,
                    int64_t tokens_per_view, const std::function<void(int64_t)>& passed) const {
  for (int64_t begin = 0; begin < x.size(1); begin += step) {
    auto tile = x.slice(1, begin, begin + step);
    const auto y = layer_norm(tile, p("ln.weight"));
    if (s.kind == Kind::mlp)
      tile += mlp(p, y, compute_);
    else
      tile +=
          attention(s, p, y.view({-1, tokens_per_view, y.size(2)}), compute_).view(tile.sizes());
    passed(tile.size(1));
  }
}

SceneWeights ViewModel::reconstruct(const Posed& views, const SceneWeights& from,
                                    const std::function<void(int64_t)>& progress,
                                    const ops::ScanOptions& options) const {
  const at::NoGradGuard no_grad;
  const int64_t height = views.images.size(-2), width = views.images.size(-1);
  const int64_t l = tokens_per_view(height, width), count = views.poses.size(0);
  const int64_t group = std::max<int64_t>(1, tile_ / l), step = group * l;
  Tensor x = at::empty(
      {1, count * l, config_.dim},
      at::TensorOptions(device()).dtype(compute_ == at::kDouble ? at::kDouble : at::kFloat));
  // A layer passes over a token once a sublayer, and twice where it updates first.
  const auto updates = std::count_if(
      config_.block.begin(), config_.block.end(),
      [&](const auto& s) { return s.kind == Kind::fast_weights && config_.learn != "none"; });
  const auto passes = static_cast<int64_t>(config_.block.size()) + updates;
  int64_t done = 0;
  const auto passed = [&](int64_t tokens) {
    done += tokens;
    if (progress) progress(done / passes);
  };
  for (int64_t begin = 0; begin < count; begin += group) {
    const int64_t end = std::min(begin + group, count);
    x.select(0, 0).slice(0, begin * l, end * l) = embed(slice(views, begin, end), height, width);
    passed(0);
  }
  SceneWeights scene = from;
  size_t fast = 0;
  for (const auto& layer : layers_)
    for (size_t j = 0; j < config_.block.size(); ++j) {
      const auto& s = config_.block[j];
      if (s.kind == Kind::fast_weights)
        update_and_apply(s, layer[j], x, step, scene.at(fast++), passed, options);
      else
        add(s, layer[j], x, step, l, passed);
    }
  return scene;
}

Tensor ViewModel::render(const Posed& views, const SceneWeights& scene, int64_t height,
                         int64_t width) const {
  const at::NoGradGuard no_grad;
  const int64_t l = tokens_per_view(height, width), count = views.poses.size(0);
  const int64_t group = std::max<int64_t>(1, tile_ / l);
  std::vector<Tensor> rendered;
  for (int64_t begin = 0; begin < count; begin += group) {
    const int64_t end = std::min(begin + group, count);
    Tensor x = embed(unseen(slice(views, begin, end)), height, width).unsqueeze(0);
    size_t fast = 0;
    for (const auto& layer : layers_)
      for (size_t j = 0; j < config_.block.size(); ++j) {
        const auto& s = config_.block[j];
        if (s.kind != Kind::fast_weights) {
          add(s, layer[j], x, l * group, l, [](int64_t) {});
          continue;
        }
        const auto y = layer_norm(x, layer[j]("ln.weight"));
        x = x + apply(config_, s, layer[j], y, scene.at(fast++), compute_);
      }
    rendered.push_back(decode(x.select(0, 0).unflatten(0, {end - begin, l}), height, width));
  }
  return at::cat(rendered, 0);
}

}  // namespace lact::views
