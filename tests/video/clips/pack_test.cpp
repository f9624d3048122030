// lact-tokenize video pack, info, digits and pan, run as programs.

#include "clip_films.hpp"
#include "support/process.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/checkpoint.hpp>
#include <lact/io/files.hpp>
#include <plugins/common/media/image.hpp>
#include <plugins/video/clips/encode_clips.hpp>
#include <plugins/video/codec/codec.hpp>
#include <plugins/video/packed/packed_clips.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <csignal>
#include <cstring>
#include <set>
#include <thread>

using namespace lact;
using namespace lact::test;
using namespace lact::video;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Result pack(const TemporaryFolder& folder, const Words& words, const std::string& input = {}) {
  Words all{"lact-tokenize", "video", "pack",  "-o", (folder / "out").string(),
            "--size",        "16",    "--fps", "10"};
  all.insert(all.end(), words.begin(), words.end());
  return run(all, input);
}

std::set<std::string> listing(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator item(folder, error), end; !error && item != end; ++item)
    names.insert(item->path().filename());
  return names;
}

/// "source:start:number of its first frame" of all clips.
std::string clips_of(const PackedClips& clips) {
  std::string all;
  for (int64_t i = 0; i < clips.size(); ++i)
    all += concat(i > 0 ? " " : "", clips.info(i).source, ":", clips.info(i).start, ":",
                  number_of(clips.read(i, 0, 1)[0]));
  return all;
}

}  // namespace

TEST_CASE("a pack holds the clips of all films in order, and no film on both sides", "[clips]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in/dogs");
  write_numbers(folder / "in/a.mp4", 11, 10);
  write_numbers(folder / "in/b.webm", 9, 10, 77, 53);  // odd sides
  write_numbers(folder / "in/dogs/c.mp4", 16, 20);
  write_numbers(folder / "in/v.mp4", 5, 10);
  io::write_text(folder / "in/a.txt", "a caption");
  io::write_text(folder / "table.csv", "in/b.webm,\"b, too\",cats\n");
  const Words words{
      (folder / "in").string(),        "--frames",           "4", "--cut", "0", "--captions",
      (folder / "table.csv").string(), "--validation-files", "v*"};
  auto one = words, two = words;
  one.insert(one.end(), {"--threads", "1"});
  two.insert(two.end(), {"--threads", "2", "--json"});
  REQUIRE(pack(folder, one).exit == 0);
  const auto bytes = io::read_text(folder / "out/train.safetensors");
  const auto result = pack(folder, two);
  REQUIRE(result.exit == 0);
  CHECK(io::read_text(folder / "out/train.safetensors") == bytes);
  CHECK(result.err ==
        "lact-tokenize: warning: " + (folder / "table.csv").string() +
            ": 2 of 4 films are left without a caption\n"
            "lact-tokenize: train: 6 clips, 24 frames of 16 x 16, from 3 films with 0 cuts, 0 "
            "skipped\n"
            "lact-tokenize: validation: 1 clip, 4 frames of 16 x 16, from 1 film with 0 cuts, "
            "0 skipped\n");
  const auto json = Json::parse(result.out);
  CHECK(json["train"]["clips"] == 6);
  CHECK(json["films"][0]["seconds"].get<double>() == Approx(1.1).epsilon(1e-3));
  const auto train = PackedClips::open(folder / "out");
  CHECK(train.rate() == 10);
  // The film at 20 a second gives every other frame.
  CHECK(clips_of(train) ==
        "a.mp4:0:0 a.mp4:0.4:4 b.webm:0:0 b.webm:0.4:4 dogs/c.mp4:0:0 dogs/c.mp4:0.4:8");
  CHECK(train.info(1).caption == "a caption");
  CHECK(train.info(2).caption == "b, too");
  CHECK(train.info(2).label == "cats");
  CHECK(train.info(4).caption.empty());
  CHECK(clips_of(PackedClips::open(folder / "out", "validation")) == "v.mp4:0:0");
  REQUIRE(
      pack(folder, {(folder / "in").string(), "--frames", "4", "--label-from", "folder"}).exit ==
      0);
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});
  CHECK(PackedClips::open(folder / "out").labels() == Words{"dogs", "in"});
}

