// Golden kinds and checks of the transformer: positions, masks, layers, training, inference.
#include "golden.hpp"

#include <plugins/video/film/film.hpp>
#include <plugins/video/model/fast_layer.hpp>
#include <plugins/video/model/model.hpp>
#include <plugins/video/model/rotation.hpp>
#include <plugins/video/train/flow.hpp>

#include <lact/verify/golden.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

namespace lact::video {
namespace {

using at::Tensor;
using verify::Computed;
using verify::Dim;
using verify::Golden;

constexpr int64_t kMost = 4096;  // of a size that a case states

std::pair<int64_t, int64_t> grid_of(const Golden& file) {
  const auto& grid = file.option("grid");
  if (!grid.is_array() || grid.size() != 2 || !grid[0].is_number_integer() ||
      !grid[1].is_number_integer() || grid[0] < 1 || grid[1] < 1 || grid[0] > kMost ||
      grid[1] > kMost)
    file.refuse("case: grid: expected rows and columns, found ", grid.dump());
  return {grid[0].get<int64_t>(), grid[1].get<int64_t>()};
}

/// "out.plan_chunk", "out.plan_clean" with that ending.
void put(Computed& out, const std::vector<Entry>& plan, const std::string& ending) {
  std::vector<int64_t> chunk, clean;
  for (const auto& entry : plan) {
    chunk.push_back(entry.chunk);
    clean.push_back(entry.clean);
  }
  out["out.plan_chunk" + ending] = at::tensor(chunk, at::kLong);
  out["out.plan_clean" + ending] = at::tensor(clean, at::kLong);
}

// --- positions and masks -------------------------------------------------------------------------

Computed rope3d(Golden& file) {
  const auto [h, w] = grid_of(file);
  const auto f = file.integer("frames", 1, kMost), chunks = file.integer("chunks", 1, kMost),
             first = file.integer("first_frame", f, int64_t{1} << 20);
  Dim one("1", 1), L("L"), A("heads"), D("head_dim", file.integer("head_dim", 2, kMost));
  const auto x = file.input("in.x", {one, L, A, D});
  const std::map<std::string, Tensor> positions = {
      {"plain", at::arange(f, at::kLong)},
      {"repeat1", plan_frames(make_plan(chunks, 1), f)},
      {"repeat2", plan_frames(make_plan(chunks, 2), f)},
      {"inference", at::arange(first - f, first + f, at::kLong)}};
  Computed out;
  for (const auto& [name, frames] : positions) {
    if (frames.size(0) * h * w > L.size) file.refuse("tensor in.x: too short for ", name);
    const auto table = rotary_3d(D.size, frames.to(x.device()), h, w);
    out["out.frames_" + name] = frames;
    out["out.y_" + name] = rotate_pairs(x, table);
    if (name == "plain") out["out.angles_plain"] = rotary_angles(D.size, frames, h, w);
  }
  return out;
}

Computed window_masks(Golden& file) {
  Computed out;
  const auto& cases = file.option("cases");
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto size = [&](const char* key) {
      const auto found = cases[i].find(key);
      if (found == cases[i].end() || !found->is_number_integer() || *found < 1 || *found > 64)
        file.refuse("case: cases: ", key, ": expected 1 to 64");
      return found->get<int64_t>();
    };
    const auto plan = make_plan(size("chunks"), size("repeats"));
    out[concat("out.mask", i)] =
        window_mask(plan, size("tokens_per_chunk"), size("kv_cache_size")).to(at::kByte);
    put(out, plan, std::to_string(i));
  }
  return out;
}

// --- layers and models ---------------------------------------------------------------------------

/// A config from the arguments of the reference program.
Config config_of(const Golden& file, nlohmann::json values, const nlohmann::json& layer) {
  if (!layer.is_null()) values["efficient_attn_config"] = layer;
  values.erase("attn");
  values["condition"] = "umt5";  // its prompts are looked at
  return Config::from_json(values, file.name() + ": case: config");
}

Computed ar_layer(Golden& file) {
  auto layer = file.option("options");
  if (!layer.is_object()) file.refuse("case: options: expected a JSON object");
  layer["kv_cache_size"] = file.integer("kv_cache_size", -1, kMost);
  const auto f = file.integer("frames", 1, kMost);
  const auto c = config_of(file,
                           {{"dim", file.integer("dim", 1, kMost)},
                            {"num_heads", file.integer("num_heads", 1, kMost)},
                            {"eps", file.number("eps")},
                            {"num_layers", 1},
                            {"chunk_frames", f}},
                           layer);
  io::NamedTensors parameters;
  const std::string start = "blocks.0.self_attn.";
  for (const auto& [name, shape] : parameter_shapes(c))
    if (name.rfind(start, 0) == 0) {
      const auto own = name.substr(start.size());
      parameters.emplace_back(own, file.input("param." + own, shape));
    }
  const auto [h, w] = grid_of(file);
  const auto chunks = file.integer("chunks", 1, kMost), repeats = file.integer("repeats", 1, kMost),
             batch = file.integer("batch", 1, kMost);
  const auto plan = make_plan(chunks, repeats);
  Dim entries("B E", batch * static_cast<int64_t>(plan.size())), n("n", f * h * w), d("dim", c.dim);
  const auto x = file.input("in.x", {entries, n, d});
  const auto type = x.scalar_type();
  const auto frames = plan_frames(plan, f).to(x.device());
  const Pass pass{{repeats, chunks - 1, repeats, n.size},
                  turns(rotary_3d(c.head_dim(), frames, h, w), type, x.device()),
                  {},
                  file.settings().dtype};
  const auto y = fast_layer(c, Parameters(parameters), x.view({batch, -1, c.dim}), pass, nullptr)
                     .out.reshape(x.sizes());
  Computed out{{"out.y", y}};
  file.gradients((y * file.probe("in.dy", {entries, n, d})).sum(), out);
  return out;
}

VideoModel model_of(Golden& file) {
  auto values = file.option("config");
  if (values.is_object()) values["chunk_frames"] = file.integer("frames", 1, kMost);
  const auto layer =
      values.is_object() && values.contains("attn") ? values["attn"] : nlohmann::json();
  const auto config = config_of(file, values, layer);
  VideoModel model(config, file.parameters(parameter_shapes(config), "param."));
  model.set_compute_dtype(file.settings().dtype);
  return model;
}

/// What a case of a whole network is made from.
struct Given {
  Tensor latent, noise, u, context;
  int64_t chunks, repeats, frames, batch;
};

Given film_of(Golden& file, const Config& config) {
  Given film;
  film.chunks = file.integer("chunks", 1, kMost);
  film.frames = file.integer("frames", 1, kMost);
  Dim B("B"), F("frames of the film", film.chunks * film.frames), c("in_dim", config.in_dim),
      h("h"), w("w"), r("r"), C("chunks", film.chunks), f("frames", film.frames), T("T"),
      text("text_dim", config.text_dim);
  film.latent = file.input("in.latent", {B, F, c, h, w}).detach();
  film.noise = file.input("in.noise", {B, r, C, f, c, h, w}).detach();
  film.u = file.input("in.u", {B, r, C}).detach();
  film.context = file.input("in.context", {B, T, text}).detach();
  film.repeats = r.size;
  film.batch = B.size;
  return film;
}

Computed dit_train(Golden& file) {
  const auto model = model_of(file);
  const auto film = film_of(file, model.config());
  const auto flow =
      make_flow_batch(film.latent, film.noise, film.u, file.number("shift"), film.frames);
  std::map<std::string, Tensor> taps;
  const auto velocity =
      model.forward(flow.entries, flow.timesteps, film.context, flow.plan, film.batch, &taps);
  const auto loss = flow_loss(noisy_outputs(velocity, flow.plan, film.batch, film.repeats),
                              flow.target, flow.weight);
  Computed out{{"mid.entries", flow.entries},
               {"mid.timesteps", flow.timesteps},
               {"out.pred", velocity},
               {"out.loss", loss}};
  for (const auto& [name, tap] : taps) out["mid." + name] = tap;
  file.gradients(loss, out);
  return out;
}

/// Chunk by chunk: what the noisy ones' velocities are, and the memory after the last update.
Tensor chunkwise(const VideoModel& model, const Tensor& clean, const Tensor& noisy, const Tensor& t,
                 const Tensor& text, Memory& memory) {
  std::vector<Tensor> all;
  const auto context = model.context(text);
  for (int64_t c = 0; c < noisy.size(1); ++c) {
    if (c > 0) memory = model.append(memory, clean.select(1, c - 1), context);
    all.push_back(model.velocity(memory, noisy.select(1, c), t[0][c].item<double>(), context));
  }
  return at::stack(all, 1);  // [B, chunks, c, f, h, w]
}

/// The noisy entries' velocities under teacher forcing, [B, chunks, c, f, h, w].
Tensor teacher_forced(const VideoModel& model, const Tensor& clean, const Tensor& noisy,
                      const Tensor& t, const Tensor& text) {
  const int64_t batch = noisy.size(0);
  const auto plan = make_plan(noisy.size(1));
  std::vector<Tensor> entries, times;
  for (const auto& entry : plan) {
    entries.push_back((entry.clean ? clean : noisy).select(1, entry.chunk));
    times.push_back(entry.clean ? t.select(1, 0) * 0 : t.select(1, entry.chunk));
  }
  const auto velocity = model.forward(at::stack(entries, 1).flatten(0, 1),
                                      at::stack(times, 1).flatten(), text, plan, batch);
  return velocity.unflatten(0, {batch, -1}).slice(1, 0, {}, 2);
}

Computed inference(Golden& file) {
  const at::NoGradGuard no_grad;
  auto model = model_of(file);
  const auto film = film_of(file, model.config());
  if (film.batch != 1 || film.repeats != 1) file.refuse("tensor in.u: expected one row");
  const auto negative = file.input("in.context_neg", film.context.sizes().vec()).detach();
  const auto clean = film.latent.unflatten(1, {film.chunks, film.frames}).transpose(2, 3);
  const auto noisy = film.noise.select(1, 0).transpose(2, 3);  // [1, chunks, c, f, h, w]
  const auto t = 1000 * film.u.select(1, 0);
  Computed out;
  out["out.teacher_forced"] = teacher_forced(model, clean, noisy, t, film.context)[0];
  auto memory = model.start(1);
  out["out.chunkwise"] = chunkwise(model, clean, noisy, t, film.context, memory)[0];
  for (size_t i = 0; i < memory.layers.size(); ++i) {
    const auto& layer = memory.layers[i];
    if (!layer.keys.defined()) continue;
    const auto name = concat("out.state.", i, ".");
    out[name + "w0"] = layer.fast.w.gate;
    out[name + "w1"] = layer.fast.w.down;
    out[name + "w2"] = layer.fast.w.up;
    out[name + "k"] = layer.keys.transpose(1, 2);
    out[name + "v"] = layer.values.transpose(1, 2);
  }
  FilmOptions options;
  options.sampler = "unipc";
  options.steps = file.integer("unipc_steps", 1, 1000);
  options.shift = file.number("shift");
  options.guidance = file.number("guidance");
  const auto noise = film.noise.flatten(1, 3);  // [1, f, c, h, w]
  const auto made = [&] {
    return rollout(model, noise, film.context, negative, options)[0].transpose(0, 1);
  };
  out["out.rollout"] = made();
  model.set_running_norm(true);
  out["out.rollout_running_norm"] = made();
  auto other = model.start(1);
  out["out.chunkwise_running_norm"] = chunkwise(model, clean, noisy, t, film.context, other)[0];
  return out;
}

/// Plain Wan, whose weights lie beside the case, under both namings.
Computed wan_transformer(Golden& file) {
  const at::NoGradGuard no_grad;
  Dim B("B"), c("c"), f("f"), h("h"), w("w"), T("T"), text("text");
  const auto x = file.input("in.x", {B, c, f, h, w}),
             context = file.input("in.context", {B, T, text});
  const auto t = file.integers("in.t", {B}, 0, 1000);
  Computed out;
  for (const auto* name : {"wan_tiny_official.safetensors", "wan_tiny_diffusers.safetensors"}) {
    const auto path = file.file().path().parent_path() / name;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    const auto checkpoint = io::Checkpoint::open(path);
    auto config = Config::of(checkpoint);
    config.condition = "umt5";
    config.text_len = T.size;  // diffusers' does not say it: prompts come padded
    if (config.in_dim != c.size || config.text_dim != text.size ||
        h.size % config.patch_size[1] != 0 || w.size % config.patch_size[2] != 0 ||
        f.size % config.patch_size[0] != 0)
      file.refuse("tensors in.x, in.context do not fit ", name);
    const auto type = file.settings().dtype;
    const auto model = VideoModel::load(config, checkpoint, file.settings().device, type);
    // Each of the batch is a video of one entry.
    const auto velocity = model.forward(x, t, context, make_plan(1), B.size);
    const auto before = out.find("out.velocity");
    if (before != out.end() && !before->second.equal(velocity))
      file.refuse("out.velocity: ", name, " gives other numbers than the official names");
    out["out.velocity"] = velocity;
  }
  return out;
}

// --- checks --------------------------------------------------------------------------------------

/// A small model in float64 and a film of 4 chunks for it.
struct Small {
  VideoModel model;
  Tensor clean, noisy, t, text;

