// Frames to files, films and pictures as they come.
#include "support/test.hpp"

#include <plugins/common/media/frame_sink.hpp>

#include <lact/error.hpp>

#include <filesystem>
#include <map>

using namespace lact;
namespace fs = std::filesystem;

namespace {

media::Image grey(uint8_t value) {
  media::Image image(16, 16);
  std::fill(image.pixels.begin(), image.pixels.end(), value);
  return image;
}

}  // namespace

TEST_CASE("a pattern has exactly one number, and its width") {
  CHECK(media::numbered_name("a-%03d.png", 7) == "a-007.png");
  CHECK(media::numbered_name("%d%%.png", 12) == "12%.png");
  CHECK(media::numbered_name("%2d.png", 123) == "123.png");
  for (const char* wrong : {"a.png", "%d-%d.png", "%s.png", "%", "%100d.png", "%x%d.png", "a%-3d"})
    CHECK_THROWS_WITH(media::numbered_name(wrong, 0), Catch::Contains("one number"));
}

TEST_CASE("each frame is a whole file before the next one is made") {
  const test::TemporaryFolder folder;
  media::FrameSink sink((folder / "deep/er").string(), 10, {41, 5});
  for (uint8_t i = 0; i < 3; ++i) {
    sink.add(grey(i));
    const auto file = folder / concat("deep/er/0004", 1 + i, ".png");
    REQUIRE(fs::exists(file));
    CHECK(media::read_image(file) == grey(i));
  }
  sink.finish();
  media::FrameSink pattern((folder / "new/x-%d.png").string(), 10, {9, 5});
  pattern.add(grey(1));
  pattern.add(grey(2));
  CHECK(media::read_image(folder / "new/x-10.png") == grey(2));
}

TEST_CASE("a film without a frame is no film, and one with frames appears at its end") {
  const test::TemporaryFolder folder;
  const auto file = folder / "a.mp4";
  media::FrameSink none(file.string(), 10);
  none.finish();
  CHECK_FALSE(fs::exists(file));
  media::FrameSink some(file.string(), 10);
  some.add(grey(100));
  CHECK_FALSE(fs::exists(file));
  some.finish();
  CHECK(fs::exists(file));
}

TEST_CASE("what no frame can go to is refused by its name") {
  for (const char* wrong : {"a.avi", "b.gif", "%d-%d.png"})
    CHECK_THROWS_WITH(media::FrameSink::check(wrong), Catch::Contains(wrong));
  for (const char* right : {"-", "folder", "a.mp4", "a.webm", "a.png", "%04d.jpg"})
    CHECK_NOTHROW(media::FrameSink::check(right));
}
