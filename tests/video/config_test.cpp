#include "support/test.hpp"

#include <plugins/video/codec/codec.hpp>
#include <plugins/video/model/config.hpp>
#include <plugins/video/model/model.hpp>
#include <plugins/video/model/model_options.hpp>
#include <plugins/video/model/model_place.hpp>
#include <plugins/video/model/names.hpp>
#include <plugins/video/train/training_options.hpp>

#include <lact/cli/options.hpp>
#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <fstream>

using namespace lact;
using namespace lact::video;
using nlohmann::json;

namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

json golden(const std::string& name) {
  const auto file = test::source_root() / "tests/golden/video" / name;
  return io::parse_json(io::read_text(file), file.string());
}

io::Checkpoint golden_file(const std::string& name) {
  return io::Checkpoint::open(test::source_root() / "tests/golden/video" / name);
}

Shapes shapes_of(const Config& config) {
  Shapes all;
  for (const auto& [name, shape] : parameter_shapes(config)) all[name] = shape;
  return all;
}

/// A safetensors file of bfloat16 tensors of these shapes, all zeros: of gigabytes that are holes.
void write_hollow(const std::filesystem::path& file, const Shapes& shapes) {
  json header;
  uint64_t at = 0;
  for (const auto& [name, shape] : shapes) {
    uint64_t bytes = 2;
    for (const int64_t n : shape) bytes *= static_cast<uint64_t>(n);
    header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  const auto text = header.dump();
  std::ofstream out(file, std::ios::binary);
  const uint64_t size = text.size();
  for (int i = 0; i < 8; ++i) out.put(static_cast<char>(size >> (8 * i)));
  out << text;
  out.close();
  std::filesystem::resize_file(file, 8 + size + at);
}

std::string refusal(const std::function<void()>& what) {
  try {
    what();
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.what();
  }
  return "";
}

/// Of a config of preset tiny in which one key says something else.
std::string refused(const char* key, const json& value) {
  auto values = json(Config::preset("tiny").to_json());
  if (value.is_object() && values.contains(key))
    values[key].update(value);
  else
    values[key] = value;
  return refusal([&] { Config::from_json(values, "config.json"); });
}

}  // namespace

namespace {

std::filesystem::path published_yaml() {
  return test::source_root() / "tests/golden/video/lact_ar_chunk3f_1.3B.yaml";
}

/// The published YAML, in which some words are others, in a file.
std::filesystem::path changed_yaml(const test::TemporaryFolder& folder,
                                   const std::vector<std::array<std::string, 2>>& changes) {
  auto text = io::read_text(published_yaml());
  for (const auto& [from, to] : changes) {
    CAPTURE(from);
    const auto at = text.find(from);
    REQUIRE(at != text.npos);
    text.replace(at, from.size(), to);
  }
  const auto file = folder / "m.yaml";
  io::write_text(file, text);
  return file;
}

ModelOptions model_options(const std::vector<std::string>& words) {
  cli::CommandLine line;
  ModelOptions options;
  options.declare(line.options());
  line.parse(words);
  return options;
}

}  // namespace

TEST_CASE("the published YAML of the 1.3B model is the preset of that name", "[config]") {
  const auto values = [](const Config& config) {
    auto all = json(config.to_json());
    for (const char* key : {"width", "height"}) all.erase(key);  // which it says nothing of
    return all;
  };
  const auto preset = Config::preset("wan_1.3b");
  const test::TemporaryFolder folder;
  CHECK(values(Config::open(published_yaml())) == values(preset));
  // The other published file differs in this.
  CHECK(values(Config::open(
            changed_yaml(folder, {{"drop_text_prob: 0.0", "drop_text_prob: 0.1"},
                                  {"repeat.ARFastWeightSwiGLU", "repeat_sp.ARFastWeightSwiGLU "},
                                  {"learnable_ttt_scale: true",
                                   "learnable_ttt_scale: true\n"
                                   "          use_momentum: false"}}))) == values(preset));
  // JSON is YAML; and ours.
  io::write_text(folder / "config.json", json(preset.to_json()).dump());
  CHECK(Config::open(folder / "config.json").to_json() == preset.to_json());
}

