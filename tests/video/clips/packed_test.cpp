// Packed clips: what is written is read back, from one file or many, and nothing else is taken.

#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/video/packed/packed_writer.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <cstring>
#include <set>

using namespace lact;
using namespace lact::test;
using namespace lact::video;

namespace {

namespace fs = std::filesystem;

constexpr int64_t kWide = 5, kHigh = 3;  // 45 bytes a frame: nothing is aligned by chance

ClipFormat pixels() {
  ClipFormat format;
  format.width = kWide;
  format.height = kHigh;
  format.rate = 12.5;
  return format;
}

/// Clip c has c + 1 frames.
at::Tensor frames_of(int64_t clip) {
  auto frames = at::empty({clip + 1, kHigh, kWide, 3}, at::kByte);
  auto* to = frames.mutable_data_ptr<uint8_t>();
  for (int64_t i = 0; i < frames.numel(); ++i) to[i] = static_cast<uint8_t>(31 * clip + 7 * i);
  return frames;
}

ClipInfo info_of(int64_t clip) {
  return {concat("films/", clip, ".mp4"), 1.0 / 3 * static_cast<double>(clip),
          clip % 2 ? "a \"dog\" \u00e9" : "", clip % 3 ? "dog" : "cat"};
}

void pack(const fs::path& folder, int64_t count, uint64_t shard_bytes = packed::kShardBytes) {
  ClipWriter writer(folder, "train", pixels(), shard_bytes);
  for (int64_t c = 0; c < count; ++c) {
    writer.begin(info_of(c));
    const auto frames = frames_of(c);
    writer.add(frames.slice(0, 0, c));  // a film comes in pieces
    writer.add(frames.slice(0, c));
  }
  writer.begin(info_of(9));  // nothing comes of it
  writer.seal();
  writer.commit();
}

/// The first thing that differs from what pack() wrote, or "".
std::string differs(const PackedClips& packed, int64_t count) {
  if (packed.size() != count || packed.width() != kWide || packed.height() != kHigh ||
      packed.rate() != 12.5 || !packed.codec().empty() || packed.factor() != 1)
    return "format";
  for (int64_t c = 0; c < count; ++c) {
    const auto want = frames_of(c);
    const auto info = info_of(c);
    const auto& got = packed.info(c);
    if (packed.frames(c) != c + 1) return concat("frames of ", c);
    if (!at::equal(packed.read(c, 0, c + 1), want)) return concat("pixels of ", c);
    if (!at::equal(packed.read(c, c, 1), want.slice(0, c))) return concat("last of ", c);
    if (got.source != info.source || got.start != info.start || got.caption != info.caption ||
        got.label != info.label)
      return concat("words of ", c);
  }
  return "";
}

std::set<std::string> listing(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& item : fs::directory_iterator(folder)) names.insert(item.path().filename());
  return names;
}

/// What opening says: exit code and words.
std::pair<Exit, std::string> refusal(const fs::path& where) {
  try {
    PackedClips::open(where);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {Exit::ok, ""};
}

}  // namespace

TEST_CASE("packed clips come back bit by bit from one file and from shards", "[clips]") {
  const TemporaryFolder folder;
  // 45, 90, 135, 180 bytes: a file ends with the clip that reaches 100 bytes.
  const auto [bytes, files] = GENERATE(
      std::make_pair(uint64_t{1} << 30, std::set<std::string>{"train.safetensors"}),
      std::make_pair(uint64_t{100}, std::set<std::string>{"train-00001-of-00003.safetensors",
                                                          "train-00002-of-00003.safetensors",
                                                          "train-00003-of-00003.safetensors",
                                                          "train.safetensors.index.json"}));
  pack(folder.path(), 4, bytes);
  CHECK(listing(folder.path()) == files);
  const auto packed = PackedClips::open(folder.path());
  CHECK(differs(packed, 4) == "");
  packed.verify();
  CHECK(packed.labels() == std::vector<std::string>{"cat", "dog"});
  CHECK(differs(PackedClips::open(folder / *files.rbegin()), 4) == "");  // the file, or the index
  CHECK_THROWS_AS(packed.read(1, 1, 2), Error);
  CHECK_THROWS_AS(packed.read(4, 0, 1), Error);
}

TEST_CASE("frames outlive the packed clips that they came from", "[clips]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2);
  const auto frames = PackedClips::open(folder.path()).read(1, 0, 2);
  CHECK(at::equal(frames, frames_of(1)));
}