TEST_CASE("films that cannot be used are skipped with a line each, or end a strict pack",
          "[clips]") {
  const TemporaryFolder folder;
  const auto in = folder / "in";
  fs::create_directories(in);
  write_numbers(in / "a.mp4", 9, 10);
  write_numbers(in / "short.mp4", 3, 10);
  write_shots(in / "torn.mp4", {60}, 10);
  const auto whole = io::read_text(in / "torn.mp4");
  io::write_text(in / "half.mp4", whole.substr(0, whole.size() / 2));
  auto torn = whole;
  const auto middle = (whole.find("mdat") + whole.find("moov")) / 2;
  for (size_t i = middle; i < middle + 200; ++i) torn[i] = static_cast<char>(i * 37);
  io::write_text(in / "torn.mp4", torn);
  io::write_text(in / "sound.avi", sound_only());
  io::write_text(in / "empty.mkv", "");
  io::write_text(in / "list.mp4", "#EXTM3U\n#EXTINF:1,\n" + (in / "a.mp4").string() + "\n");
  const auto result = pack(folder, {in.string(), "--frames", "4", "--cut", "0"});
  CAPTURE(result.err);
  CHECK(result.exit == 0);
  const auto says = [&](const std::string& name, const std::string& what) {
    CHECK_THAT(result.err, Contains("warning: " + (in / name).string() + ": " + what));
  };
  says("half.mp4", "is damaged");
  says("sound.avi", "expected a film, found no video in it");
  says("empty.mkv", "is damaged, or no film");
  says("list.mp4", "is damaged, or no film");
  says("short.mp4", "expected a shot of 4 frames at 10 a second, found 1 shot of 0.3 s; skipped");
  CHECK_THAT(result.err, Contains("damaged packets or frames were passed over"));
  CHECK_THAT(result.err, Contains("from 2 films with 0 cuts, 5 skipped\n"));
  const auto before = io::read_text(folder / "out/train.safetensors");
  for (const char* name : {"half.mp4", "sound.avi", "empty.mkv", "short.mp4", "torn.mp4"}) {
    const auto strict =
        pack(folder, {(in / "a.mp4").string(), (in / name).string(), "--frames", "4", "--strict"});
    CAPTURE(name, strict.err);
    CHECK(strict.exit == 65);
    CHECK_THAT(strict.err, Contains("error: " + (in / name).string() + ": "));
  }
  CHECK(pack(folder, {(in / "sound.avi").string()}).exit == 65);  // none is left
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});
  CHECK(io::read_text(folder / "out/train.safetensors") == before);
}

TEST_CASE("what is passed over is told: other files, HDR, a missing place", "[clips]") {
  const TemporaryFolder folder;
  const auto in = folder / "in";
  fs::create_directories(in);
  write_numbers(in / "a.mp4", 9, 10);
  fs::copy_file(in / "a.mp4", in / "b.F4V");
  for (const char* name : {"c.rm", "d.rm", "e.webp"}) io::write_text(in / name, "");
  for (const char* name : {"f.dat", "g.dat"}) io::write_text(in / name, "1 2 3\n");
  const auto all = pack(folder, {in.string(), "--frames", "4", "--strict"});
  CAPTURE(all.err);
  REQUIRE(all.exit == 0);
  CHECK_THAT(all.err, Contains("5 other files are passed over") && Contains(".dat, .rm, .webp"));
  CHECK_THAT(all.err, Contains(", 0 skipped") && !Contains("warning"));
  CHECK(PackedClips::open(folder / "out").size() == 4);  // of two films
  const auto films = source_root() / "tests/golden/films";
  const auto some = run({"lact-tokenize", "video", "info", (in / "a.mp4").string(),
                         (in / "c.rm").string(), (films / "pq.mp4").string()});
  CHECK(some.exit == 65);  // after the others are shown
  CHECK_THAT(some.out, Contains("a.mp4") && Contains("pq.mp4"));
  CHECK_THAT(some.err, Contains("c.rm"));
  const auto hdr = pack(folder, {(films / "pq.mp4").string(), "--frames", "2"});
  CHECK_THAT(hdr.err, Contains("HDR film (PQ)"));
  const auto locked = pack(folder, {(films / "encrypted.mp4").string()});
  CHECK(locked.exit == 65);
  CHECK_THAT(locked.err, Contains("is encrypted"));
  io::write_text(folder / "file", "");
  const auto nowhere = run({"lact-tokenize", "video", "pack", (in / "none.mp4").string(), "-o",
                            (folder / "file/out").string()});
  CHECK(nowhere.exit == 73);  // before films are looked for
}

