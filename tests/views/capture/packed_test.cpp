// Packed scenes: what is written is read back, from one file or many, and nothing else is taken.

#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/views/scene/packed_scenes.hpp>
#include <plugins/views/scene/packed_writer.hpp>

#include <nlohmann/json.hpp>

#include <ATen/ops/full.h>

#include <cstring>
#include <set>

using namespace lact;
using namespace lact::test;
using namespace lact::views;

namespace {

namespace fs = std::filesystem;

constexpr int64_t kWide = 5, kHigh = 3;  // 45 bytes a view: nothing is aligned by chance

media::Image picture(int seed) {
  media::Image image(kWide, kHigh);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(31 * static_cast<size_t>(seed) + 7 * i);
  return image;
}

Camera camera(int seed) {
  return {1.0 / 3 + seed, 2 + seed / 7.0, 2.5, 1.5, look_at({1.0 + seed, 2, 3}, {0, 0.1, 0})};
}

/// Scene s has s + 1 views.
void add_scenes(SceneWriter& writer, int count) {
  for (int s = 0; s < count; ++s) {
    writer.begin_scene(concat("scene ", s));
    for (int v = 0; v <= s; ++v)
      writer.add(concat("images/", s, "-", v, ".jpg"), camera(s + v), picture(10 * s + v));
  }
}

std::set<std::string> listing(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& item : fs::directory_iterator(folder)) names.insert(item.path().filename());
  return names;
}

void pack(const fs::path& folder, int count, uint64_t shard_bytes) {
  std::vector<int64_t> views;
  for (int s = 0; s < count; ++s) views.push_back(s + 1);
  SceneWriter writer(folder, "train", kWide, kHigh, views, shard_bytes);
  add_scenes(writer, count);
  writer.seal();
  writer.commit();
}

/// The first thing that differs from what add_scenes() wrote, or "".
std::string differs(const PackedScenes& packed, int count) {
  if (packed.size() != count || packed.width() != kWide || packed.height() != kHigh) return "size";
  for (int s = 0; s < count; ++s) {
    if (packed.name(s) != concat("scene ", s) || packed.views(s) != s + 1)
      return concat("name ", s);
    const auto images = packed.images(s);
    if (images.sizes() != c10::IntArrayRef({s + 1, kHigh, kWide, 3})) return concat("shape ", s);
    for (int v = 0; v <= s; ++v) {
      const auto want = picture(10 * s + v);
      const auto i = static_cast<size_t>(v);
      const auto* got = images.const_data_ptr<uint8_t>() + i * want.pixels.size();
      if (std::memcmp(got, want.pixels.data(), want.pixels.size()) != 0)
        return concat("pixels of ", s, " ", v);
      if (packed.files(s)[i] != concat("images/", s, "-", v, ".jpg")) return concat("file ", s, v);
      const auto& found = packed.cameras(s)[i];
      const auto camera = ::camera(s + v);
      if (found.fx != camera.fx || found.fy != camera.fy || found.cx != camera.cx ||
          found.cy != camera.cy || !(found.c2w == camera.c2w))
        return concat("camera ", s, " ", v);
    }
  }
  return "";
}

/// What opening says: exit code and words.
std::pair<Exit, std::string> refusal(const fs::path& where) {
  try {
    PackedScenes::open(where);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {Exit::ok, ""};
}

}  // namespace

TEST_CASE("packed scenes come back bit by bit from one file and from shards", "[views]") {
  const TemporaryFolder folder;
  const auto [bytes, files] = GENERATE(
      std::make_pair(uint64_t{1} << 30, std::set<std::string>{"train.safetensors"}),
      std::make_pair(uint64_t{200}, std::set<std::string>{"train-00001-of-00003.safetensors",
                                                          "train-00002-of-00003.safetensors",
                                                          "train-00003-of-00003.safetensors",
                                                          "train.safetensors.index.json"}));
  // 45, 90, 135, 180 bytes of images: two fit below 200, then one each.
  pack(folder.path(), 4, bytes);
  CHECK(listing(folder.path()) == files);
  const auto packed = PackedScenes::open(folder.path());
  CHECK(differs(packed, 4).empty());
  packed.verify();
  CHECK(refusal(folder / *files.rbegin()).first == Exit::ok);  // the file itself, or the index
  CHECK(PackedScenes(packed).images(3).const_data_ptr() == packed.images(3).const_data_ptr());
}