TEST_CASE("what a published YAML says of the model and around it is taken", "[config]") {
  const test::TemporaryFolder folder;
  const auto with = [&](const std::vector<std::array<std::string, 2>>& changes) {
    return Config::open(changed_yaml(folder, changes));
  };
  const auto longer = with({{"ar_window_size: 3", "ar_window_size: 5"},
                            {"ar_window_f: 3", "ar_window_f: 5\n          use_momentum: true"}});
  CHECK(longer.chunk_frames == 5);
  CHECK(longer.fast->momentum);
  const auto shifted = with({{"adjust_timestep_shift: true", "adjust_timestep_shift: false"},
                             {"  timestep_shift: 3.0", "  timestep_shift: 4.0"},
                             {"sample_timestep_shift: 3.0", "sample_timestep_shift: 8.0"}});
  CHECK(shifted.shift == 4);
  CHECK(shifted.sample_shift == 8);
  CHECK(with({{"adjust_timestep_shift: true", "adjust_timestep_shift: false"},
              {"  timestep_shift: 3.0", "  timestep_shift: 0"}})
            .shift == 1);
  // Of what is left out, the program's defaults, which are not those of the preset.
  const auto short_one = with({{"      ffn_dim: 8960\n", ""},
                               {"      num_layers: 30\n", ""},
                               {"      attn_every_n_layers: 100\n", ""},
                               {"          qk_l2_norm: true\n", ""}});
  CHECK(short_one.ffn_dim == 8192);
  CHECK(short_one.num_layers == 32);
  CHECK(short_one.attn_every_n_layers == 1);
  CHECK_FALSE(short_one.fast->qk_l2_norm);
  // What the layer says with its default changes nothing.
  CHECK(with({{"o_norm: true",
               "o_norm: true\n          no_time_rope: false\n          eps: 1e-6\n"
               "          window_size: [-1, -1]\n"
               "          lr_parameterization: mamba"}})
            .to_json() == Config::open(published_yaml()).to_json());
}

TEST_CASE("a YAML stands for the preset, with its training, and for what a start is", "[config]") {
  const auto file = published_yaml().string();
  const auto options = model_options({"--model-config", file, "--chunk-frames", "5"});
  CHECK(options.resolve(nullptr).dim == 1536);
  CHECK(options.resolve(nullptr).chunk_frames == 5);
  CHECK(PresetTraining::of(options.preset()).recipe.learning_rate == 5e-6);
  CHECK(PresetTraining::of(model_options({}).preset()).recipe.learning_rate == 2e-3);
  const test::TemporaryFolder folder;
  const auto wan = Config::preset("wan_t2v_1.3b");
  const auto changed = changed_yaml(folder, {{"fw_head_dim: 768", "fw_head_dim: 384"}}).string();
  CHECK(model_options({"--model-config", changed}).resolve(&wan).fast->head_dim == 384);
  CHECK(model_options({}).resolve(&wan).fast->head_dim == 768);
  // A plain one stays plain.
  io::write_text(folder / "plain.json", json(wan.to_json()).dump());
  const auto plain = (folder / "plain.json").string();
  CHECK_FALSE(model_options({"--model-config", plain}).resolve(&wan).fast);
  CHECK_THROWS_WITH(model_options({"--model-config", file, "--preset", "tiny"}).resolve(nullptr),
                    Catch::Contains("--preset and --model-config"));
}

