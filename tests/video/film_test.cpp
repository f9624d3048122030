// A film is the same however it is cut into runs, and remembers in constant space.
#include "small_film.hpp"
#include "support/mutate.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>

#include <plugins/common/media/video.hpp>
#include <plugins/video/film/continuation.hpp>
#include <plugins/video/film/frame_source.hpp>
#include <plugins/video/film/given.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>

using namespace lact;
using namespace lact::video;
using at::Tensor;
using test::same_bytes;
namespace fs = std::filesystem;

namespace {

const LoadedVideo& small() {
  static const auto loaded = test::small_film_model(test::small_film_config());
  return loaded;
}

/// The same with latents that cover several frames, those of the tiny VAE.
const LoadedVideo& latents_of_frames() {
  static const auto loaded = [] {
    auto config = test::small_film_config();
    config.in_dim = config.out_dim = 4;
    config.codec = {"wan", 8};
    config.condition = "none";
    return test::small_film_model(
        config, 1, test::source_root() / "tests/golden/video/vae_tiny_diffusers.safetensors");
  }();
  return loaded;
}

Tensor text(const char* prompt) {
  return make_conditioner(small().model.config(), small().model.condition_table())
      ->embed({prompt})
      .detach();
}

FilmOptions quick(double guidance = 1, const char* sampler = "unipc") {
  return {sampler, 3, 2.0, guidance, 11};
}

Film begin(const FilmOptions& options) {
  return {small().model, *small().codec, options, text("a dog"), text("rain"), 16, 16};
}

/// Frames of the next chunks.
Tensor go_on(Film& film, int64_t chunks) {
  std::vector<Tensor> all;
  for (int64_t i = 0; i < chunks; ++i) all.push_back(film.frames(film.next()));
  return at::cat(all);
}

Film again(const io::State& state) {
  return {small().model, *small().codec, state, "hash"};
}

Tensor pixels(int64_t frames) {
  const auto video = at::randint(0, 256, {frames, 16, 16, 3}, at::kByte);
  return video;
}

}  // namespace

TEST_CASE("a film that was saved and resumed after each chunk has the same bytes") {
  const auto guidance = GENERATE(1.0, 2.5);
  const auto* sampler = GENERATE("unipc", "euler");
  CAPTURE(guidance, sampler);
  auto whole = begin(quick(guidance, sampler));
  const auto want = go_on(whole, 4);
  CHECK(want.sizes() == at::IntArrayRef({8, 16, 16, 3}));
  auto film = begin(quick(guidance, sampler));
  const test::TemporaryFolder folder;
  std::vector<Tensor> got;
  for (int i = 0; i < 4; ++i) {
    got.push_back(go_on(film, 1));
    io::save_state(folder / "film.state", film.save("hash"));
    film = again(io::load_state(folder / "film.state"));
    CHECK(film.chunks() == i + 1);
    CHECK(film.shown() == 2 * (i + 1));
  }
  CHECK(same_bytes(at::cat(got), want));
  CHECK_FALSE(same_bytes(got[1], got[2]));
  const auto a = film.save("hash"), b = whole.save("hash");
  CHECK(a.metadata == b.metadata);
  for (const auto& [name, x] : a.tensors) {
    CAPTURE(name);
    CHECK(same_bytes(x, b.tensor(name)));
  }
}

TEST_CASE("a film that nothing was made of yet can be saved") {
  auto film = again(begin(quick(2)).save("hash"));
  auto other = begin(quick(2));
  CHECK(film.chunks() == 0);
  CHECK(same_bytes(go_on(film, 2), go_on(other, 2)));
}

