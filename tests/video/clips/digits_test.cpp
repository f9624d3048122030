// Clips that are computed: digits that move, and the camera that pans and returns.

#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <lact/random.hpp>
#include <plugins/video/clips/made_clips.hpp>

#include <ATen/ops/equal.h>

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace lact;
using namespace lact::test;
using namespace lact::video;
using Catch::Contains;

namespace {

/// Pictures of one colour each: 10 x label + which.
DigitImages plain(int64_t size, int64_t labels, int64_t each) {
  DigitImages all{size, {}};
  for (int64_t label = 0; label < labels; ++label)
    for (int64_t i = 0; i < each; ++i)
      all.digits.push_back({label, std::vector<uint8_t>(static_cast<size_t>(size * size),
                                                        static_cast<uint8_t>(10 * label + i + 1))});
  return all;
}

std::string big_endian(std::initializer_list<uint32_t> numbers) {
  std::string bytes;
  for (const auto number : numbers)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

/// Two pictures of 2 x 2: 1 2 3 4 and 5 6 7 255, labels 7 and 0.
std::string idx_images() {
  return big_endian({0x803, 2, 2, 2}) + std::string("\1\2\3\4\5\6\7\xff", 8);
}
std::string idx_labels() {
  return big_endian({0x801, 2}) + std::string("\7\0", 2);
}

/// First column and row of what is not black, and its width and height.
std::array<int64_t, 4> box(const at::Tensor& frame) {
  std::array<int64_t, 4> found{1 << 20, 1 << 20, -1, -1};
  const auto a = frame.accessor<uint8_t, 3>();
  for (int64_t y = 0; y < frame.size(0); ++y)
    for (int64_t x = 0; x < frame.size(1); ++x)
      if (a[y][x][0] > 0) {
        found[0] = std::min(found[0], x);
        found[1] = std::min(found[1], y);
        found[2] = std::max(found[2], x);
        found[3] = std::max(found[3], y);
      }
  return {found[0], found[1], found[2] - found[0] + 1, found[3] - found[1] + 1};
}

}  // namespace

TEST_CASE("a ball bounces between two walls", "[digits]") {
  CHECK(bounced(3, 10) == 3);
  CHECK(bounced(10, 10) == 10);
  CHECK(bounced(12, 10) == 8);
  CHECK(bounced(20, 10) == 0);
  CHECK(bounced(23, 10) == 3);
  CHECK(bounced(-4, 10) == 4);
  CHECK(bounced(-13, 10) == 7);
  CHECK(bounced(5, 0) == 0);
}

TEST_CASE("a digit moves straight on at its speed, whole and between the walls", "[digits]") {
  DigitSettings how;
  how.width = 40;
  how.height = 30;
  how.frames = 60;
  how.digits = 1;
  how.speeds = {2.5};
  const MovingDigits digits(plain(7, 1, 1), how);
  int64_t straight = 0;
  for (int64_t number = 0; number < 20; ++number) {
    const auto clip = digits.make(1, 2, number);
    REQUIRE(clip.frames.sizes() == at::IntArrayRef({60, 30, 40, 3}));
    std::array<int64_t, 4> before{};
    for (int64_t t = 0; t < how.frames; ++t) {
      const auto at = box(clip.frames[t]);
      CHECK(at[2] == 7);
      CHECK(at[3] == 7);
      // Rounded to pixels, at both ends: half a pixel's diagonal each.
      const auto way = t == 0 ? 0 : std::hypot(at[0] - before[0], at[1] - before[1]);
      CHECK(way <= 2.5 + 1.42);
      straight += t > 0 && way >= 2.5 - 1.42;
      before = at;
    }
  }
  CHECK(straight > 20 * 59 * 8 / 10);  // the others bounce
}

TEST_CASE("where digits overlap the larger brightness shows, or the sum up to white", "[digits]") {
  DigitSettings how;
  how.width = how.height = 4;
  how.frames = 3;
  how.digits = 3;
  how.speeds = {1};
  const bool add = GENERATE(false, true);
  how.add = add;
  DigitImages one{4, {{5, std::vector<uint8_t>(16, 100)}}};  // as large as the frame
  const auto clip = MovingDigits(one, how).make(1, 2, 3);
  CHECK(clip.frames.min().item<int64_t>() == (add ? 255 : 100));
  CHECK(clip.frames.max().item<int64_t>() == (add ? 255 : 100));
  CHECK(clip.info.label == "5+5+5");
  CHECK(clip.info.caption == "a 5, a 5 and a 5");
  CHECK(digits_caption({7, 3}) == "a 3 and a 7");
  CHECK(digits_caption({8}) == "an 8");
  CHECK_THROWS_AS(MovingDigits(plain(5, 1, 1), how), Error);
}

TEST_CASE("hidden frames are dark, and a digit that stands still comes back where it was",
          "[digits]") {
  DigitSettings how;
  how.width = how.height = 16;
  how.frames = 8;
  how.digits = 1;
  how.speeds = {0};
  how.hide_from = 2;
  how.hide_to = 5;
  how.grid = 2;
  for (int64_t number = 0; number < 20; ++number) {
    const auto clip = MovingDigits(plain(8, 10, 3), how).make(1, 2, number);
    for (int64_t t = 2; t <= 5; ++t) CHECK(clip.frames[t].max().item<int64_t>() == 0);
    const auto place = box(clip.frames[0]);
    CHECK(place[0] % 2 == 0);
    CHECK(place[1] % 2 == 0);
    for (const int64_t t : {1, 6, 7}) CHECK(at::equal(clip.frames[t], clip.frames[0]));
  }
}

TEST_CASE("digits that alternate are shown one at a time, each where it was", "[digits]") {
  DigitSettings how;
  how.width = how.height = 16;
  how.frames = 12;
  how.digits = 2;
  how.speeds = {0};
  how.alternate = 3;
  how.add = true;
  const auto clip = MovingDigits(plain(8, 10, 3), how).make(1, 2, 3);
  for (int64_t t = 0; t < 6; ++t) {
    CHECK(box(clip.frames[t])[2] == 8);
    CHECK(at::equal(clip.frames[t], clip.frames[t + 6]));
    CHECK(at::equal(clip.frames[t], clip.frames[t / 3 * 3]));
  }
  CHECK_FALSE(at::equal(clip.frames[0], clip.frames[3]));
}

TEST_CASE("a clip of digits is its seed's and number's alone", "[digits]") {
  DigitSettings how;
  how.speeds = {1, 2};
  const MovingDigits digits(plain(28, 10, 3), how);
  const auto clip = digits.make(1, 2, 3);
  CHECK(at::equal(digits.make(1, 2, 3).frames, clip.frames));
  CHECK_FALSE(at::equal(digits.make(1, 2, 4).frames, clip.frames));
  CHECK_FALSE(at::equal(digits.make(2, 2, 3).frames, clip.frames));
  CHECK_FALSE(at::equal(digits.make(1, 3, 3).frames, clip.frames));
}

TEST_CASE("digits for validation are none of those for training, a tenth of each label",
          "[digits]") {
  const auto all = plain(1, 10, 25);
  auto [train, validation] = split_digits(all, 5);
  CHECK(train.digits.size() == 230);
  CHECK(validation.digits.size() == 20);
  const auto counted = [](const DigitImages& part) {
    std::multiset<std::pair<int64_t, int>> found;
    for (const auto& digit : part.digits) found.insert({digit.label, digit.pixels[0]});
    return found;
  };
  auto both = counted(train);
  for (const auto& one : counted(validation)) both.insert(one);
  CHECK(both == counted(all));
  CHECK(counted(split_digits(all, 5).second) == counted(validation));
  CHECK_FALSE(counted(split_digits(all, 6).second) == counted(validation));
  CHECK(split_digits(plain(1, 10, 2), 5).second.digits.size() == 10);
  CHECK_THROWS_AS(split_digits(plain(1, 10, 1), 5), Error);
}

TEST_CASE("IDX files are read, compressed or not, and what is none is refused", "[digits]") {
  const TemporaryFolder folder;
  const auto two = parse_idx(idx_images(), "images", idx_labels(), "labels");
  CHECK(two.size == 2);
  REQUIRE(two.digits.size() == 2);
  CHECK(two.digits[0].label == 7);
  CHECK(two.digits[1].label == 0);
  CHECK(two.digits[0].pixels == std::vector<uint8_t>{1, 2, 3, 4});
  CHECK(two.digits[1].pixels == std::vector<uint8_t>{5, 6, 7, 255});

  io::write_text(folder / "train-images-idx3-ubyte", idx_images());
  CHECK_THROWS_AS(read_digits(folder.path()), Error);  // no labels
  const auto* name = "train-labels-idx1-ubyte.gz";
  auto* out = gzopen((folder / name).c_str(), "wb");
  gzwrite(out, idx_labels().data(), static_cast<unsigned>(idx_labels().size()));
  gzclose(out);
  CHECK(read_digits(folder.path()).digits[0].label == 7);
  CHECK(read_digits(folder / "train-images-idx3-ubyte").digits[1].pixels[3] == 255);
  const auto packed = io::read_text(folder / name);
  io::write_text(folder / name, packed.substr(0, packed.size() - 9));
  CHECK_THROWS_AS(read_digits(folder.path()), Error);

  const auto refuses = [](const std::string& images, const std::string& labels,
                          const std::string& words) {
    try {
      parse_idx(images, "I", labels, "L");
      FAIL("taken: " << words);
    } catch (const Error& error) {
      CHECK(error.code() == Exit::data);
      CHECK_THAT(error.what(), Contains(words));
    }
  };
  refuses(idx_images() + "x", idx_labels(), "I: expected 8 bytes after the sizes, found 9");
  refuses(idx_images().substr(0, 12), idx_labels(), "I: expected an IDX file");
  refuses(idx_labels(), idx_labels(), "I: expected an IDX file");
  refuses(big_endian({0x803, 0xffffffff, 512, 512}), idx_labels(), "I: expected");
  refuses(big_endian({0x803, 1, 0, 2}), idx_labels(), "I: expected pictures of 1 to 512");
  refuses(big_endian({0x803, 2, 2, 1}) + "1234", idx_labels(), "I: expected square pictures");
  refuses(idx_images(), big_endian({0x801, 1}) + "1", "L: expected 2 labels");
  refuses(idx_images(), big_endian({0x801, 2}) + std::string("\1\12", 2),
          "L: label 1: expected a digit, found 10");
}

TEST_CASE("scikit-learn's digits are read from lines of 65 numbers", "[digits]") {
  std::string line;
  for (int i = 0; i < 64; ++i) line += concat(i % 17, ",");
  const auto all = parse_digits_csv(line + "3\n" + line + "9\r\n", "d.csv");
  CHECK(all.size == 8);
  REQUIRE(all.digits.size() == 2);
  CHECK(all.digits[0].label == 3);
  CHECK(all.digits[1].label == 9);
  CHECK(all.digits[0].pixels[16] == 255);
  CHECK(all.digits[0].pixels[8] == 128);  // 127.5
  CHECK(all.digits[0].pixels[17] == 0);
  for (const auto& text : {std::string(), line, line + "10\n", line + "1,\n", "17" + line + "1\n",
                           line + "1\n" + line + "x\n"})
    CHECK_THROWS_AS(parse_digits_csv(text, "d.csv"), Error);
}

TEST_CASE("scaled digits keep their label and their ink's place", "[digits]") {
  DigitImages half{2, {{4, {255, 0, 255, 0}}}};  // the left half
  const auto large = resized(half, 8);
  REQUIRE(large.digits[0].pixels.size() == 64);
  CHECK(large.digits[0].label == 4);
  for (size_t y = 0; y < 8; ++y) {
    CHECK(large.digits[0].pixels[8 * y] > 200);
    CHECK(large.digits[0].pixels[8 * y + 7] < 55);
  }
}

TEST_CASE("the camera pans over blocks and returns to what it has seen", "[digits]") {
  // As in spec/video 10: offsets 0, 4, ..., 28, 32, 28, ..., 4 over a texture of 16 x 48.
  const auto clip = make_pan({}, 1, 2, 3);
  REQUIRE(clip.frames.sizes() == at::IntArrayRef({16, 16, 16, 3}));
  for (int64_t t = 1; t < 8; ++t) CHECK(at::equal(clip.frames[8 - t], clip.frames[8 + t]));
  for (int64_t t = 0; t < 8; ++t)  // a block further, the rest is where it was
    CHECK(at::equal(clip.frames[t].slice(1, 4), clip.frames[t + 1].slice(1, 0, 12)));
  const auto first = clip.frames[0];
  std::set<std::vector<int>> colours;
  for (int64_t y = 0; y < 16; ++y)
    for (int64_t x = 0; x < 16; ++x) {
      const auto pixel = first[y][x];
      CHECK(at::equal(pixel, first[y / 4 * 4][x / 4 * 4]));
      colours.insert({pixel[0].item<int>(), pixel[1].item<int>(), pixel[2].item<int>()});
    }
  CHECK(colours.size() == 16);
  CHECK(at::equal(make_pan({}, 1, 2, 3).frames, clip.frames));
  CHECK_FALSE(at::equal(make_pan({}, 1, 2, 4).frames, clip.frames));
  // A longer film goes on to and fro.
  PanSettings longer;
  longer.frames = 40;
  longer.way = 8;
  const auto film = make_pan(longer, 1, 2, 3).frames;
  CHECK(at::equal(film.slice(0, 0, 16), clip.frames));
  CHECK(at::equal(film.slice(0, 16, 32), clip.frames));
}