TEST_CASE("a YAML that is not of our model is refused by file, line or key", "[config]") {
  const test::TemporaryFolder folder;
  const auto file = folder / "m.yaml";
  for (const auto& [from, to, words] :
       {std::tuple{"wan_model_warpper.WanModel", "vae.Other", "class_name: expected WanModel"},
        std::tuple{"repeat.ARFastWeightSwiGLU", "x.Linear", "expected ARFastWeightSwiGLU"},
        std::tuple{"      num_heads: 12", "      num_heads: 12\n      number: 3", "number"},
        std::tuple{"          num_heads: 12", "          num_heads: 6", "num_heads: expected 12"},
        std::tuple{"o_norm: true", "o_norm: false", "o_norm: expected true, found false"},
        std::tuple{"o_norm: true", "no_time_rope: true", "no_time_rope: expected false"},
        std::tuple{"lr_dim: 1", "lr_dim: 2", "lr_dim"},
        std::tuple{"w_init: clean", "w_init: dirty", "w_init"},
        std::tuple{"      dim: 1536", "      dim: wide", "dim"},
        std::tuple{"      dim: 1536", "      dim: 1536\n      dim: 768",
                   "line 24: key 'dim' comes"},
        std::tuple{"model_type: t2v", "model_type: i2v", "model_type"},
        std::tuple{"model_config:", "model_config_2:", "no configuration of a video model"},
        std::tuple{"ar_window_size: 3", "ar_window_size: 5", "expected 3, as ar_window_f, found 5"},
        std::tuple{"num_repeat: 1", "ar_window_shape: 1", "m.yaml: model: ar_window_shape"},
        std::tuple{"weighting: true", "weighting: false", "logit_normal_weighting: expected true"},
        std::tuple{"method: uniform", "method: logit_normal", "timestep_sample_method"},
        std::tuple{"  shift: 3.0", "\tshift: 3.0", "m.yaml:13: no YAML"}}) {
    CAPTURE(from, to);
    const auto changed = changed_yaml(folder, {{from, to}});
    CHECK_THAT(refusal([&] { Config::open(changed); }),
               Catch::Contains("m.yaml") && Catch::Contains(words));
  }
  // Aliases of aliases, a gigabyte when they are followed; an endless nest.
  std::string laughs = "a0: &a0 [1, 1]\n", nest(100'000, '[');
  for (int i = 1; i < 30; ++i)
    laughs += concat("a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, "]\n");
  for (const auto& text : {laughs, nest, std::string("dim: [1"), std::string("")}) {
    io::write_text(file, text);
    CHECK_THAT(refusal([&] { Config::open(file); }), Catch::Contains("m.yaml"));
  }
}

TEST_CASE("a codec that gives no choice has its own factor, and frames without its tensors",
          "[config]") {
  auto values = json(Config::preset("wan_1.3b").to_json());
  values["codec"].erase("factor");
  CHECK(Config::from_json(values, "a").codec.factor == 8);
  values["codec"] = {{"type", "unshuffle"}, {"factor", 4}};
  const auto codec = Config::from_json(values, "a").codec;
  CHECK(codec.factor == 4);
  CHECK(codec.frames(21) == open_codec(codec, nullptr, {}, at::kCPU)->frames(21));
  CHECK(Config::preset("wan_1.3b").codec.frames(21) == 81);  // spec/video 2
}

TEST_CASE("the shift of training and that of sampling are two keys", "[config]") {
  // Published: the first follows from the tokens of a chunk, the second is 3.
  for (const char* name : {"wan_1.3b", "wan_t2v_14b"}) {
    CHECK(Config::preset(name).shift == 0);
    CHECK(Config::preset(name).sample_shift == 3);
  }
  auto values = json(Config::preset("tiny").to_json());
  values["shift"] = 5;
  CHECK(Config::from_json(values, "a").sample_shift == 2);
  values["sample_shift"] = 0;
  CHECK(Config::from_json(values, "a").shift == 5);
  CHECK(json(Config::from_json(values, "a").to_json()) == values);
  values.erase("sample_shift");  // one that tells one shift means both
  CHECK(Config::from_json(values, "a").sample_shift == 5);
  CHECK_THAT(refused("sample_shift", 1e4), Catch::Contains("sample_shift: must be 0 to 1000"));
}

TEST_CASE("published configurations have the published names, shapes and counts", "[config]") {
  const std::map<std::string, std::string> manifests = {{"wan_1.3b", "lact_ar_1.3B"},
                                                        {"wan_t2v_1.3b", "wan_t2v_1.3B"},
                                                        {"wan_t2v_14b", "wan_t2v_14B"}};
  for (const auto& [preset, name] : manifests) {
    CAPTURE(preset);
    const auto manifest = golden("manifest_" + name + ".json");
    const auto ours = shapes_of(Config::preset(preset));
    CHECK(ours == manifest["tensors"].get<Shapes>());
    int64_t numbers = 0;
    for (const auto& [tensor, shape] : ours) {
      int64_t size = 1;
      for (const auto one : shape) size *= one;
      numbers += size;
    }
    CHECK(numbers == manifest["parameters"].get<int64_t>());
  }
}

TEST_CASE("the states of the released and the paper's layer are 3 and 0.75 times the width squared",
          "[config]") {
  const auto state = [](const Config& c) {
    return static_cast<double>(3 * c.fast_heads() * c.fast_head_dim() * c.fast_hidden()) /
           static_cast<double>(c.dim * c.dim);
  };
  CHECK(state(Config::preset("wan_1.3b")) == 3);
  CHECK(state(Config::preset("wan_14b")) == 0.75);
}

TEST_CASE("every preset comes back from its JSON", "[config]") {
  for (const auto& name : Config::presets()) {
    CAPTURE(name);
    auto config = Config::preset(name);
    const auto again = Config::from_json(json::parse(config.to_json().dump()), "config.json");
    CHECK(again.to_json() == config.to_json());
    CHECK((again.fast == config.fast));
    CHECK((again.codec == config.codec));
  }
  auto config = Config::preset("small");
  config.condition = "class";
  config.classes = {"walk", "run"};
  config.fast->learn = "none";
  const auto again = Config::from_json(json(config.to_json()), "config.json");
  CHECK(again.classes == config.classes);
  CHECK(again.fast->learn == "none");
}

TEST_CASE("Wan's own, diffusers' and the published layer's keys are understood", "[config]") {
  const auto official = Config::from_json(
      json::parse(R"({"_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": 1536,
      "eps": 1e-06, "ffn_dim": 8960, "freq_dim": 256, "in_dim": 16, "model_type": "t2v",
      "num_heads": 12, "num_layers": 30, "out_dim": 16, "text_len": 512})"),
      "config.json");
  CHECK(shapes_of(official) == shapes_of(Config::preset("wan_t2v_1.3b")));
  CHECK(official.codec.type == "wan");
  CHECK(official.condition == "umt5");
  const auto diffusers = Config::from_json(
      json::parse(R"({"_class_name": "WanTransformer3DModel", "added_kv_proj_dim": null,
      "attention_head_dim": 128, "cross_attn_norm": true, "eps": 1e-06, "ffn_dim": 13824,
      "freq_dim": 256, "image_dim": null, "in_channels": 16, "num_attention_heads": 40,
      "num_layers": 40, "out_channels": 16, "patch_size": [1, 2, 2], "pos_embed_seq_len": null,
      "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024, "text_dim": 4096})"),
      "config.json");
  CHECK(shapes_of(diffusers) == shapes_of(Config::preset("wan_t2v_14b")));
  CHECK(diffusers.num_heads == 40);
  const auto lact = Config::from_json(
      json::parse(R"({"eps": "1e-06", "attn_every_n_layers": 100, "efficient_attn_config": {
      "local_window_size": 4680, "update_every": 9360, "kv_cache_size": -1, "fw_head_dim": 768,
      "inter_multi": 2, "qk_l2_norm": true, "qkv_silu": false, "use_moun": true,
      "num_moun_iters": 3, "weight_norm": true, "learnable_ttt_scale": true, "ttt_scale": 1.0,
      "lr_dim": 1, "w_init": "clean", "ar_window_f": 3, "n_latent_f": 21, "batch_size": 1}})"),
      "config.json");
  CHECK(shapes_of(lact) == shapes_of(Config::preset("wan_1.3b")));
  CHECK(lact.eps == 1e-6);
  CHECK(lact.fast->muon);
  CHECK(lact.fast->muon_steps == 3);
  CHECK(lact.chunk_frames == 3);
  // What is not said is as the published program has it, which is not what was released.
  const auto bare = Config::from_json({{"efficient_attn_config", json::object()}}, "config.json");
  CHECK_FALSE(bare.fast->qk_l2_norm);
  CHECK(bare.fast->weight_norm);
  CHECK(bare.fast->base_lr == 0.001);
}