  explicit Small(const verify::Settings& settings)
      : model(VideoModel::fresh(config(), 5, settings.device)) {
    for (auto& [name, parameter] : model.parameters()) {
      auto value = parameter.to(at::kDouble);
      if (name == "head.head.weight") value = waves(value.sizes(), 2.1).to(value.device());
      parameter.set_data(value);
    }
    model.set_compute_dtype(at::kDouble);
    const auto there = [&](const Tensor& x) { return x.to(settings.device); };
    clean = there(waves({2, 4, 3, 2, 4, 4}, 1.3));
    noisy = there(waves({2, 4, 3, 2, 4, 4}, 0.7));
    t = at::arange(4, at::kDouble).mul(210).add(90).expand({2, 4});
    text = there(waves({2, 2, 6}, 1.9));
  }
  static Tensor waves(at::IntArrayRef shape, double frequency) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    return (at::arange(count, at::kDouble) * frequency).sin().view(shape);
  }
  static Config config() {
    auto c = Config::preset("tiny");
    c.dim = 24;
    c.ffn_dim = 40;
    c.num_heads = 2;
    c.freq_dim = 16;
    c.text_dim = 6;
    c.text_len = 3;
    c.condition = "umt5";
    c.patch_size = {1, 2, 2};
    c.fast->head_dim = 12;
    c.fast->muon = true;
    c.fast->kv_cache_size = 5;
    c.fast->base_lr = 0.1;
    return c;
  }
};