TEST_CASE("images outlive the packed scenes that they came from", "[views]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2, kShardBytes);
  const auto images = PackedScenes::open(folder.path()).images(1);
  CHECK(images[1][0][0][0].item<uint8_t>() == picture(11).pixels[0]);
}

TEST_CASE("a pack replaces one that was cut otherwise", "[views]") {
  const TemporaryFolder folder;
  pack(folder.path(), 4, 200);
  pack(folder.path(), 3, kShardBytes);
  CHECK(listing(folder.path()) == std::set<std::string>{"train.safetensors"});
  CHECK(differs(PackedScenes::open(folder.path()), 3).empty());
  pack(folder.path(), 4, 100);
  CHECK(listing(folder.path()).count("train.safetensors") == 0);
  CHECK(differs(PackedScenes::open(folder.path()), 4).empty());
  packed::Shards::remove(folder.path(), "validation");
  CHECK(differs(PackedScenes::open(folder.path()), 4).empty());
  packed::Shards::remove(folder.path(), "train");
  CHECK(listing(folder.path()).empty());
}

TEST_CASE("a pack that is not finished leaves nothing, and the old one as it was", "[views]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2, kShardBytes);
  {
    SceneWriter writer(folder.path(), "train", kWide, kHigh, {1, 2, 3}, 100);
    add_scenes(writer, 3);
    writer.seal();
  }
  CHECK(listing(folder.path()) == std::set<std::string>{"train.safetensors"});
  CHECK(differs(PackedScenes::open(folder.path()), 2).empty());
}

TEST_CASE("a scene without views is left out", "[views]") {
  const TemporaryFolder folder;
  SceneWriter writer(folder.path(), "train", kWide, kHigh, {2, 2, 2}, 50);
  writer.begin_scene("a");
  writer.add("1.png", camera(1), picture(1));
  writer.begin_scene("none");
  writer.begin_scene("c");
  writer.add("2.png", camera(2), picture(2));
  writer.seal();
  writer.commit();
  const auto packed = PackedScenes::open(folder.path());
  REQUIRE(packed.size() == 2);
  CHECK(packed.name(1) == "c");
  CHECK(packed.files(1) == std::vector<std::string>{"2.png"});
}

TEST_CASE("what is no pack of scenes is refused by its name", "[views]") {
  const TemporaryFolder folder;
  CHECK(refusal(folder.path()).first == Exit::no_input);
  const auto file = folder / "train.safetensors";
  io::write_safetensors(file, {{"a", at::full({1}, 1.0)}});
  CHECK(refusal(folder.path()).first == Exit::data);
  CHECK(refusal(folder.path()).second.find(file.string() + ": no packed scenes") == 0);
  io::write_safetensors(file, {{"0.images", at::full({1}, 1, at::kByte)}},
                        {{"lact.kind", "views"}, {"lact.version", "2"}});
  CHECK_THAT(refusal(file).second, Catch::Contains("version 2"));
}

TEST_CASE("a pack with a changed byte is refused, its images when they are compared", "[views]") {
  const TemporaryFolder folder;
  pack(folder.path(), 2, kShardBytes);
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
    const auto [code, words] = refusal(file);
    const bool image = at - start < 3 * 45, padding = !image && at - start < 136;
    CHECK(code == (image || padding ? Exit::ok : Exit::data));
    if (code == Exit::ok) CHECK_THROWS_AS(PackedScenes::open(file).verify(), Error);
  }
}