TEST_CASE("a configuration that cannot work is refused by the name of its key", "[config]") {
  CHECK_THAT(refused("num_heads", 5), Catch::Contains("dim 96 is not divisible by num_heads 5"));
  CHECK_THAT(refused("num_heads", 96), Catch::Contains("num_heads: heads of even width"));
  CHECK_THAT(refused("dim", 0), Catch::Contains("dim: must be 1 to"));
  CHECK_THAT(refused("num_layers", 1e12), Catch::Contains("num_layers: must be 1 to 1000"));
  CHECK_THAT(refused("out_dim", 4), Catch::Contains("out_dim: must be in_dim, 3, not 4"));
  CHECK_THAT(refused("eps", "small"), Catch::Contains("eps: expected a number, found \"small\""));
  CHECK_THAT(refused("patch_size", {1, 2}), Catch::Contains("patch_size: expected three sizes"));
  CHECK_THAT(refused("model_type", "i2v"), Catch::Contains("model_type: expected t2v"));
  CHECK_THAT(refused("condition", "sound"), Catch::Contains("condition: expected one of none"));
  CHECK_THAT(refused("condition", "class"), Catch::Contains("classes: condition class needs"));
  CHECK_THAT(refused("rate", 0), Catch::Contains("rate: must be above 0"));
  CHECK_THAT(refused("hidden_act", "gelu"), Catch::Contains("hidden_act: not known"));
  const char* layer = "efficient_attn_config";
  CHECK_THAT(refused(layer, {{"fw_head_dim", 50}}),
             Catch::Contains("not divisible by fw_head_dim"));
  CHECK_THAT(refused(layer, {{"lr_dim", 2}}), Catch::Contains("lr_dim: expected 1, found 2"));
  CHECK_THAT(refused(layer, {{"w_init", "zeros"}}), Catch::Contains("w_init: expected one of"));
  CHECK_THAT(refused(layer, {{"w_init", "identity"}, {"inter_multi", 3}}),
             Catch::Contains("w_init: identity wants an inter_multi of 1 or 2"));
  CHECK_THAT(refused(layer, {{"kv_cache_size", -2}}), Catch::Contains("kv_cache_size: must be -1"));
  CHECK_THAT(refused(layer, {{"window", 3}}),
             Catch::Contains("config.json: efficient_attn_config: window: not known"));
  const json images = {
      {"num_attention_heads", 12}, {"attention_head_dim", 128}, {"image_dim", 1280}};
  CHECK_THAT(refusal([&] { Config::from_json(images, "c"); }),
             Catch::Contains("image_dim: expected null"));
  CHECK_THAT(refusal([] { Config::from_json(json::array(), "c"); }),
             Catch::Contains("c: expected a JSON object"));
}