TEST_CASE("a state without all that its decoder remembers is refused, and so is one with more") {
  const auto& loaded = latents_of_frames();
  const auto start = [&] {
    return Film(loaded.model, *loaded.codec, quick(), at::zeros({1, 1, 8}), {}, 32, 16);
  };
  const auto resumed = [&](const io::State& state) {
    return Film(loaded.model, *loaded.codec, state, "hash");
  };
  auto film = start(), whole = start();
  const auto nothing = film.save("hash");
  CHECK(resumed(nothing).chunks() == 0);
  go_on(film, 1);
  const auto good = film.save("hash");
  film = resumed(good);
  const auto want = go_on(whole, 3);
  CHECK(same_bytes(go_on(film, 2), want.slice(0, 5)));
  int keys = 0;
  for (const auto& [name, x] : good.tensors) {
    if (!name.starts_with("decoder.")) continue;
    ++keys;
    CAPTURE(name);
    auto state = good;
    state.tensors.erase(name);
    CHECK_THROWS_WITH(resumed(state), Catch::StartsWith("state: ") && Catch::Contains(name));
    state.tensors[name] = at::zeros({1, 2, 3});
    CHECK_THROWS_WITH(resumed(state), Catch::Contains(name) && Catch::Contains("expected"));
    state = nothing;
    state.tensors[name] = x;
    CHECK_THROWS_WITH(resumed(state), Catch::Contains(name));
  }
  CHECK(keys > 10);
  auto state = begin(quick()).save("hash");
  state.tensors["decoder.vae.0"] = at::zeros({1});
  CHECK_THROWS_WITH(again(state), Catch::Contains("decoder.vae.0"));
}

TEST_CASE("a state is refused by a model of another configuration or VAE, by name") {
  const auto made_by = [](const LoadedVideo& loaded) {
    return Film(loaded.model, *loaded.codec, quick(), at::zeros({1, 1, 8}), {}, 16, 16)
        .save("hash");
  };
  const auto goes_on = [](const io::State& state, const Config& config, const Codec& codec) {
    const auto model = VideoModel::fresh(config, 1, at::kCPU);
    Film(model, codec, state, "hash");
  };
  const auto& codec = *small().codec;
  const auto state = made_by(small());
  const auto refused = [&](const Config& config) {
    CHECK_THROWS_WITH(goes_on(state, config, codec),
                      Catch::StartsWith("state: ") && Catch::Contains("config.json"));
  };
  auto config = small().model.config();
  config.eps = 1e-5;
  refused(config);
  config = small().model.config();
  config.fast->base_lr = 0.04;
  refused(config);
  config = small().model.config();
  config.fast->learn = "none";
  refused(config);
  config = small().model.config();
  config.rate = 30;  // of these the film has its own, or none
  config.shift = 7;
  config.width = 64;
  CHECK_NOTHROW(goes_on(state, config, codec));

  const test::TemporaryFolder folder;
  fs::copy(test::source_root() / "tests/golden/video/vae_tiny_official.pth", folder / "vae.pth");
  io::write_text(folder / "config.json",
                 R"({"latents_mean": [1, 1, 1, 1], "latents_std": [2, 2, 2, 2]})");
  const auto& wan = latents_of_frames();
  const auto other = open_codec(wan.model.config().codec, nullptr, folder / "vae.pth", at::kCPU);
  CHECK_NOTHROW(goes_on(made_by(wan), wan.model.config(), *wan.codec));
  CHECK_THROWS_WITH(goes_on(made_by(wan), wan.model.config(), *other),
                    Catch::StartsWith("state: ") && Catch::Contains("another VAE"));
}

TEST_CASE("a state does not grow with the film") {
  auto film = begin(quick(2));
  const auto bytes = [&] {
    size_t sum = 0;
    for (const auto& [name, x] : film.save("hash").tensors) sum += x.nbytes();
    return sum;
  };
  go_on(film, 1);
  const auto one = bytes();
  go_on(film, 6);
  CHECK(bytes() == one);
}

TEST_CASE("noise follows from seed and chunk, and is normal") {
  const auto a = chunk_noise(3, 5, {1, 2, 12, 8, 8});
  CHECK(same_bytes(a, chunk_noise(3, 5, {1, 2, 12, 8, 8})));
  CHECK_FALSE(same_bytes(a, chunk_noise(3, 6, {1, 2, 12, 8, 8})));
  CHECK_FALSE(same_bytes(a, chunk_noise(4, 5, {1, 2, 12, 8, 8})));
  const auto many = chunk_noise(1, 0, {100001}).to(at::kDouble);  // odd
  // Bounds: five standard deviations of each estimate.
  CHECK(std::abs(many.mean().item<double>()) < 5 / std::sqrt(1e5));
  CHECK(std::abs(many.square().mean().item<double>() - 1) < 5 * std::sqrt(2 / 1e5));
  CHECK(std::abs(many.pow(4).mean().item<double>() - 3) < 5 * std::sqrt(96 / 1e5));
  const auto pairs = many.slice(0, 0, 100000).view({-1, 2});
  CHECK(std::abs((pairs.select(1, 0) * pairs.select(1, 1)).mean().item<double>()) <
        5 / std::sqrt(5e4));
}

