#include "model.hpp"

#include "rotation.hpp"

#include <lact/error.hpp>
#include <lact/nn/functional.hpp>
#include <lact/nn/recompute.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace lact::video {
namespace {

using at::Tensor;

std::string block_name(size_t number) {
  return concat("blocks.", number, ".");
}

/// What a plan of entries means to the layers. Errors: 70 for one that make_plan does not make
Sequence sequence_of(const std::vector<Entry>& plan, int64_t tokens) {
  const auto lead = std::find_if(plan.begin(), plan.end(), [](const Entry& e) { return e.clean; });
  Sequence s;
  s.lead = s.repeats = lead - plan.begin();
  s.groups = plan.empty() ? 0 : plan.back().chunk;
  s.tokens = tokens;
  if (plan.empty() || plan != make_plan(s.groups + 1, s.repeats))
    throw Error(Exit::internal, "video: a plan of ", plan.size(), " entries in another order");
  return s;
}

}  // namespace

VideoModel::VideoModel(const Config& config, Parameters parameters)
    : config_(config), parameters_(std::move(parameters)) {
  config_.check("model");
  for (int64_t i = 0; i < config.num_layers; ++i)
    blocks_.emplace_back(parameters_.under(block_name(static_cast<size_t>(i))));
}

BlockParameters VideoModel::parameters_of(size_t number) const {
  return shards_.empty()
             ? blocks_[number]
             : BlockParameters(Parameters(shards_[number]->gathered()).under(block_name(number)));
}

dist::Shards VideoModel::shard(const dist::Group& group) {
  shards_ = nn::shard(parameters_, blocks_.size(), block_name, group);
  blocks_.clear();
  return shards_;
}

void VideoModel::assign(const io::Checkpoint& checkpoint) {
  nn::assign(parameters_, checkpoint);
}

at::Device VideoModel::device() const {
  return parameters_("patch_embedding.weight").device();
}

at::ScalarType VideoModel::wide() const {
  return compute_ == at::kDouble ? at::kDouble : at::kFloat;
}

Tensor VideoModel::condition_table() const {
  return parameters_.find("condition.table");
}

int64_t VideoModel::chunk_tokens(int64_t h, int64_t w) const {
  const auto& patch = config_.patch_size;
  if (h < 1 || w < 1 || h % patch[1] != 0 || w % patch[2] != 0)
    throw Error(Exit::usage, "latents of ", w, " x ", h, " do not fit the model: they must be ",
                "multiples of its patch, ", patch[2], " x ", patch[1]);
  return config_.chunk_frames / patch[0] * (h / patch[1]) * (w / patch[2]);
}

/// Cosines, then sines of t at freq_dim / 2 frequencies, made in float64.
Tensor VideoModel::time_features(const Tensor& t) const {
  const auto options = t.options().dtype(at::kDouble);
  const int64_t half = config_.freq_dim / 2;
  const auto frequency = at::pow(10000.0, at::arange(half, options) / -static_cast<double>(half));
  const auto angle = t.to(at::kDouble).unsqueeze(1) * frequency;
  return at::cat({angle.cos(), angle.sin()}, 1).to(wide());
}

/// Patches to tokens: x [N, c, f, h, w] -> [N, n, d], or those of this process.
Tensor VideoModel::embed(const Tensor& x, const Pass& pass) const {
  const auto& patch = config_.patch_size;
  const auto &weight = parameters_("patch_embedding.weight"),
             &bias = parameters_("patch_embedding.bias");
  auto patches = x.unflatten(4, {-1, patch[2]})
                     .unflatten(3, {-1, patch[1]})
                     .unflatten(2, {-1, patch[0]})
                     .permute({0, 2, 4, 6, 1, 3, 5, 7})
                     .flatten(4)
                     .flatten(1, 3);  // [N, n, c p q r]
  if (const auto* sharing = pass.sharing)
    patches = patches.chunk(sharing->size(), 1)[static_cast<size_t>(sharing->rank())];
  return nn::affine(patches.to(compute_), weight.flatten(1), bias).to(wide());
}