/// Newton-Schulz multiplies float64's rounding by up to 3.4445^5 in each update.
constexpr double kRounding = 1e-8;

verify::Seen at_most(const Tensor& difference) {
  const double seen = difference.abs().max().item<double>();
  return {std::isfinite(seen) ? seen : INFINITY, kRounding, ""};
}

verify::Seen chunk_by_chunk(const verify::Settings& settings) {
  const at::NoGradGuard no_grad;
  const Small s(settings);
  auto memory = s.model.start(2);
  return at_most(chunkwise(s.model, s.clean, s.noisy, s.t, s.text, memory) -
                 teacher_forced(s.model, s.clean, s.noisy, s.t, s.text));
}

verify::Seen apart(const verify::Settings& settings) {
  const at::NoGradGuard no_grad;
  const Small s(settings);
  const auto both = teacher_forced(s.model, s.clean, s.noisy, s.t, s.text);
  const auto one = [](const Tensor& x) { return x.slice(0, 1, 2); };
  return at_most(one(both) -
                 teacher_forced(s.model, one(s.clean), one(s.noisy), one(s.t), one(s.text)));
}

}  // namespace

std::vector<verify::GoldenKind> model_kinds() {
  return {{"rope3d", "in.x", rope3d},
          {"window_masks", "out.mask0", window_masks},
          {"ar_layer", "in.dy", ar_layer},
          {"dit_train", "in.latent", dit_train},
          {"inference", "in.latent", inference},
          {"wan_transformer", "in.t", wan_transformer}};
}

std::vector<verify::Check> model_checks() {
  return {{"a film made chunk by chunk equals the teacher-forced forward pass", chunk_by_chunk},
          {"the videos of a batch do not see each other", apart}};
}

}  // namespace lact::video