TEST_CASE("a rollout of given noise makes what a film makes of the same noise") {
  const auto options = quick(2.5);
  auto film = begin(options);
  std::vector<Tensor> latents, noise;
  for (int64_t c = 0; c < 3; ++c) {
    latents.push_back(film.next());
    noise.push_back(chunk_noise(options.seed, c, latents.back().sizes()));
  }
  const auto got = rollout(small().model, at::cat(noise, 1), text("a dog"), text("rain"), options);
  CHECK(same_bytes(got, at::cat(latents, 1)));
}

TEST_CASE("without guidance the negative prompt is not looked at, with it it counts") {
  const auto with = [&](double guidance, const char* negative) {
    Film film(small().model, *small().codec, quick(guidance), text("a dog"), text(negative), 16,
              16);
    return go_on(film, 2);
  };
  CHECK(same_bytes(with(1, "rain"), with(1, "snow")));
  CHECK_FALSE(same_bytes(with(2, "rain"), with(2, "snow")));
  // Both branches alike: guidance multiplies nothing.
  const auto alike = with(1.5, "a dog").to(at::kInt), none = with(1, "a dog").to(at::kInt);
  CHECK((alike - none).abs().max().item<int>() <= 1);  // roundings
}

TEST_CASE("given frames are learned: what follows depends on them, and on nothing but them") {
  auto film = begin(quick());
  const auto frames = pixels(4);
  const auto latents = small().codec->encode(
      frames.permute({3, 0, 1, 2}).to(at::kFloat).div(255).unsqueeze(0).contiguous());
  film.give(latents);
  CHECK(same_bytes(film.frames(latents), frames));  // the codec loses nothing
  CHECK(film.chunks() == 2);
  const auto next = go_on(film, 1);
  auto fresh = begin(quick());
  fresh.give(latents.slice(1, 0, 2));
  fresh = again(fresh.save("hash"));
  fresh.give(latents.slice(1, 2, 4));
  CHECK(same_bytes(go_on(fresh, 1), next));
  auto other = begin(quick());
  other.give(latents.flip(1));
  CHECK_FALSE(same_bytes(go_on(other, 1), next));
}

TEST_CASE("a branch has another prompt from here on, and the state it came from is as it was") {
  auto film = begin(quick(2));
  go_on(film, 2);
  const auto state = film.save("hash");
  const auto straight = go_on(film, 1);
  auto same = again(state), prompt = again(state), seed = again(state), free = again(state);
  same.change(same.options(), text("a dog"), {});
  CHECK(same_bytes(go_on(same, 1), straight));
  prompt.change(prompt.options(), text("a cat"), {});
  CHECK_FALSE(same_bytes(go_on(prompt, 1), straight));
  auto options = seed.options();
  options.seed = 12;
  seed.change(options, {}, {});
  CHECK_FALSE(same_bytes(go_on(seed, 1), straight));
  options.guidance = 1;  // the other branch ends
  free.change(options, {}, {});
  go_on(free, 1);
  CHECK(free.save("hash").tensors.count("negative") == 0);
  CHECK_THROWS_WITH(free.change(quick(2), {}, {}), Catch::Contains("guidance of 1"));
}

TEST_CASE("a chunk that was broken off leaves the film as it was") {
  auto film = begin(quick());
  go_on(film, 1);
  int steps = 0;
  const auto stop = [&] {
    if (++steps == 2) throw std::runtime_error("enough");
  };
  CHECK_THROWS(film.next(stop));
  CHECK(film.chunks() == 1);
  auto other = begin(quick());
  go_on(other, 1);
  CHECK(same_bytes(go_on(film, 1), go_on(other, 1)));
}