TEST_CASE("names go to diffusers' and back", "[config]") {
  const auto names = golden("names_transformer.json").get<std::map<std::string, std::string>>();
  CHECK(names.size() == 825);
  for (const auto& [official, diffusers] : names) {
    CHECK(diffusers_name(official) == diffusers);
    CHECK(official_name(diffusers) == official);
    CHECK(official_name(official) == official);
  }
  CHECK(official_name("module.model._fsdp_wrapped_module.blocks.3._checkpoint_wrapped_module."
                      "self_attn._orig_mod.w0") == "blocks.3.self_attn.w0");
}

TEST_CASE("bare files tell their configuration by names and shapes", "[config]") {
  test::TemporaryFolder folder;
  const auto file = folder / "bare.safetensors";
  const auto found = [&](const Shapes& shapes) {
    write_hollow(file, shapes);
    return Config::of(io::Checkpoint::open(file));
  };
  for (const auto* name : {"wan_1.3b", "wan_14b", "wan_t2v_1.3b", "wan_t2v_14b"}) {
    CAPTURE(name);
    auto config = Config::preset(name);
    config.width = config.height = 0;
    const auto shapes = shapes_of(config);
    CHECK(found(shapes).to_json() == config.to_json());
    Shapes foreign;
    for (const auto& [official, shape] : shapes) foreign[diffusers_name(official)] = shape;
    CHECK(found(foreign).to_json() == config.to_json());
  }
  auto mixed = Config::preset("wan_1.3b");
  mixed.attn_every_n_layers = 4;
  mixed.fast->momentum = true;
  mixed.fast->learnable_scale = false;
  CHECK(found(shapes_of(mixed)).attn_every_n_layers == 4);
  CHECK((found(shapes_of(mixed)).fast == mixed.fast));

  auto shapes = shapes_of(mixed);
  shapes["img_emb.proj.0.weight"] = {1280};
  CHECK_THAT(refusal([&] { found(shapes); }),
             Catch::Contains("tensor img_emb.proj.0.weight: of a model from images to video"));
  shapes = shapes_of(mixed);
  shapes.erase("blocks.7.norm3.bias");
  CHECK_THAT(refusal([&] { found(shapes); }),
             Catch::Contains("tensor blocks.7.norm3.bias is missing"));
  shapes["blocks.7.norm3.bias"] = {1535};
  CHECK_THAT(refusal([&] { found(shapes); }),
             Catch::Contains("blocks.7.norm3.bias: its shape does not go with the others"));
  CHECK_THAT(refusal([&] {
               found({{"lm_head.weight", {4, 4}}});
             }),
             Catch::Contains("tensor patch_embedding.weight is missing: not a Wan or LaCT video"));
  shapes = {{"patch_embedding.weight", {0, 16, 1, 2, 2}}};
  CHECK_THAT(refusal([&] { found(shapes); }), Catch::Contains("patch_embedding.weight: is empty"));
}