/// x [B, E n, d], e [B, E, d] -> [B * E, c, f, h, w] of that shape; zeros for tokens of others.
Tensor VideoModel::head(const Tensor& x, const Tensor& e, at::IntArrayRef shape,
                        const Pass& pass) const {
  const auto row = (parameters_("head.modulation") + e.unsqueeze(2)).split(1, 2);
  auto y = nn::affine(modulated(x, row[0], row[1], config_.eps).to(compute_),
                      parameters_("head.head.weight"), parameters_("head.head.bias"))
               .to(wide());
  if (const auto* sharing = pass.sharing) {
    const int64_t own = pass.own().tokens, before = own * sharing->rank();
    y = at::constant_pad_nd(y.view({shape[0], own, -1}),
                            {0, 0, before, pass.sequence.tokens - before - own});
  }
  const auto& [p, q, r] = config_.patch_size;
  const int64_t f = shape[2] / p, h = shape[3] / q, w = shape[4] / r;
  return y.reshape({shape[0], f, h, w, p, q, r, config_.out_dim})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .reshape({shape[0], config_.out_dim, shape[2], shape[3], shape[4]});
}

Tensor VideoModel::context(const Tensor& text) const {
  if (text.dim() != 3 || text.size(1) > config_.text_len || text.size(2) != config_.text_dim)
    throw Error(Exit::internal, "video: a prompt of ", text.sizes(), " does not fit the model");
  // A model that is told nothing sees zeros alone.
  const auto said = config_.condition == "none" ? text.slice(1, 0, 0) : text;
  const bool padded = said.size(1) < config_.text_len;
  const auto in = padded ? at::constant_pad_nd(said, {0, 0, 0, 1}) : said;
  const auto& p = parameters_;
  const auto hidden =
      nn::affine(in.to(compute_), p("text_embedding.0.weight"), p("text_embedding.0.bias"));
  return nn::affine(at::gelu(hidden, "tanh"), p("text_embedding.2.weight"),
                    p("text_embedding.2.bias"));
}

Pass VideoModel::pass_of(const Sequence& sequence, const Tensor& frames, int64_t h,
                         int64_t w) const {
  const int64_t own = frames.size(0) / sequence.entries();
  const auto table = [&](const Tensor& positions) {
    return turns(rotary_3d(config_.head_dim(), positions, h, w), wide(), device());
  };
  return {sequence, table(frames), table(at::arange(own, at::kLong)), compute_, running_norm_};
}