TEST_CASE("states of another model, of no film, and malformed ones are refused by name") {
  auto film = begin(quick(2));
  go_on(film, 1);
  const auto good = film.save("hash");
  const auto refused = [&](io::State state, const char* words) {
    CAPTURE(words);
    try {
      again(state);
      FAIL("was taken");
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      CHECK_THAT(error.what(), Catch::StartsWith("state: ") && Catch::Contains(words));
    }
  };
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto state = good;
    auto values = nlohmann::json::parse(state.metadata["film"]);
    values[key] = value;
    state.metadata["film"] = values.dump();
    return state;
  };
  auto state = good;
  state.metadata["model"] = "other";
  refused(state, "another model");
  state = good;
  state.metadata["modality"] = "views";
  refused(state, "of modality views, not video");
  state = good;
  state.metadata["film"] = "{";
  refused(state, "film");
  refused(with("width", 15), "15 x 16");
  refused(with("width", -4), "width");
  refused(with("chunks", 1.5), "chunks");
  refused(with("chunks", -1), "chunks");
  refused(with("steps", 0), "steps");
  refused(with("seed", -1), "seed");
  refused(with("sampler", "dpm"), "sampler");
  refused(with("guidance", "2"), "guidance");
  for (const char* name : {"prompt", "negative"}) {
    state = good;
    state.tensors.erase(name);
    refused(state, name);
    state = good;
    state.tensors[name] = at::full({1, 2, 8}, std::nan(""));
    refused(state, name);
    state.tensors[name] = at::zeros({1, 2, 9});
    refused(state, name);
  }
  for (const auto& [name, x] : good.tensors) {
    state = good;
    state.tensors[name] = at::zeros({3, 1, 4});
    CAPTURE(name);
    CHECK_THROWS_AS(again(state), Error);
    state.tensors.erase(name);
    CHECK_THROWS_AS(again(state), Error);
  }
}

TEST_CASE("whatever a state says of its film, it is taken or refused") {
  auto film = begin(quick(2));
  go_on(film, 1);
  const auto good = film.save("hash");
  int taken = 0;
  const auto count = static_cast<size_t>(test::trials(300));
  for (const auto& words : test::malformed_inputs({good.value("film")}, count)) {
    auto state = good;
    state.metadata["film"] = words;
    try {
      auto other = again(state);
      ++taken;
      if (other.width() * other.height() <= 64 * 64 && other.options().steps < 100) go_on(other, 1);
    } catch (const Error& error) {
      CAPTURE(words, error.what());
      CHECK((error.code() == Exit::data || error.code() == Exit::usage));
    }
  }
  CHECK(taken < test::trials(300) / 2);
}

TEST_CASE("frames of a film are those it shows at the rate that is asked for") {
  const test::TemporaryFolder folder;
  media::VideoWriter film(folder / "a.mp4", 32, 32, 40);
  for (int i = 0; i < 24; ++i) {
    media::Image image(32, 32);
    std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(20 + 6 * i));
    film.add(image);
  }
  film.finish();
  const auto numbers = [&](double rate) {
    std::vector<int> all;
    const auto frames = FrameSource(folder / "a.mp4", 16, 16, rate).next(100);
    for (int64_t i = 0; i < frames.size(0); ++i)
      all.push_back(
          static_cast<int>(std::lround((frames[i].to(at::kFloat).mean().item<double>() - 20) / 6)));
    return all;
  };
  CHECK(numbers(10) == std::vector<int>{0, 4, 8, 12, 16, 20});
  CHECK(numbers(16) == std::vector<int>{0, 2, 5, 7, 10, 12, 15, 17, 20, 22});
  CHECK(numbers(40).size() == 24);
  CHECK(numbers(80).size() == 48);
  CHECK(FrameSource(test::source_root() / "tests/golden/films/delays.gif", 16, 16, 10)
            .next(100)
            .size(0) == 22);
}

TEST_CASE("sizes without whole patches are refused with what fits") {
  for (const auto& [width, height] : {std::pair{18, 16}, {16, 2}, {0, 16}, {1 << 20, 16}})
    CHECK_THROWS_WITH(Film(small().model, *small().codec, quick(), text(""), {}, width, height),
                      Catch::Contains("multiples of 4 x 4"));
}

TEST_CASE("frames come from films, pictures and numbered folders, in the order of numbers") {
  const test::TemporaryFolder folder;
  for (const int i : {10, 9, 1}) {
    media::Image image(32, 20);  // wider than high: cut to its middle
    std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(i));
    media::write_image(folder / concat("f", i, ".png"), image);
  }
  FrameSource source(folder.path(), 16, 16, 10);
  const auto two = source.next(2), one = source.next(2);
  CHECK(two.sizes() == at::IntArrayRef({2, 16, 16, 3}));
  CHECK(two.select(0, 1).max().item<int>() == 9);
  CHECK(one.size(0) == 1);
  CHECK(one.min().item<int>() == 10);
  CHECK(source.next(2).size(0) == 0);
  FrameSource still(folder / "f9.png", 16, 16, 10);
  CHECK(still.is_still());
  CHECK(still.next(5).size(0) == 5);  // held
  media::VideoWriter film(folder / "a.mp4", 32, 32, 10);
  for (int i = 0; i < 5; ++i) film.add(media::Image(32, 32));
  film.finish();
  CHECK(FrameSource(folder / "a.mp4", 16, 16, 10).next(9).size(0) == 5);
  CHECK_THROWS_WITH(FrameSource(folder / "none.mp4", 16, 16, 10), Catch::Contains("none.mp4"));
  CHECK(natural_less("a9", "a10"));
  CHECK(natural_less("a009", "a10"));
  CHECK_FALSE(natural_less("b1", "a2"));
  CHECK_FALSE(natural_less("a1", "a1"));
}