TEST_CASE("what others put before Wan's names is undone", "[config]") {
  test::TemporaryFolder folder;
  const auto file = folder / "bare.safetensors";
  const auto config = Config::preset("wan_t2v_1.3b");
  const auto plain = shapes_of(config);
  const auto found = [&](const std::vector<std::string>& starts) {
    Shapes shapes;
    for (const auto& start : starts)
      for (const auto& [name, shape] : plain) shapes[start + name] = shape;
    write_hollow(file, shapes);
    return shapes_of(Config::of(io::Checkpoint::open(file)));
  };
  for (const char* start : {"model.diffusion_model.", "diffusion_model.", "transformer.",
                            "pipe.dit.", "net.", "dit.", "module.model.", "generator."}) {
    CAPTURE(start);
    CHECK(found({start}) == plain);
  }
  // A distilled model's averages, beside what they are of, and its critic.
  CHECK(found({"generator_ema._fsdp_wrapped_module.", "generator.model.", "critic.model."}) ==
        plain);
}

TEST_CASE("other kinds of files for Wan are refused as what they are", "[config]") {
  test::TemporaryFolder folder;
  const auto file = folder / "bare.safetensors";
  const auto plain = shapes_of(Config::preset("wan_t2v_1.3b"));
  const auto refused = [&](const char* name, int64_t channels) {
    auto shapes = plain;
    if (channels != 16) shapes["patch_embedding.weight"][1] = channels;
    if (*name != '\0') shapes[name] = {2};
    write_hollow(file, shapes);
    const auto line = refusal([&] { Config::of(io::Checkpoint::open(file)); });
    CHECK_THAT(line, Catch::Contains("bare.safetensors: tensor "));
    return line;
  };
  using Catch::Contains;
  CHECK_THAT(refused("blocks.0.self_attn.q.lora_A.weight", 16), Contains("a LoRA"));
  CHECK_THAT(refused("blocks.0.ffn.0.scale_weight", 16), Contains("scaled fp8"));
  CHECK_THAT(refused("vace_blocks.0.before_proj.bias", 16), Contains("VACE"));
  CHECK_THAT(refused("blocks.0.cross_attn.k_img.weight", 36), Contains("images to video"));
  CHECK_THAT(refused("", 36), Contains("36 channels"));
  auto shapes = plain;  // TI2V-5B
  shapes["patch_embedding.weight"][1] = 48;
  shapes["head.head.weight"][0] = shapes["head.head.bias"][0] = 48 * 4;
  write_hollow(file, shapes);
  CHECK_THAT(refusal([&] { Config::of(io::Checkpoint::open(file)); }), Contains("VAE of Wan 2.2"));
}

