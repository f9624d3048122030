// lact-train video in this process, on clips that are made here.
#include "support/process.hpp"
#include "support/run_files.hpp"
#include "support/test.hpp"

#include <plugins/video/clips/encode_clips.hpp>
#include <plugins/video/codec/packed_codec.hpp>
#include <plugins/video/condition/prompts.hpp>
#include <plugins/video/film/continuation.hpp>
#include <plugins/video/film/sampling_options.hpp>
#include <plugins/video/model/cost.hpp>
#include <plugins/video/model/model.hpp>
#include <plugins/video/model/model_options.hpp>
#include <plugins/video/packed/packed_writer.hpp>
#include <plugins/video/train/noise.hpp>
#include <plugins/video/train/task.hpp>
#include <plugins/video/train/training_options.hpp>
#include <plugins/video/train/windows.hpp>

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/train/options.hpp>
#include <lact/train/trainer.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <sstream>

using namespace lact;
using namespace lact::video;
using namespace lact::test;
using at::Tensor;
using nlohmann::json;
using train::Split;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

/// A bright column walks over frames of 8 x 8, at a place and in a direction of its own.
Tensor clip_frames(int64_t number, int64_t frames, int64_t size = 8) {
  const auto x = at::arange(size, at::kLong), t = at::arange(frames, at::kLong);
  const int64_t way = number % 2 == 0 ? 1 : size - 1;
  const auto place = (t * way + number).remainder(size);
  const auto lit = x.view({1, 1, size, 1}).eq(place.view({frames, 1, 1, 1}));
  return (lit.to(at::kByte) * 200 + 20).expand({frames, size, size, 3}).contiguous();
}

void write_clips(const fs::path& folder, int64_t count, int64_t frames) {
  ClipFormat format;
  format.width = format.height = 8;
  format.rate = 10;
  const auto write = [&](const char* split, int64_t first, int64_t clips) {
    auto writer = std::make_unique<ClipWriter>(folder, split, format);
    for (int64_t i = first; i < first + clips; ++i) {
      writer->begin(
          {"made", 0, i % 2 == 0 ? "to the right" : "to the left", i % 2 == 0 ? "right" : "left"});
      writer->add(clip_frames(i, frames));
    }
    return writer;
  };
  const auto train = write("train", 0, count), validation = write("validation", 100, 3);
  train->seal();
  validation->seal();
  commit(folder, *train, validation.get());
}

/// The same as latents, principal components of the clips from `first` on; as `video pack --encode
/// pca` leaves them.
void write_components(const fs::path& folder, int64_t count, int64_t frames, int64_t first = 0) {
  EncodeOptions options;
  options.type = "pca";
  options.channels = 5;
  ClipFormat format;
  format.width = format.height = 8;
  format.rate = 10;
  PcaFit fit(options.factor, options.channels);
  for (int64_t i = first; i < first + count; ++i)
    fit.add(to_video(clip_frames(i, frames).unsqueeze(0), at::kCPU));
  const ClipEncoder encoder(options, fit.finish(), format, frames, at::kCPU);
  ClipWriter train(folder, "train", encoder.format());
  for (int64_t i = 0; i < count; ++i) {
    train.begin({});
    train.add(encoder.encode(clip_frames(i, frames)));
  }
  train.seal();
  commit(folder, train, nullptr);
  encoder.save(folder);
}

/// A small model for these clips: 3 chunks of 2 frames, 4 tokens a frame.
Words small() {
  return {"--preset",     "tiny", "--dim",          "24", "--ffn-dim",  "32", "--num-heads", "2",
          "--num-layers", "2",    "--fw-head-dim",  "12", "--freq-dim", "16", "--text-dim",  "8",
          "--batch-size", "2",    "--warmup-steps", "2"};
}

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A task with its options, as lact-train has them.
struct Session {
  std::unique_ptr<train::Task> task = make_task();
  train::GivenOptions given;
  int64_t stop_after = -1;
  std::vector<std::string> infos, warnings;