TEST_CASE("latents are packed in their own type and shape", "[clips]") {
  const TemporaryFolder folder;
  const auto [type, name] =
      GENERATE(std::make_pair(at::kFloat, "F32"), std::make_pair(at::kBFloat16, "BF16"),
               std::make_pair(at::kHalf, "F16"));
  ClipFormat format{16, 8, 16, "wan", 8, 4, name};
  const auto latents = at::arange(24).reshape({3, 4, 1, 2}).to(type);
  {
    ClipWriter writer(folder.path(), "validation", format);
    writer.begin({"a.mp4", 0, "", ""});
    writer.add(latents);
    CHECK_THROWS_AS(writer.add(frames_of(0)), Error);
    writer.seal();
    writer.commit();
  }
  const auto packed = PackedClips::open(folder.path(), "validation");
  CHECK(packed.codec() == "wan");
  CHECK(packed.factor() == 8);
  CHECK(packed.frames(0) == 3);
  CHECK(packed.read(0, 1, 2).scalar_type() == type);
  CHECK(at::equal(packed.read(0, 1, 2), latents.slice(0, 1)));
}

TEST_CASE("a pack of clips replaces one that was cut otherwise", "[clips]") {
  const TemporaryFolder folder;
  pack(folder.path(), 4, 100);
  pack(folder.path(), 3);
  CHECK(listing(folder.path()) == std::set<std::string>{"train.safetensors"});
  CHECK(differs(PackedClips::open(folder.path()), 3) == "");
  pack(folder.path(), 4, 50);
  CHECK(listing(folder.path()).count("train.safetensors") == 0);
  CHECK(differs(PackedClips::open(folder.path()), 4) == "");
}

TEST_CASE("a pack of clips that is not finished leaves nothing, and the old one as it was",
          "[clips]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2);
  {
    ClipWriter writer(folder.path(), "train", pixels(), 50);
    for (int64_t c = 0; c < 3; ++c) {
      writer.begin(info_of(c));
      writer.add(frames_of(c));
    }
    writer.seal();
  }
  CHECK(listing(folder.path()) == std::set<std::string>{"train.safetensors"});
  CHECK(differs(PackedClips::open(folder.path()), 2) == "");
}

TEST_CASE("what is no pack of clips is refused by its name", "[clips]") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.path()).first == Exit::no_input);
  const auto file = folder / "train.safetensors";
  const auto list = [](const std::string& text) {
    auto tensor = at::full({static_cast<int64_t>(text.size())}, 0, at::kByte);
    std::memcpy(tensor.mutable_data_ptr(), text.data(), text.size());
    return tensor;
  };
  const auto refuses = [&](const std::string& clips, const std::string& words,
                           io::Metadata changed = {}) {
    io::Metadata metadata{{"lact.kind", "clips"},
                          {"lact.version", "1"},
                          {"width", "2"},
                          {"height", "3"},
                          {"rate", "10"}};
    for (const auto& [key, value] : changed) metadata[key] = value;
    io::write_safetensors(
        file, {{"1.frames", at::full({2, 3, 2, 3}, 1, at::kByte)}, {"1.clips", list(clips)}},
        metadata);
    const auto [code, said] = refusal(folder.path());
    CHECK(code == (words.empty() ? Exit::ok : Exit::data));
    CHECK_THAT(said, Catch::Contains(words));
    CHECK((words.empty() || said.find(file.string() + ": ") == 0));
  };
  const std::string sound = R"([{"frames":2}])";
  refuses(sound, "");
  refuses(sound, "no packed clips: lact.kind is \"views\"", {{"lact.kind", "views"}});
  refuses(sound, "version 2", {{"lact.version", "2"}});
  refuses(sound, "rate", {{"rate", "nan"}});
  refuses(sound, "width", {{"width", "0"}});
  refuses(sound, "expected U8 frames of [4, 2, 3]", {{"height", "4"}});
  refuses(sound, "expected F32, BF16 or F16 frames", {{"codec", "wan"}, {"factor", "1"}});
  refuses("{}", "expected a list");
  refuses("[", "JSON");
  refuses(R"([{"frames":1}])", "its clips have 1 frames, the file 2");
  refuses(R"([{"frames":1},{"frames":2}])", "clip 1: 2 frames of 1 left");
  refuses(R"([{"frames":0},{"frames":2}])", "clip 0: 0 frames");
  refuses(R"([{"frames":-9223372036854775807}])", "clip 0");
  refuses(R"([{"frames":18446744073709551615}])", "clip 0");
  refuses(R"([{"frames":2,"label":3}])", "clip 0: expected frames");
  refuses(R"([{"frames":2,"start":"0"}])", "clip 0: expected frames");
}

TEST_CASE("a pack of clips with a changed byte is refused, its frames when they are compared",
          "[clips]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2);
  const auto file = folder / "train.safetensors";
  const auto bytes = io::read_text(file);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto start = sizeof header + header;
  for (size_t at = start; at < bytes.size(); at += 7) {
    auto changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    io::write_text(file, changed);
    CAPTURE(at - start);
    const bool frame = at - start < 3 * 45;
    CHECK(refusal(file).first == (frame ? Exit::ok : Exit::data));
    if (frame) CHECK_THROWS_AS(PackedClips::open(file).verify(), Error);
  }
}