TEST_CASE("a diffusers pipeline is its transformer, and what lies with it is found", "[model]") {
  test::TemporaryFolder folder;
  const auto pipeline = folder / "pipeline";
  std::filesystem::create_directories(pipeline / "transformer");
  std::filesystem::create_directories(pipeline / "vae");
  io::write_text(pipeline / "model_index.json", "{}");
  write_hollow(pipeline / "transformer/diffusion_pytorch_model.safetensors",
               shapes_of(Config::preset("wan_t2v_1.3b")));
  CHECK(Config::of(open_model(pipeline)).dim == 1536);
  CHECK(vae_of({}, pipeline) == pipeline);
  CHECK(std::filesystem::equivalent(vae_of({}, pipeline / "transformer"), pipeline));
  CHECK(vae_of("other", pipeline) == "other");
  CHECK(text_encoder_of({}, pipeline).empty());
  std::filesystem::create_directories(pipeline / "text_encoder");
  CHECK(text_encoder_of({}, pipeline) == pipeline);
  std::filesystem::create_directories(pipeline / "transformer_2");
  CHECK_THAT(refusal([&] { open_model(pipeline); }), Catch::Contains("two experts"));
}

TEST_CASE("files with a configuration of their own need no other", "[config]") {
  const auto official = Config::of(golden_file("wan_tiny_official.safetensors")),
             diffusers = Config::of(golden_file("wan_tiny_diffusers.safetensors"));
  CHECK(official.num_heads == 2);
  CHECK(official.text_len == 7);
  CHECK(diffusers.num_heads == 2);
  CHECK(shapes_of(official) == shapes_of(diffusers));
}

TEST_CASE("a plain Wan file becomes the hybrid, which at first is the model without memory",
          "[model]") {
  const auto file = golden_file("wan_tiny_official.safetensors");
  auto config = Config::of(file);
  std::vector<std::string> fresh;
  const auto plain = VideoModel::load(config, file, at::kCPU, at::kFloat, &fresh);
  CHECK(fresh.empty());
  config.fast.emplace();
  config.fast->head_dim = 12;
  const auto hybrid = VideoModel::load(config, file, at::kCPU, at::kFloat, &fresh, 3);
  CHECK(fresh.size() == 2 * 10);  // w0, w1, w2, qk_scale, qk_offset, 2 + 1 + 2 of projections
  std::map<std::string, at::Tensor> values;
  for (const auto& [name, x] : hybrid.parameters()) values[name] = x;
  CHECK(values.at("blocks.1.self_attn.ttt_scale_proj.bias").item<float>() == 0);
  for (const auto& [name, x] : plain.parameters()) CHECK(test::same_bytes(x, values.at(name)));
}

TEST_CASE("a file that holds more or less than the model is refused in one line", "[model]") {
  test::TemporaryFolder folder;
  auto config = Config::preset("tiny");
  auto tensors = VideoModel::fresh(config, 1, at::kCPU).parameters();
  const auto file = folder / "model.safetensors";
  const auto load = [&] {
    return refusal([&] { VideoModel::load(config, io::Checkpoint::open(file), at::kCPU); });
  };
  io::write_safetensors(file, tensors);
  CHECK(load() == "");
  auto more = tensors;
  more.emplace_back("blocks.0.k_img.weight", at::zeros({2}));
  io::write_safetensors(file, more);
  CHECK_THAT(load(), Catch::Contains("tensor blocks.0.k_img.weight: not one of the model"));
  more.back() = {"codec.mean", at::zeros({2})};  // what stands around it may lie beside it
  io::write_safetensors(file, more);
  CHECK(load() == "");
  more.back() = {"module.head.head.bias", at::zeros({48})};
  io::write_safetensors(file, more);
  CHECK_THAT(load(), Catch::Contains("head.head.bias and module.head.head.bias are the same"));
  std::erase_if(tensors, [](const auto& one) { return one.first == "blocks.2.self_attn.w1"; });
  io::write_safetensors(file, tensors);  // fast weights, but not all of them
  CHECK_THAT(load(), Catch::Contains("tensor blocks.2.self_attn.w1 is missing"));
}