TEST_CASE("a text beside a film that cannot be read costs that film alone", "[clips]") {
  const TemporaryFolder folder;
  const auto in = folder / "in";
  fs::create_directories(in);
  for (const char* name : {"a.mp4", "b.mp4", "c.mp4"}) write_numbers(in / name, 4, 10);
  io::write_text(in / "a.txt", "a caption");
  io::write_text(in / "b.txt", std::string(100000, 'x'));
  const Words words{in.string(), "--frames", "4", "--cut", "0"};
  const auto result = pack(folder, words);
  CHECK(result.exit == 0);
  CHECK(result.err == "lact-tokenize: warning: " + (in / "b.txt").string() +
                          ": longer than 65536 bytes; skipped\n"
                          "lact-tokenize: train: 2 clips, 8 frames of 16 x 16, from 2 films with 0 "
                          "cuts, 1 skipped\n");
  CHECK(clips_of(PackedClips::open(folder / "out")) == "a.mp4:0:0 c.mp4:0:0");
  auto strict = words;
  strict.push_back("--strict");
  CHECK(pack(folder, strict).exit == 65);
  const auto seen = run({"lact-tokenize", "video", "info", in.string()});
  CHECK(seen.exit == 0);
  CHECK_THAT(seen.err, Contains("b.txt: longer than"));
  CHECK_THAT(seen.out, Contains("c.mp4") && !Contains("b.mp4"));
  CHECK(run({"lact-tokenize", "video", "info", (in / "b.mp4").string()}).exit == 65);
  CHECK(pack(folder, {(in / "b.mp4").string()}).exit == 65);  // none is left
}

TEST_CASE("a folder below the one given that cannot be read is passed over", "[clips]") {
  const TemporaryFolder folder;
  const auto in = folder / "in";
  fs::create_directories(in / "locked");
  for (const char* name : {"a.mp4", "locked/b.mp4"}) write_numbers(in / name, 4, 10);
  fs::permissions(in / "locked", fs::perms::none);
  // Even root is then refused.
  const std::string as =
      ::geteuid() == 0 ? "exec setpriv --bounding-set -dac_override,-dac_read_search " : "exec ";
  const auto tokenize = [&](const std::string& words) {
    return run({"/bin/bash", "-c", as + "\"$0\" video " + words,
                (build_root() / "tools/lact-tokenize").string(), (folder / "out").string(),
                in.string()});
  };
  const std::string words = "pack --frames 4 --cut 0 --json -o \"$1\" \"$2\"";
  const auto result = tokenize(words);
  CAPTURE(result.err);
  CHECK(result.exit == 0);
  CHECK_THAT(result.err, Contains("warning: " + (in / "locked").string() +
                                  ": cannot read: Permission denied; skipped\n") &&
                             Contains("1 folder was skipped\n"));
  CHECK(Json::parse(result.out)["skipped_folders"] == 1);
  CHECK(clips_of(PackedClips::open(folder / "out")) == "a.mp4:0:0");
  CHECK(tokenize(words + " --strict").exit == 66);
  CHECK(tokenize(words + "/locked").exit == 66);  // given itself
  fs::permissions(in / "locked", fs::perms::owner_all);
}

TEST_CASE("a film may come through a pipe, wherever its index is", "[clips]") {
  const TemporaryFolder folder;
  const auto name = GENERATE(as<std::string>(), "a.mp4", "a.webm");
  write_numbers(folder / name, 9, 10);
  const Words words{"-", "--frames", "4", "--cut", "0"};
  const auto result = pack(folder, words, io::read_text(folder / name));
  CAPTURE(result.err);
  REQUIRE(result.exit == 0);
  CHECK(clips_of(PackedClips::open(folder / "out")) == "stdin:0:0 stdin:0.4:4");
  fs::remove_all(folder / "out");
  const auto file = run({"/bin/bash", "-c",
                         "exec \"$0\" video pack -o \"$1\" --size 16 --fps 10 --frames 4 - "
                         "< \"$2\"",
                         (build_root() / "tools/lact-tokenize").string(), (folder / "out").string(),
                         (folder / name).string()});
  CHECK(file.exit == 0);
  CHECK(PackedClips::open(folder / "out").size() == 2);
  CHECK(pack(folder, words, "no film").exit == 65);
  CHECK(pack(folder, words, "").exit == 65);
}