VideoModel::Output VideoModel::run(const Tensor& x, const Tensor& features, const Tensor& context,
                                   const Pass& pass, const Memory* memory, bool velocity) const {
  const int64_t batch = context.size(0), entries = pass.sequence.entries();
  if (x.dim() != 5 || x.size(0) != batch * entries || x.size(1) != config_.in_dim)
    throw Error(Exit::internal, "video: latents ", x.sizes(), ": expected [", batch * entries, ", ",
                config_.in_dim, ", frames, height, width]");
  const auto linear = [&](const Tensor& in, const std::string& name) {
    return nn::affine(in, parameters_(name + ".weight"), parameters_(name + ".bias"));
  };
  const auto e = linear(at::silu(linear(features, "time_embedding.0")), "time_embedding.2");
  const auto e6 = linear(at::silu(e), "time_projection.1").view({batch, entries, 6, config_.dim});
  const int64_t padding = config_.text_len - context.size(1) + 1;
  auto tokens = embed(x, pass).view({batch, -1, config_.dim});
  Output result;
  if (memory != nullptr) result.layers.resize(depth());
  for (size_t i = 0; i < depth(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const auto* before = memory != nullptr ? &memory->layers[i] : nullptr;
    if (!velocity && i + 1 == depth()) {
      if (config_.has_fast(index))
        result.layers[i] = next_memory(config_, parameters_of(i), tokens, e6, pass, *before);
      return result;
    }
    const auto apply = [this, i, index, padding, pass, before](const std::vector<Tensor>& in) {
      return block(config_, parameters_of(i), index, in[0], in[1], in[2], padding, pass, before);
    };
    const std::vector<Tensor> in{tokens, e6, context};
    if (recompute_ && memory == nullptr) {
      tokens = nn::recompute([apply](const std::vector<Tensor>& y) { return apply(y).out; }, in);
    } else {
      auto done = apply(in);
      tokens = done.out;
      if (memory != nullptr) result.layers[i] = std::move(done.memory);
    }
  }
  result.velocity = head(tokens, e.view({batch, entries, config_.dim}), x.sizes(), pass);
  return result;
}

Tensor VideoModel::forward(const Tensor& x, const Tensor& t, const Tensor& text,
                           const std::vector<Entry>& plan, int64_t batch,
                           std::map<std::string, Tensor>* taps, const dist::Group* sharing) const {
  const auto& patch = config_.patch_size;
  const int64_t f = x.size(2) / patch[0], h = x.size(3) / patch[1], w = x.size(4) / patch[2];
  const auto features = time_features(t);
  if (taps != nullptr) (*taps)["time_features"] = features;
  if (text.size(0) != batch || t.size(0) != x.size(0))
    throw Error(Exit::internal, "video: ", text.size(0), " prompts and ", t.size(0), " times for ",
                batch, " videos and ", x.size(0), " entries");
  auto pass = pass_of(sequence_of(plan, f * h * w), plan_frames(plan, f), h, w);
  pass.sharing = sharing;
  std::vector<double> strengths;
  if (taps != nullptr) pass.strengths = &strengths;
  const auto out = run(x, features, context(text), pass, nullptr, /*velocity=*/true).velocity;
  if (!strengths.empty()) (*taps)["write_strength"] = at::tensor(strengths, at::kDouble).mean();
  return out;
}

Memory VideoModel::start(int64_t batch) const {
  const at::NoGradGuard no_grad;
  Memory memory;
  memory.layers.resize(blocks_.size());
  for (size_t i = 0; i < blocks_.size(); ++i)
    if (config_.has_fast(static_cast<int64_t>(i)))
      memory.layers[i].fast =
          ops::initial_state(initial_weights(blocks_[i].self, batch), rule(config_, compute_));
  return memory;
}

namespace {

/// Frames of the chunk after those that are finished.
Tensor next_frames(const Memory& memory, int64_t frames) {
  return at::arange(memory.chunks * frames, (memory.chunks + 1) * frames, at::kLong);
}

}  // namespace

Memory VideoModel::append(const Memory& memory, const Tensor& x, const Tensor& context) const {
  const at::NoGradGuard no_grad;
  const auto& patch = config_.patch_size;
  const int64_t f = x.size(2) / patch[0], h = x.size(3) / patch[1], w = x.size(4) / patch[2];
  const auto pass = pass_of({0, 1, 0, f * h * w}, next_frames(memory, f), h, w);
  const auto none = at::full({x.size(0)}, 0, x.options().dtype(at::kDouble));
  auto done = run(x, time_features(none), context, pass, &memory, /*velocity=*/false);
  return {memory.chunks + 1, std::move(done.layers)};
}

Tensor VideoModel::velocity(const Memory& memory, const Tensor& x, double t,
                            const Tensor& context) const {
  const at::NoGradGuard no_grad;
  const auto& patch = config_.patch_size;
  const int64_t f = x.size(2) / patch[0], h = x.size(3) / patch[1], w = x.size(4) / patch[2];
  const auto pass = pass_of({1, 0, 0, f * h * w}, next_frames(memory, f), h, w);
  const auto times = at::full({x.size(0)}, t, x.options().dtype(at::kDouble));
  return run(x, time_features(times), context, pass, &memory, /*velocity=*/true).velocity;
}

}  // namespace lact::video