TEST_CASE("whole chunks of frames are read, and what is left over is counted") {
  const test::TemporaryFolder folder;
  for (int i = 0; i < 5; ++i) media::write_image(folder / concat(i, ".png"), media::Image(16, 16));
  const auto read = [&](int64_t limit) {
    auto film = begin(quick());
    FrameSource source(folder.path(), 16, 16, 10);
    int64_t shown = 0;
    Reading reading;
    const int64_t left = give_frames(
        film, *small().codec, 2, at::kCPU, source, limit, reading,
        [&](const Tensor& frames) { shown += frames.size(0); }, [] {});
    CHECK(shown == reading.frames);
    CHECK(film.shown() == reading.frames);
    return std::pair(reading.frames, left);
  };
  CHECK(read(100) == std::pair<int64_t, int64_t>(4, 1));
  CHECK(read(3) == std::pair<int64_t, int64_t>(2, 1));
  CHECK(read(1) == std::pair<int64_t, int64_t>(0, 1));
}

TEST_CASE("a film that was saved while frames were read goes on behind those it has") {
  const auto& loaded = GENERATE(false, true) ? latents_of_frames() : small();
  const auto& config = loaded.model.config();
  const bool wan = config.codec.type == "wan";
  CAPTURE(wan);
  const test::TemporaryFolder folder;
  for (int i = 0; i < 14; ++i)
    media::write_image(folder / concat(i, ".png"), to_images(pixels(1))[0]);
  const auto nobody = at::zeros({1, 1, 8});
  const auto start = [&] { return Film(loaded.model, *loaded.codec, quick(), nobody, {}, 16, 16); };
  struct Enough {};
  // Reads on until `most` frames are learned.
  const auto read = [&](Film& film, Reading& reading, int64_t most, int64_t limit = 14) {
    FrameSource source(folder.path(), 16, 16, 10);
    return give_frames(
        film, *loaded.codec, 2, at::kCPU, source, limit, reading, [](const Tensor&) {},
        [&] {
          if (reading.frames >= most) throw Enough();
        });
  };
  auto whole = start();
  Reading all;
  const int64_t left = read(whole, all, 100);
  CHECK(all.frames == (wan ? 13 : 14));
  CHECK(left == 14 - all.frames);
  const auto next = go_on(whole, 1);

  auto film = start();
  Reading reading;
  CHECK_THROWS_AS(read(film, reading, 4), Enough);
  CHECK(reading.frames == (wan ? 5 : 4));
  const auto before = reading.frames;
  reading = Reading::from_json(reading.to_json(), "s");
  film = Film(loaded.model, *loaded.codec, film.save("hash"), "hash");
  CHECK(read(film, reading, 100) == left);
  CHECK(reading.frames == all.frames);
  CHECK(reading.hash == all.hash);
  CHECK(film.chunks() == (wan ? 2 : 7));
  CHECK(same_bytes(go_on(film, 1), next));

  // No more than were read, fewer, other frames, and too few.
  auto same = start();
  Reading same_reading;
  CHECK_THROWS_AS(read(same, same_reading, 4), Enough);
  CHECK(read(same, same_reading, 100, before) == 0);
  CHECK(same.shown() == before);
  CHECK_THROWS_WITH(read(same, same_reading, 100, before - 1),
                    Catch::Contains("were read already"));
  fs::rename(folder / "1.png", folder / "99.png");
  CHECK_THROWS_WITH(read(same, same_reading, 100), Catch::Contains("of other frames"));
  for (int i = 4; i < 14; ++i) fs::remove(folder / concat(i, ".png"));
  CHECK_THROWS_WITH(read(same, same_reading, 100), Catch::Contains("of other frames"));
  media::VideoWriter fast(folder / "fast.mp4", 16, 16, 30);
  for (int i = 0; i < 30; ++i) fast.add(media::Image(16, 16));
  fast.finish();
  FrameSource source(folder / "fast.mp4", 16, 16, 10);
  CHECK_THROWS_WITH(
      give_frames(
          same, *loaded.codec, 2, at::kCPU, source, 14, same_reading, [](const Tensor&) {}, [] {}),
      Catch::Contains("earlier version, which took all 30 a second of this film, "
                      "not 10"));
  for (const char* words : {"", "[]", "{}", R"({"frames": -1, "hash": ""})", R"({"frames": 2})"})
    CHECK_THROWS_AS(Reading::from_json(words, "s"), Error);
}