TEST_CASE("clips are packed as latents that decode to the pixels", "[clips]") {
  const TemporaryFolder folder;
  write_shots(folder / "a.mp4", {12, 12}, 10);
  const Words words{(folder / "a.mp4").string(), "--frames", "6"};
  REQUIRE(pack(folder, words).exit == 0);
  const auto pixels = PackedClips::open(folder / "out");
  REQUIRE(pixels.size() == 4);
  const auto video = pixels.read(2, 0, 6).permute({3, 0, 1, 2}).unsqueeze(0).to(at::kFloat) / 255;

  auto latent = words;
  latent.insert(latent.end(), {"--codec", "unshuffle", "--codec-factor", "4"});
  REQUIRE(pack(folder, latent).exit == 0);
  const auto unshuffled = PackedClips::open(folder / "out");
  CHECK(unshuffled.codec() == "unshuffle");
  CHECK(unshuffled.factor() == 4);
  CHECK(unshuffled.width() == 16);
  REQUIRE(unshuffled.read(2, 0, 6).sizes() == at::IntArrayRef({6, 48, 4, 4}));
  DecoderMemory memory;
  const auto codec = open_codec({"unshuffle", 4}, nullptr, {}, at::kCPU);
  CHECK((codec->decode(unshuffled.read(2, 0, 6).unsqueeze(0), memory) - video)
            .abs()
            .max()
            .item<double>() < 1e-6);

  latent = words;
  latent.insert(latent.end(), {"--codec", "pca", "--codec-factor", "2", "--codec-channels", "12"});
  REQUIRE(pack(folder, latent).exit == 0);
  CHECK(listing(folder / "out") == std::set<std::string>{"codec.safetensors", "train.safetensors"});
  const auto fitted = PackedClips::open(folder / "out");
  CHECK(fitted.codec() == "pca");
  const auto stored = io::Checkpoint::open(folder / "out/codec.safetensors");
  const auto pca = open_codec({"pca", 2}, &stored, {}, at::kCPU);
  memory.clear();
  // All twelve components: nothing is lost but rounding.
  CHECK(
      (pca->decode(fitted.read(2, 0, 6).unsqueeze(0), memory) - video).abs().max().item<double>() <
      1e-3);
  latent.back() = "2";
  REQUIRE(pack(folder, latent).exit == 0);
  CHECK(PackedClips::open(folder / "out").read(0, 0, 1).size(1) == 2);
  REQUIRE(pack(folder, words).exit == 0);
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});

  const auto refuses = [&](const Words& more, const std::string& line) {
    auto all = words;
    all.insert(all.end(), more.begin(), more.end());
    const auto result = pack(folder, all);
    CHECK(result.exit == 64);
    CHECK_THAT(result.err, Contains(line));
  };
  refuses({"--codec", "unshuffle", "--codec-factor", "3"}, "--size 16x16: expected multiples of 3");
  refuses({"--codec", "wan"}, "--vae");
  refuses({"--validation-files", "x*"}, "no film matches x*");
  refuses({"--size", "16x"}, "--size 16x");
  refuses({"--shard-size", "0"}, "--shard-size 0");
}

TEST_CASE("shots are encoded while they are read", "[clips]") {
  const TemporaryFolder folder;
  write_shots(folder / "a.mp4", {40, 3}, 10);
  const auto vae = source_root() / "tests/golden/video/vae_tiny_diffusers.safetensors";
  const Words words{(folder / "a.mp4").string(), "--frames", "0"};
  REQUIRE(pack(folder, words).exit == 0);
  const auto pixels = PackedClips::open(folder / "out").read(0, 0, 40);
  const auto first = pixels.slice(0, 0, 37), last = PackedClips::open(folder / "out").read(1, 0, 3);
  const auto codec = open_codec({"wan", 8}, nullptr, vae, at::kCPU);
  const auto encoded = [&](const at::Tensor& frames) {
    return codec->encode(to_video(frames.unsqueeze(0), at::kCPU))[0];
  };
  auto latent = words;
  latent.insert(latent.end(), {"--codec", "wan", "--vae", vae.string()});
  REQUIRE(pack(folder, latent).exit == 0);
  const auto clips = PackedClips::open(folder / "out");
  REQUIRE(clips.frames(0) == 10);  // 1 + 9 x 4 frames; three fill none
  REQUIRE(clips.frames(1) == 1);
  // BF16 keeps eight bits.
  CHECK(scaled_error(clips.read(0, 0, 10).to(at::kFloat), encoded(first)) < 4e-3);
  CHECK(scaled_error(clips.read(1, 0, 1).to(at::kFloat), encoded(last.slice(0, 0, 1))) < 4e-3);

  EncodeOptions options;
  options.type = "wan";
  options.vae = vae.string();
  ClipFormat format;
  format.width = format.height = 16;
  const ClipEncoder encoder(options, nullptr, format, 0, at::kCPU);
  ClipEncoder::Stream stream(encoder);
  std::vector<at::Tensor> pieces;
  std::vector<int64_t> counts;
  for (const auto& piece : pixels.split_with_sizes({16, 16, 2, 6})) {
    pieces.push_back(stream.next(piece));
    counts.push_back(pieces.back().size(0));
  }
  // All that 16, 32, 34 and 40 frames fill: nothing waits for the end of the shot.
  CHECK(counts == std::vector<int64_t>{4, 4, 1, 1});
  CHECK(same_bytes(at::cat(pieces), encoder.encode(pixels)));
}