  explicit Session(const Words& words) {
    cli::CommandLine line;
    task->declare(line.options());
    given.declare(line.options(), task->defaults());
    line.parse(words);
  }

  train::Outcome run(const fs::path& folder) {
    cli::Context context;
    context.dtype = "float32";
    context.threads = 1;
    int64_t seen = -1;
    const train::Observer observer{[&](const std::string& line) { infos.push_back(line); },
                                   [&](const std::string& line) { warnings.push_back(line); },
                                   {},
                                   [&] { return ++seen >= stop_after && stop_after >= 0; }};
    task->configure();
    auto options = given.resolve(task->defaults());
    options.output = folder.string();
    return train::run(*task, options, context, observer);
  }
};

fs::path trained(const fs::path& folder, const Words& words) {
  Session session(words);
  REQUIRE(session.run(folder) == train::Outcome::done);
  return folder;
}

std::vector<json> metrics(const fs::path& run) {
  std::vector<json> lines;
  std::istringstream in(io::read_text(run / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

std::map<std::string, std::string> bytes(const fs::path& run, int64_t step) {
  const auto folder = run / "checkpoints" / concat("step-", step);
  return test::hashes(folder);
}

std::string refusal(const Words& words, const fs::path& run) {
  try {
    Session(words).run(run);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

io::Checkpoint model_of(const fs::path& run) {
  return io::Checkpoint::open(run / "latest");
}

int64_t parameters_in(const io::Checkpoint& model) {
  int64_t count = 0;
  for (const auto& name : model.names()) count += model.tensor(name).numel();
  return count;
}

}  // namespace

TEST_CASE("training lowers the loss, with fast weights and without their learning", "[train]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 12, 7);
  const auto words = small() + Words{"--data",       (folder / "data").string(),
                                     "--steps",      "60",
                                     "--eval-every", "60",
                                     "--save-every", "0",
                                     "--ema",        "0"};
  std::map<std::string, double> validation;
  std::map<std::string, int64_t> count;
  for (const std::string fast : {"all", "none"}) {
    const auto run = trained(folder / fast, words + Words{"--learn", fast});
    const auto lines = metrics(run);
    double first = 0, last = 0;
    for (const auto& line : lines) {
      if (!line.contains("loss_metrics/global_avg_loss")) continue;
      if (first == 0) first = line["loss_metrics/global_avg_loss"];
      last = line["loss_metrics/global_avg_loss"];
    }
    CAPTURE(fast, first, last);
    CHECK(last < 0.8 * first);
    validation[fast] = lines.back().at("validation_metrics/loss");
    count[fast] = parameters_in(model_of(run));
    // A mean over chunks of what each has; as many at the time of the memory test.
    double mean = 0;
    for (int i = 0; i < 3; ++i) {
      mean += lines.back().at(concat("validation_metrics/loss_chunk_", i)).get<double>() / 3;
      CHECK(lines.back().contains(concat("validation_metrics/velocity_chunk_", i)));
    }
    CHECK(mean == Approx(validation[fast]));
    CHECK_FALSE(lines.back().contains("validation_metrics/loss_chunk_3"));
  }
  CHECK(count["all"] == count["none"]);
  CHECK(validation["all"] != validation["none"]);
}

TEST_CASE("a run that stops and goes on ends in the bytes of one that never stopped", "[train]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 5, 9);
  const auto extra =
      GENERATE(Words{},
               Words{"--codec", "pca", "--codec-factor", "2", "--codec-channels", "5",
                     "--patch-size", "2", "--condition", "class", "--drop-text", "0.5"},
               Words{"--condition", "bytes", "--repeats", "2", "--grad-accum", "2", "--text-len",
                     "4", "--train-only", "attention"});
  const auto words = small() + Words{"--data",         (folder / "data").string(),
                                     "--steps",        "8",
                                     "--save-every",   "3",
                                     "--keep",         "9",
                                     "--eval-every",   "4",
                                     "--eval-batches", "1"} +
                     extra;
  const auto whole = trained(folder / "whole", words);
  Session first(words), second(words + Words{"--resume"});
  first.stop_after = 4;
  CHECK(first.run(folder / "parts") == train::Outcome::interrupted);
  CHECK(second.run(folder / "parts") == train::Outcome::done);
  CHECK(bytes(folder / "parts", 8) == bytes(whole, 8));
  CHECK(bytes(whole, 8) != bytes(whole, 6));
  const auto last = metrics(whole).back(), again = metrics(folder / "parts").back();
  CHECK(last.at("validation_metrics/loss") == again.at("validation_metrics/loss"));
  // Principal components belong to the model.
  CHECK(model_of(whole).contains("codec.basis") == (extra.size() > 2 && extra[1] == "pca"));
}

TEST_CASE("principal components that clips were packed with go with the model", "[train]") {
  const TemporaryFolder folder;
  const auto data = folder / "data";
  write_components(data, 5, 9);
  const auto words = small() + Words{"--data",           data.string(),
                                     "--codec",          "pca",
                                     "--codec-factor",   "2",
                                     "--codec-channels", "5",
                                     "--patch-size",     "2",
                                     "--steps",          "4",
                                     "--save-every",     "2"};
  const auto whole = trained(folder / "whole", words);
  Session first(words), second(words + Words{"--resume"});
  first.stop_after = 2;
  CHECK(first.run(folder / "parts") == train::Outcome::interrupted);
  CHECK(second.run(folder / "parts") == train::Outcome::done);
  CHECK(bytes(folder / "parts", 4) == bytes(whole, 4));

  // The model alone gives the frames back that the latents were made of.
  const auto model = model_of(whole);
  const auto codec = open_codec(Config::of(model).codec, &model, {}, at::kCPU);
  const auto clips = PackedClips::open(data, "train");
  DecoderMemory memory;
  const auto shown = codec->decode(clips.read(1, 0, 9).unsqueeze(0), memory);
  const auto frames = to_video(clip_frames(1, 9).unsqueeze(0), at::kCPU);
  CHECK((shown - frames).abs().max().item<double>() < 1e-3);

  // Those of another fit are not the model's, whatever their sizes.
  const auto other = folder / "other";
  write_components(other, 5, 9, /*first=*/1);
  const auto mend = Catch::Contains(" has: pack pixels, which its own will encode");
  CHECK_THAT(refusal({"--init-from", whole.string(), "--data", other.string(), "--steps", "1"},
                     folder / "again"),
             mend);
  CHECK(refusal({"--init-from", whole.string(), "--data", data.string(), "--steps", "1"},
                folder / "same") == "");
  fs::rename(data, folder / "before");
  fs::rename(other, data);
  CHECK_THAT(refusal(words + Words{"--resume"}, whole), mend);
  // Nor are they compared with what it makes.
  const LoadedVideo loaded{VideoModel::load(Config::of(model), model, at::kCPU),
                           open_codec(Config::of(model).codec, &model, {}, at::kCPU)};
  CHECK_NOTHROW(read_clips(PackedClips::open(folder / "before"), {0}, loaded, 2));
  CHECK_THROWS_WITH(read_clips(PackedClips::open(data), {0}, loaded, 2), mend);

  fs::remove(data / kCodecFile);
  CHECK_THAT(refusal(words, folder / "without"),
             Catch::Contains("codec.safetensors: missing") && Catch::Contains("pack them again"));
}

TEST_CASE("a model of prompts whose clips say nothing is told so", "[train]") {
  const TemporaryFolder folder;
  const auto warnings = [&](const std::string& caption) {
    ClipFormat format;
    format.width = format.height = 8;
    format.rate = 10;
    ClipWriter train(folder / "silent", "train", format);
    for (int64_t i = 0; i < 4; ++i) {
      train.begin({"made", 0, i == 0 ? caption : "", ""});
      train.add(clip_frames(i, 6));
    }
    train.seal();
    commit(folder / "silent", train, nullptr);
    Words words{"lact-train", "video"};
    words = words + small() + Words{"--data",       (folder / "silent").string(),
                                    "-o",           (folder / ("run" + caption)).string(),
                                    "--steps",      "1",
                                    "--eval-every", "0",
                                    "--condition",  "bytes"};
    const auto result = run(words);
    CHECK(result.exit == 0);
    return result.err;
  };
  CHECK_THAT(warnings(""), Catch::Contains("warning") && Catch::Contains("0 of 4 clips"));
  const auto some = warnings("words");
  CHECK_THAT(some, Catch::Contains("1 of 4 clips have a caption"));
  CHECK(some.find("warning") == std::string::npos);
}

TEST_CASE("what is saved opens as a model that says what it was trained on", "[train]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 4, 6);
  const auto run =
      trained(folder / "run", small() + Words{"--data", (folder / "data").string(), "--steps", "1",
                                              "--eval-every", "0", "--condition", "class"});
  const auto checkpoint = model_of(run);
  const auto config = Config::of(checkpoint);
  CHECK(config.width == 8);
  CHECK(config.height == 8);
  CHECK(config.rate == 10);
  CHECK(config.classes == std::vector<std::string>{"left", "right"});
  CHECK(parameters_in(checkpoint) == nn::count(parameter_shapes(config)));
  const auto model = VideoModel::load(config, checkpoint, at::kCPU);
  CHECK(model.condition_table().size(0) == 3);

  // As a start it has its own shape, and --preset would contradict.
  CHECK_THAT(
      refusal(small() + Words{"--init-from", run.string(), "--data", (folder / "data").string()},
              folder / "other"),
      Catch::Contains("--preset and --init-from"));
  const auto again =
      trained(folder / "again", {"--init-from", run.string(), "--data", (folder / "data").string(),
                                 "--steps", "1", "--batch-size", "1", "--eval-every", "0"});
  CHECK(Config::of(model_of(again)).dim == 24);
}

TEST_CASE("trained attention alone leaves all else as it was", "[train]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 4, 6);
  const auto words = small() + Words{"--data",       (folder / "data").string(),
                                     "--eval-every", "0",
                                     "--ema",        "0",
                                     "--save-every", "1",
                                     "--keep",       "3"};
  const auto run =
      trained(folder / "run", words + Words{"--steps", "2", "--train-only", "attention"});
  const auto before = io::Checkpoint::open(run / "checkpoints/step-1");
  const auto after = io::Checkpoint::open(run / "checkpoints/step-2");
  int64_t moved = 0;
  for (const auto& name : after.names()) {
    CAPTURE(name);
    const bool same = same_bytes(before.tensor(name), after.tensor(name));
    if (name.find(".self_attn.") == std::string::npos) CHECK(same);
    moved += !same;
  }
  CHECK(moved > 10);
}

TEST_CASE("windows and what is drawn for them follow from their place in the run", "[data]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 6, 9);
  const auto clips = PackedClips::open(folder / "data", "train");
  WindowShape shape;
  shape.frames = 4;
  shape.repeats = 2;
  shape.chunks = shape.chunk_frames = 2;
  shape.channels = 3;
  shape.height = shape.width = 8;
  const auto source = window_source(clips, shape, {2, 3, 0.3});
  const auto first = source->at(7, 4, 1);
  const auto again = window_source(clips, shape, {2, 3, 0.3})->at(7, 4, 1);
  for (const auto& [name, tensor] : first) CHECK(same_bytes(tensor, again.at(name)));
  CHECK(first.at("frames").sizes() == at::IntArrayRef({2, 4, 8, 8, 3}));
  CHECK(first.at("noise").sizes() == at::IntArrayRef({2, 2, 2, 2, 3, 8, 8}));
  CHECK(first.at("times").sizes() == at::IntArrayRef({2, 2, 2}));
  CHECK_FALSE(same_bytes(first.at("noise")[0], first.at("noise")[1]));
  CHECK_FALSE(same_bytes(first.at("noise"), source->at(8, 4, 1).at("noise")));

  // Evaluation has noise of its own, of a run of its seed too.
  shape.repeats = 1;
  const auto evaluated = evaluation_windows(clips, shape, 0, 6);
  CHECK(same_bytes(evaluated.at("noise"), evaluation_windows(clips, shape, 0, 6).at("noise")));
  const auto trained_on = window_source(clips, shape, {6, 1, 0})->at(95, 0, 0);
  for (int64_t clip = 0; clip < 6; ++clip)
    CHECK_FALSE(same_bytes(evaluated.at("noise")[clip], trained_on.at("noise")[clip]));
  shape.repeats = 2;

  // Twice the micro-batches of half the size see what these see; every clip comes once an epoch.
  const auto wide = window_source(clips, shape, {4, 3, 0});
  const auto half = window_source(clips, shape, {2, 6, 0});
  std::vector<int64_t> seen(6, 0);
  int64_t dropped = 0;
  for (int64_t step = 0; step < 4; ++step)
    for (int micro = 0; micro < 3; ++micro) {
      const auto all = wide->at(7, step, micro);
      for (int part = 0; part < 2; ++part)
        for (const auto& [name, tensor] : half->at(7, step, 2 * micro + part)) {
          CAPTURE(name, step, micro, part);
          CHECK(same_bytes(tensor, all.at(name).narrow(0, 2 * part, 2)));
        }
      for (int64_t row = 0; row < 4; ++row)
        ++seen[static_cast<size_t>(all.at("clips")[row].item<int64_t>())];
      // Prompts are dropped of a whole batch or not at all.
      const auto drop = source->at(7, step, micro).at("clips").lt(0);
      CHECK(drop.all().item<bool>() == drop.any().item<bool>());
      dropped += drop.any().item<bool>();
    }
  CHECK(seen == std::vector<int64_t>(6, 8));
  CHECK(dropped > 0);
  CHECK(dropped < 12);
}

TEST_CASE("noise is a function of all 64 bits of what its stream begins with", "[data]") {
  // Two streams whose first numbers agree in their low 32 bits are two noises.
  const auto first = normal_noise(Random(1), {4, 3}),
             other = normal_noise(Random(1 + (1ull << 32)), {4, 3});
  CHECK_FALSE(same_bytes(first, other));
  CHECK(same_bytes(first, normal_noise(Random(1), {4, 3})));
  CHECK(same_bytes(first.flatten().slice(0, 0, 10), normal_noise(Random(1), {10})));
  const auto many = normal_noise(Random(5), {40001}).to(at::kDouble);
  CHECK(std::abs(many.mean().item<double>()) < 4 / 200.0);  // four standard errors
  CHECK(many.square().mean().item<double>() == Approx(1).margin(4 * std::sqrt(2.0) / 200));
  CHECK(many.pow(4).mean().item<double>() == Approx(3).margin(4 * std::sqrt(96.0) / 200));
}

TEST_CASE("captions are encoded before training, and a dropped one says nothing", "[data]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 4, 6);
  const auto row = [](double from, int64_t rows) {
    return (at::arange(rows * 8, at::kFloat) + from).view({rows, 8});
  };
  const auto file = folder / "prompts.safetensors";
  io::write_safetensors(
      file, {{"to the right", row(1, 3)}, {"to the left", row(100, 2)}, {"", row(-9, 1)}});
  Config config;
  config.condition = "umt5";
  config.text_dim = 8;
  config.text_len = 6;
  Prompts prompts(config, file, {}, at::kCPU);
  const auto clips = PackedClips::open(folder / "data", "train");
  prompts.prepare(clips);
  fs::remove(file);
  const auto got = prompts.of(clips, at::tensor({3, 0, -1}, at::kLong), {});
  REQUIRE(got.sizes() == at::IntArrayRef({3, 3, 8}));  // no longer than the longest of them
  CHECK(same_bytes(got[1], row(1, 3)));
  CHECK(same_bytes(got[0].slice(0, 0, 2), row(100, 2)));
  CHECK(same_bytes(got[2].slice(0, 0, 1), row(-9, 1)));
  CHECK(got[2].slice(0, 1).abs().max().item<float>() == 0);

  // What stands for any prompt stands for none of these: its absence would never be seen.
  io::write_safetensors(file,
                        {{"to the right", row(1, 3)}, {"embedding", row(2, 1)}, {"", row(-9, 1)}});
  CHECK_THROWS_WITH(Prompts(config, file, {}, at::kCPU).prepare(clips),
                    Catch::Contains("no embedding of prompt 'to the left' of clip 1"));
}

TEST_CASE("the preset sets what is not given, wherever it stands", "[options]") {
  const auto told = [](const Words& words) {
    const Session session(words);
    return session.given.resolve(session.task->defaults());
  };
  CHECK(told({}).learning_rate == 2e-3);
  CHECK(told({}).ema == 0.99);
  CHECK(told({"--preset", "small"}).learning_rate == 3e-4);
  CHECK(told({"--preset", "small"}).ema == 0.999);
  CHECK(told({"--lr", "0.1", "--preset", "small"}).learning_rate == 0.1);
  CHECK(told({"--preset", "small", "--lr", "0.1"}).warmup_steps == 500);
  CHECK(told({"--init-from", "x"}).learning_rate == 5e-6);
  CHECK(told({"--init-from", "x", "--ema", "0"}).ema == 0);
  // The two published ways to fine-tune.
  for (const auto& words : {Words{"--init-from", "x", "--train-only", "attention"},
                            Words{"--train-only", "attention", "--init-from", "x"}}) {
    const auto attention = told(words);
    CHECK(attention.learning_rate == 2e-5);
    CHECK(attention.weight_decay == 0.01);
    CHECK(attention.steps == 10000);
    CHECK(attention.warmup_steps == 1000);
    CHECK(attention.ema == 0.995);
    CHECK(told(words + Words{"--lr", "1e-4"}).learning_rate == 1e-4);
    CHECK(told(Words{"--steps", "5"} + words).steps == 5);
  }
  CHECK(told({"--init-from", "x", "--train-only", "all"}).steps == 5000);
  CHECK(told({"--train-only", "attention"}).learning_rate == 2e-3);
  CHECK(PresetTraining::of_start("attention").drop_text == 0);
  CHECK(PresetTraining::of_start("all").drop_text == 0.1);
  // As published: clipped always, skipped above 10 only after 200 steps.
  const auto published = told({"--preset", "wan_1.3b"});
  CHECK(published.max_norm == 1);
  CHECK(published.norms_from == 0);
  CHECK(published.skip_above == 10);
  CHECK(published.skip_above_from == 200);
  CHECK(told({"--init-from", "x", "--skip-above-from", "7"}).skip_above_from == 7);
}

TEST_CASE("clips that are too short, frames that do not fit and labels that lack are refused",
          "[train]") {
  const TemporaryFolder folder;
  write_clips(folder / "data", 3, 5);
  const auto words = small() + Words{"--data", (folder / "data").string(), "--steps", "1"};
  CHECK_THAT(refusal(words + Words{"--chunks", "3"}, folder / "a"),
             Catch::Contains("clip 0 has 5 frames; a step takes 6"));
  CHECK_THAT(refusal(words + Words{"--patch-size", "3"}, folder / "b"),
             Catch::Contains("frames of 8 x 8: expected multiples of 3 and 3"));
  // Of a dry run without data it is the model that does not fit.
  const auto odd = [] { Session({"--preset", "tiny", "--patch-size", "3"}).task->configure(); };
  CHECK_THROWS_WITH(odd(),
                    "the model: frames of 16 x 16: expected multiples of 3 and 3, codec times "
                    "patch");
  CHECK_THAT(refusal(small() + Words{"--steps", "1"}, folder / "c"),
             Catch::Contains("--data is missing"));
  // Without --chunks as many as all clips hold.
  CHECK(refusal(words + Words{"--eval-every", "0"}, folder / "d") == "");
}

TEST_CASE("a plain Wan becomes a hybrid that at first says the same", "[wan]") {
  const auto golden = source_root() / "tests/golden/video";
  const auto io = io::SafeTensors::open(golden / "wan_tiny_io.safetensors");
  for (const char* file : {"wan_tiny_official.safetensors", "wan_tiny_diffusers.safetensors"}) {
    CAPTURE(file);
    const auto checkpoint = io::Checkpoint::open(golden / file);
    auto config = Config::of(checkpoint);
    config.num_heads = 2;
    config.text_len = 7;  // of which bare tensors tell nothing
    config.condition = "umt5";
    config.fast.emplace();
    config.fast->head_dim = 12;
    config.attn_every_n_layers = 100;
    config.chunk_frames = 3;
    std::vector<std::string> fresh;
    const auto model = VideoModel::load(config, checkpoint, at::kCPU, at::kFloat, &fresh);
    CHECK(fresh.size() == 2 * 10);  // w0, w1, w2, scale, offset, norm; rates and gate with biases
    const at::NoGradGuard no_grad;
    const auto velocity = model.forward(io.tensor("in.x"), io.tensor("in.t").to(at::kFloat),
                                        io.tensor("in.context"), make_plan(1), 2);
    CHECK(scaled_error(velocity, io.tensor("out.velocity")) < 1e-5);
  }
}

TEST_CASE("a plain Wan is fine-tuned on packed latents", "[wan]") {
  const TemporaryFolder folder;
  ClipFormat format;
  format.width = 48;
  format.height = 32;
  format.rate = 16;
  format.codec = "wan";
  format.factor = 8;
  format.channels = 4;
  format.dtype = "F32";
  ClipWriter writer(folder / "data", "train", format);
  for (int64_t i = 0; i < 3; ++i) {
    writer.begin({});
    writer.add((at::arange(6 * 4 * 4 * 6, at::kFloat) * (0.1 + 0.05 * static_cast<double>(i)))
                   .sin()
                   .view({6, 4, 4, 6}));
  }
  writer.seal();
  commit(folder / "data", writer, nullptr);
  const auto start = source_root() / "tests/golden/video/wan_tiny_official.safetensors";
  Session session({"--init-from", start.string(), "--num-heads", "2", "--fw-head-dim", "12",
                   "--condition", "none", "--data", (folder / "data").string(), "--steps", "2",
                   "--batch-size", "1", "--ema", "0", "--warmup-steps", "0"});
  REQUIRE(session.run(folder / "run") == train::Outcome::done);
  const auto before = io::Checkpoint::open(start), after = model_of(folder / "run");
  for (const auto& name : before.names()) {
    CAPTURE(name);
    REQUIRE(after.contains(name));
    // Two steps of AdamW at a rate of 5e-6.
    CHECK((after.tensor(name) - before.tensor(name)).abs().max().item<double>() < 1.1e-5);
  }
  // What is new moves ten times as fast.
  const auto gate = after.tensor("blocks.0.self_attn.ttt_scale_proj.bias").abs().item<double>();
  CHECK(gate > 2e-5);
  CHECK(gate < 1.1e-4);

  // The same in the words of the published program; another width of it is refused.
  const std::string yaml = R"(model_config:
  class_name: wan_model_warpper.WanModel
  dim: 24
  ffn_dim: 64
  num_heads: 2
  num_layers: 2
  in_dim: 4
  out_dim: 4
  freq_dim: 32
  text_dim: 20
  text_len: 7
  attn_every_n_layers: 100
  efficient_attn_config: [{fw_head_dim: 12, qk_l2_norm: true}]
)";
  io::write_text(folder / "m.yaml", yaml);
  const Words words{"--init-from",    start.string(),
                    "--model-config", (folder / "m.yaml").string(),
                    "--data",         (folder / "data").string(),
                    "--steps",        "2",
                    "--batch-size",   "1",
                    "--ema",          "0",
                    "--warmup-steps", "0"};
  const auto same = model_of(trained(folder / "same", words));
  REQUIRE(same.names() == after.names());
  for (const auto& name : after.names()) CHECK(same.tensor(name).equal(after.tensor(name)));
  auto wide = yaml;
  wide.replace(wide.find("ffn_dim: 64"), 11, "ffn_dim: 80");
  io::write_text(folder / "m.yaml", wide);
  CHECK_THAT(refusal(words, folder / "wide"), Catch::Contains("ffn.0.weight"));
}

TEST_CASE("a shift of training leaves that of sampling, and the other way round", "[wan]") {
  // What it trains with, and what it says to lact-generate.
  const auto shifts = [](const Words& words) {
    cli::CommandLine line;
    ModelOptions options;
    options.declare(line.options());
    line.parse(words);
    const auto config = options.resolve(nullptr);
    return std::pair(config.shift, SamplingOptions::usual(config, 4680).shift);
  };
  CHECK(shifts({"--preset", "wan_1.3b"}) == std::pair(0.0, 3.0));
  CHECK(shifts({"--preset", "wan_1.3b", "--shift", "5"}) == std::pair(5.0, 3.0));
  CHECK(shifts({"--preset", "wan_1.3b", "--sample-shift", "7"}) == std::pair(0.0, 7.0));
  CHECK(shifts({"--preset", "tiny", "--sample-shift", "7"}) == std::pair(2.0, 7.0));

  // The adjusted one of chunks of 4680 tokens; a plain Wan that becomes the hybrid has it too.
  const auto row = [](const Words& words) {
    Session session(words);
    session.task->configure();
    for (const auto& [name, value] : session.task->cost({}).rows)
      if (name == "shift of the times") return value;
    return std::string();
  };
  CHECK_THAT(row({"--preset", "wan_1.3b"}), Catch::StartsWith("2.113"));
  CHECK(row({"--preset", "tiny"}) == "2");
  const ModelOptions options;
  auto plain = Config::preset("wan_t2v_1.3b");
  const auto hybrid = options.resolve(&plain);
  CHECK(hybrid.fast.has_value());
  CHECK(hybrid.shift == 0);
  CHECK(hybrid.sample_shift == 3);
}

TEST_CASE("the released sizes cost what they should", "[cost]") {
  const auto config = Config::preset("wan_1.3b");
  CHECK(nn::count(parameter_shapes(config)) == 1631863570);
  // Seven chunks of 4680 tokens: the products with parameters of self attention and feed-forward
  // are most of it, 60840 tokens through 30 blocks.
  const Extent sequence{7, 1, 4680};
  CHECK(sequence.length() == 60840);
  const double tokens = 60840, d = 1536, products = 30 * tokens * (8 * d * d + 4 * d * 8960);
  const double forward = forward_flops(config, sequence);
  CHECK(forward > products);
  CHECK(forward < 2.5 * products);
  CHECK(activation_bytes(config, sequence, 2, true) <
        0.1 * activation_bytes(config, sequence, 2, false));
  // Fast weights of 1536 x 3072 x 3 and a window of 4680 keys and values, 30 times, in float32.
  CHECK(state_bytes(config, 4680) ==
        Approx(4 * 30 * (3 * 1536.0 * 1536 + 2 * 4680.0 * 1536 + 2 * (2 * 1536.0 + 768))));
}