TEST_CASE("continuations are scored against the frames they replace") {
  const test::TemporaryFolder folder;
  test::write_small_clips(folder.path(), "validation", 3, 8);
  const auto data = PackedClips::open(folder.path(), "validation");
  CHECK(chunks_of(data, 0, small()) == 4);
  const auto batch = read_clips(data, {0, 1, 2}, small(), 4);
  ContinuationOptions options{quick(), 1, {5, 6}};
  const auto prompt = text("").expand({3, -1, -1});
  Tensor made;
  const auto scores = continue_clips(small(), batch, {0, 1, 2}, prompt, prompt, options, {}, &made);
  REQUIRE(scores.size() == 4);
  CHECK(scores[0].ours.empty());
  CHECK(made.sizes() == batch.video.sizes());
  CHECK(test::scaled_error(made.slice(2, 0, 2), batch.video.slice(2, 0, 2)) < 1e-6);
  // The baseline by hand: the last given frame against the third chunk.
  const auto error =
      (batch.video.slice(2, 1, 2) - batch.video.slice(2, 4, 6)).to(at::kDouble).square().mean();
  CHECK(scores[2].repeated.psnr() == Approx(-10 * std::log10(error.item<double>())));
  // Clip by clip and all together are the same.
  ChunkScore alone;
  for (const int64_t clip : {0, 1, 2}) {
    const auto one = read_clips(data, {clip}, small(), 4);
    alone.add(continue_clips(small(), one, {clip}, text(""), text(""), options)[3]);
  }
  CHECK(alone.ours.psnr() == Approx(scores[3].ours.psnr()).epsilon(1e-4));
  CHECK(alone.velocity / alone.velocities ==
        Approx(scores[3].velocity / scores[3].velocities).epsilon(1e-4));
}

TEST_CASE("equal pictures have 100 dB, and a mean with them is a number") {
  const auto picture = at::full({1, 3, 2, 4, 4}, 0.25);
  Likeness equal, other;
  equal.add(picture, picture);
  CHECK(equal.psnr() == 100);
  CHECK(nlohmann::json(equal.psnr()).dump() == "100.0");
  other.add(picture + 0.1, picture);
  CHECK(other.psnr() == Approx(20));
  other.add(equal);
  CHECK(other.psnr() == Approx(20 + 10 * std::log10(2)));
}

TEST_CASE("velocities are compared as under teacher forcing") {
  const test::TemporaryFolder folder;
  test::write_small_clips(folder.path(), "validation", 1, 6);
  const auto batch = read_clips(PackedClips::open(folder.path(), "validation"), {0}, small(), 3);
  // The last chunk's velocity by the training sequence: noisy and clean entries side by side.
  Rollout past(small().model, quick(), text("x"), {});
  const auto chunks = batch.latents.split(2, 1);
  past.append(chunks[0]);
  past.append(chunks[1]);
  const auto noise = chunk_noise(1, 0, chunks[2].sizes());
  const auto x = 0.1 * chunks[2] + 0.9 * noise;
  const auto stepped = past.velocity(x, 900);
  const auto plan = make_plan(3);
  std::vector<Tensor> entries;
  std::vector<double> times;
  for (const auto& entry : plan) {
    const auto& clean = chunks[static_cast<size_t>(entry.chunk)];
    entries.push_back((entry.clean ? clean : x).transpose(1, 2));
    times.push_back(entry.clean ? 0 : 900);
  }
  const at::NoGradGuard no_graph;
  const auto all = small().model.forward(at::cat(entries), at::tensor(times), text("x"), plan);
  CHECK(test::scaled_error(stepped, all[-1].unsqueeze(0).transpose(1, 2)) < 1e-5);
}