TEST_CASE("a pack of films that is stopped leaves nothing", "[clips]") {
  const TemporaryFolder folder;
  write_shots(folder / "a.mp4", {600}, 10);
  Words words{"lact-tokenize", "video", "pack",  "-o",  (folder / "out").string(),
              "--size",        "512",   "--fps", "1000"};
  words.push_back((folder / "a.mp4").string());
  Process process(words);
  const auto start = std::chrono::steady_clock::now();
  while (listing(folder / "out").empty() &&
         std::chrono::steady_clock::now() - start < std::chrono::seconds(60))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK_FALSE(listing(folder / "out").empty());  // it writes
  process.signal(SIGTERM);
  CHECK(process.wait().exit == 128 + SIGTERM);
  CHECK(listing(folder / "out").empty());
}

TEST_CASE("a pack of clips that outgrows its disk leaves the old one", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.mp4", 9, 10);
  REQUIRE(pack(folder, {(folder / "a.mp4").string(), "--frames", "4"}).exit == 0);
  const auto before = io::read_text(folder / "out/train.safetensors");
  // Files may have 64 blocks of 1024 bytes; a write beyond them fails.
  const auto result = run(
      {"/bin/bash", "-c",
       "trap '' XFSZ; ulimit -f 64; exec \"$0\" video pack -o \"$1\" --size 200 --frames 4 \"$2\"",
       (build_root() / "tools/lact-tokenize").string(), (folder / "out").string(),
       (folder / "a.mp4").string()});
  CHECK(result.exit == 74);
  CHECK_THAT(result.err, Contains("train.safetensors"));
  CHECK(listing(folder / "out") == std::set<std::string>{"train.safetensors"});
  CHECK(io::read_text(folder / "out/train.safetensors") == before);
}

TEST_CASE("digits and pans are the same for the same seed, however many threads there are",
          "[clips]") {
  const TemporaryFolder folder;
  std::string table;
  for (int line = 0; line < 40; ++line) {
    for (int i = 0; i < 64; ++i) table += concat((i * (line + 3)) % 17, ",");
    table += concat(line % 10, "\n");
  }
  io::write_text(folder / "digits.csv", table);
  const auto made = [&](const Words& words) {
    Words all{"lact-tokenize", "video"};
    all.insert(all.end(), words.begin(), words.end());
    all.insert(all.end(), {"-o", (folder / "set").string()});
    const auto result = run(all);
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    return io::read_text(folder / "set/train.safetensors");
  };
  const Words digits{
      "digits", folder.path().string(), "--count", "100", "--validation-count", "10", "--size",
      "32x16"};
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const auto first = made(with(digits, {"--threads", "1"}));
  const auto clips = PackedClips::open(folder / "set");
  CHECK(clips.size() == 100);
  CHECK(clips.frames(99) == 20);
  CHECK(clips.read(7, 0, 20).sizes() == at::IntArrayRef({20, 16, 32, 3}));
  CHECK(clips.info(3).caption.find(" and ") != std::string::npos);
  CHECK(clips.info(3).label.size() == 3);
  CHECK(PackedClips::open(folder / "set", "validation").size() == 10);
  CHECK(made(with(digits, {"--threads", "2"})) == first);
  CHECK(made(with(digits, {"--seed", "7"})) != first);
  CHECK(made(with(digits, {"--speed", "1,2.5", "--overlap", "add", "--digit-size", "5"})) != first);
  const Words pan{"pan", "--count", "20", "--validation-count", "0"};
  const auto camera = made(pan);
  CHECK(listing(folder / "set") == std::set<std::string>{"train.safetensors"});
  CHECK(PackedClips::open(folder / "set").read(0, 0, 16).size(1) == 16);
  CHECK(made(with(pan, {"--threads", "2"})) == camera);
  CHECK(run({"lact-tokenize", "video", "digits", (folder / "none").string(), "-o", "x"}).exit ==
        66);
  CHECK(run({"lact-tokenize", "video", "digits", folder.path().string(), "-o",
             (folder / "x").string(), "--digit-size", "65"})
            .exit == 64);
}

TEST_CASE("a long pan returns to all it has seen, and info tells how long it is", "[clips]") {
  const TemporaryFolder folder;
  const auto out = (folder / "out").string();
  const int frames = GENERATE(28, 60);  // of them 20 and more can be continued, ten chunks of two
  REQUIRE(run({"lact-tokenize", "video", "pan", "--frames", std::to_string(frames), "--count", "5",
               "--validation-count", "2", "-o", out})
              .exit == 0);
  const auto clips = PackedClips::open(out, "validation");
  REQUIRE(clips.size() == 2);
  const auto film = clips.read(1, 0, frames);
  for (int t = 1; t < frames / 2; ++t) {
    CAPTURE(t);
    CHECK(at::equal(film[frames - t], film[t]));
    for (int before = 0; before < t; ++before) CHECK_FALSE(at::equal(film[before], film[t]));
  }
  const auto told = Json::parse(run({"lact-tokenize", "video", "info", out, "--json"}).out).at(1);
  CHECK(told["clips"] == 2);
  CHECK(told["frames"] == 2 * frames);
  CHECK(told["shortest"] == frames);
  CHECK(told["longest"] == frames);
  CHECK(told["seconds"].get<double>() == Approx(frames / 5.0));
  CHECK_THAT(run({"lact-tokenize", "video", "info", out}).out,
             Contains("| of each |") && Contains(concat("|      ", frames, " |     16 x 16 |")));
}

TEST_CASE("info tells what clips and films hold, and draws them", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.mp4", 12, 10);
  io::write_text(folder / "a.txt", "a caption");
  REQUIRE(pack(folder, {(folder / "a.mp4").string(), "--frames", "4", "--label-from", "caption"})
              .exit == 0);
  const auto sheet = (folder / "sheet.png").string();
  const auto set = run(
      {"lact-tokenize", "video", "info", (folder / "out").string(), "--json", "--sheet", sheet});
  REQUIRE(set.exit == 0);
  const auto packed = Json::parse(set.out).at(0);
  CHECK(packed["clips"] == 3);
  CHECK(packed["frames"] == 12);
  CHECK(packed["width"] == 16);
  CHECK(packed["seconds"].get<double>() == Approx(1.2));
  CHECK(packed["captions"] == 3);
  CHECK(packed["labels"] == Json::array({"a caption"}));
  // Shades 20, 26, ..., 86: their mean is 53, their deviation 6 sqrt(143 / 12).
  CHECK(packed["mean"].get<double>() == Approx(53 / 255.0).margin(0.004));
  CHECK(packed["deviation"].get<double>() == Approx(6 * 3.452 / 255).margin(0.003));
  CHECK(media::read_image(sheet).height > 3 * 64);
  const auto film = run({"lact-tokenize", "video", "info", (folder / "a.mp4").string(), "--json"});
  REQUIRE(film.exit == 0);
  const auto seen = Json::parse(film.out).at(0);
  CHECK(seen["clips"] == 1);
  CHECK(seen["frames"] == 12);
  CHECK(seen["fps"].get<double>() == Approx(10));
  CHECK(seen["captions"] == 1);
  const auto table = run({"lact-tokenize", "video", "info", (folder / "out").string()});
  CHECK_THAT(table.out, Contains("16 x 16") && Contains("3 clips, 1.2 s"));

  const auto file = folder / "out/train.safetensors";
  auto bytes = io::read_text(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  bytes[sizeof header + header + 5] ^= 1;
  io::write_text(file, bytes);
  const auto damaged = run({"lact-tokenize", "video", "info", file.string()});
  CHECK(damaged.exit == 65);
  CHECK_THAT(damaged.err, Contains("00001.frames: damaged"));
  CHECK(run({"lact-tokenize", "video", "info", file.string(), "--no-check"}).exit == 0);
}
