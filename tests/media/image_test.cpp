// Images: read as Pillow reads them, resized as Pillow resizes, refused when damaged.

#include <lact/io/files.hpp>
#include <lact/io/safetensors.hpp>
#include <plugins/common/media/image.hpp>
#include <support/test.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <lact/error.hpp>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <random>

using namespace lact;
using namespace lact::media;
using namespace lact::test;

namespace {

std::filesystem::path images() {
  return source_root() / "tests/golden/images";
}

at::Tensor tensor(const Image& image) {
  return at::from_blob(const_cast<uint8_t*>(image.pixels.data()),
                       {image.height, image.width, image.channels}, at::kByte);
}

Image image_of(const at::Tensor& pixels) {
  Image image(pixels.size(1), pixels.size(0), pixels.size(2));
  std::copy_n(pixels.contiguous().data_ptr<uint8_t>(), image.pixels.size(), image.pixels.data());
  return image;
}

Image noise(int64_t width, int64_t height, int64_t channels, uint32_t seed) {
  std::mt19937 random(seed);
  Image image(width, height, channels);
  for (auto& value : image.pixels) value = static_cast<uint8_t>(random() >> 7);
  return image;
}

/// The refusal's words, each of which must name `name`; "" if the bytes are read.
std::string refusal(std::string_view bytes, const std::string& name = "a.img") {
  try {
    decode_image(bytes, name);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::data);
    const std::string what = error.what();
    CHECK(what.rfind(name + ": ", 0) == 0);
    CHECK(what.find('\n') == std::string::npos);
    return what;
  }
  return "";
}

/// Whether the call throws with that exit code.
template <class Function>
bool refused(Exit code, const Function& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() == code;
  }
  return false;
}

/// Bytes that came to stderr while it lived.
class Chatter {
 public:
  explicit Chatter(const std::filesystem::path& file) : file_(file), old_(::dup(STDERR_FILENO)) {
    const int descriptor = ::open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(descriptor, STDERR_FILENO);
    ::close(descriptor);
  }
  ~Chatter() {
    ::dup2(old_, STDERR_FILENO);
    ::close(old_);
  }
  uintmax_t bytes() const { return std::filesystem::file_size(file_); }

 private:
  std::filesystem::path file_;
  int old_;
};

}  // namespace

TEST_CASE("images of every kind have the pixels that Pillow reads, turned as EXIF says") {
  const auto expected = io::SafeTensors::open(images() / "pixels.safetensors");
  CHECK(expected.entries().size() == 30);
  for (const auto& entry : expected.entries()) {
    CAPTURE(entry.name);
    const auto image = read_image(images() / entry.name);
    const auto want = expected.tensor(entry.name);
    REQUIRE(tensor(image).sizes() == want.sizes());
    CHECK(at::equal(tensor(image), want));
  }
}

TEST_CASE("an image read as stored is not turned, whatever its EXIF says") {
  for (const char* name : {"turned.png", "turned6.jpg", "turned.webp"}) {
    CAPTURE(name);
    const auto stored = read_stored_image(images() / name), shown = read_image(images() / name);
    CHECK(stored != shown);
    CHECK(stored.pixels.size() == shown.pixels.size());
  }
  CHECK(read_stored_image(images() / "rgb.jpg") == read_image(images() / "rgb.jpg"));
}

TEST_CASE("a picture of another kind is named as what it is, with what helps") {
  const auto told = [](const std::string& bytes) {
    try {
      decode_image(bytes, "a.jpg");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string start(
      "\0\0\0\x18"
      "ftyp",
      8),
      tail("\0\0\0\0mif1", 8);
  CHECK_THAT(told(start + "heic" + tail),
             Catch::Contains("found a HEIF picture") && Catch::Contains("convert it"));
  CHECK_THAT(told(start + "avif" + tail), Catch::Contains("an AVIF picture"));
  CHECK_THAT(told(std::string("GIF89a\x40\1\xf0\0\0\0", 12)),
             Catch::Contains("a GIF picture: convert it"));
  CHECK_THAT(told("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
             Catch::Contains("git lfs pull"));
  CHECK_THAT(told("neither"), Catch::Contains("found \"neither\" at its begin"));
}

TEST_CASE("an image that is cut off anywhere is refused, and nothing reaches stderr") {
  const TemporaryFolder folder;
  const Chatter chatter(folder / "stderr");
  for (const char* name :
       {"rgb.png", "grey2_interlaced.png", "palette_alpha.png", "turned.png", "rgb.jpg",
        "progressive.jpg", "turned6.jpg", "lossy.webp", "lossless.webp", "turned.webp"}) {
    CAPTURE(name);
    const auto bytes = io::read_text(images() / name);
    CHECK(refusal(bytes).empty());
    for (size_t length = 0; length < bytes.size(); ++length) {
      CAPTURE(length);
      CHECK_FALSE(refusal(std::string_view(bytes).substr(0, length)).empty());
    }
  }
  CHECK(chatter.bytes() == 0);
}

TEST_CASE("a photograph with a flipped bit is refused or read, and nothing reaches stderr") {
  const TemporaryFolder folder;
  const Chatter chatter(folder / "stderr");
  for (const char* name : {"rgb.png", "rgb.jpg", "progressive.jpg", "lossy_alpha.webp"}) {
    auto bytes = io::read_text(images() / name);
    for (size_t i = 0; i < bytes.size() * 8; i += 3) {
      bytes[i / 8] ^= static_cast<char>(1 << i % 8);
      CHECK_NOTHROW(refusal(bytes));
      bytes[i / 8] ^= static_cast<char>(1 << i % 8);
    }
  }
  CHECK(chatter.bytes() == 0);
}

TEST_CASE("what is no image, a missing file and a folder are refused by name") {
  const TemporaryFolder folder;
  CHECK_THAT(refusal("GIF89a\x01\x01"), Catch::Contains("expected a PNG, JPEG or WebP image"));
  CHECK_FALSE(refusal("").empty());
  CHECK(refused(Exit::no_input, [&] { read_image(folder / "none.png"); }));
  CHECK(refused(Exit::no_input, [&] { read_image(folder.path()); }));
}

TEST_CASE("a header that claims more pixels than its bytes can hold costs no memory") {
  auto png = io::read_text(images() / "grey1.png");
  const auto start = std::chrono::steady_clock::now();
  auto jpeg = io::read_text(images() / "rgb.jpg");
  const auto frame = jpeg.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  jpeg.replace(frame + 5, 4, "\x7f\xff\x1f\xff");  // 8191 x 32767, below 2^28
  CHECK_THAT(refusal(jpeg), Catch::Contains("8191 x 32767"));
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");
  CHECK_THAT(refusal(jpeg), Catch::Contains("at most 268435456 pixels, found 65500 x 65500"));
  png.replace(16, 8, std::string("\0\0\x40\0\0\0\x3f\0", 8));
  CHECK_THAT(refusal(png), Catch::Contains("CRC"));
  png.replace(29, 4, "\x9b\x93\x8d\xeb");  // zlib.crc32 of the head
  CHECK_THAT(refusal(png), Catch::Contains("16384 x 16128"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
}

TEST_CASE("what is written is read back: PNG and WebP exactly, JPEG nearly") {
  const TemporaryFolder folder;
  for (const int64_t channels : {3, 4}) {
    const auto image = noise(37, 23, channels, 5);
    for (const char* name : {"a.png", "a.webp", "A.PNG"}) {
      CAPTURE(name, channels);
      write_image(folder / name, image);
      CHECK(read_image(folder / name) == image);
    }
    CHECK(decode_image(encode_png(image), "png") == image);
  }
  Image smooth(40, 30);
  for (int64_t y = 0; y < 30; ++y)
    for (int64_t x = 0; x < 40; ++x) {
      smooth.at(x, y)[0] = static_cast<uint8_t>(6 * x);
      smooth.at(x, y)[1] = static_cast<uint8_t>(8 * y);
      smooth.at(x, y)[2] = static_cast<uint8_t>(3 * x + 4 * y);
    }
  write_image(folder / "a.jpg", smooth, 98);
  const auto difference =
      tensor(read_image(folder / "a.jpg")).to(at::kInt) - tensor(smooth).to(at::kInt);
  CHECK(difference.abs().max().item<int>() <= 4);  // of quantization; a swapped channel is 200 off
  CHECK(difference.abs().max().item<int>() > 0);
}

TEST_CASE("an image file appears whole or not at all, and an unknown suffix is refused") {
  const TemporaryFolder folder;
  const auto image = noise(4, 4, 3, 1);
  CHECK(refused(Exit::usage, [&] { write_image(folder / "a.gif", image); }));
  CHECK(refused(Exit::usage, [&] { write_image(folder / "png", image); }));
  CHECK(refused(Exit::cannot_create, [&] { write_image(folder / "no/a.png", image); }));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("resizing to cover, cropping and compositing are Pillow's to the bit (golden)") {
  const auto file =
      io::SafeTensors::open(source_root() / "tests/golden/views/image_prep.safetensors");
  const auto targets = nlohmann::json::parse(file.metadata().at("case")).at("targets");
  REQUIRE(targets.size() == 5);
  for (size_t i = 0; i < targets.size(); ++i) {
    CAPTURE(i);
    const auto number = std::to_string(i);
    const auto image = image_of(file.tensor("in.image" + number));
    const int64_t height = targets[i][0], width = targets[i][1];
    const auto covered = cover(image, width, height);
    CHECK(at::equal(tensor(covered.image), file.tensor("out.pixels" + number)));
    const auto rgb = tensor(over(covered.image)).permute({2, 0, 1}).to(at::kDouble) / 255;
    CHECK((rgb - file.tensor("out.rgb" + number)).abs().max().item<double>() < 1e-7);
  }
}

TEST_CASE("cover computes the window of what resize would give") {
  for (const int64_t channels : {3, 4}) {
    const auto image = noise(61, 40, channels, 9);
    const auto covered = cover(image, 20, 20);  // scale 1/2: 30.5 x 20, halves to even
    const auto whole = resize(image, 30, 20);
    REQUIRE(covered.left == 5);
    REQUIRE(covered.top == 0);
    CHECK(covered.scale == 0.5);
    CHECK(at::equal(tensor(covered.image), tensor(whole).slice(1, 5, 25)));
    CHECK(resize(image, 61, 40) == image);
  }
  // A line of pixels covers a square by being 2^26 pixels long; only the square is made.
  const auto covered = cover(noise(1, 1 << 17, 3, 2), 512, 512);
  CHECK(covered.image.height == 512);
  CHECK(covered.top == (int64_t{1} << 25) - 256);
}

TEST_CASE("alpha is composited over the background in 8 bits") {
  Image image(3, 1, 4);
  image.pixels = {10, 20, 30, 255, 10, 20, 30, 0, 100, 0, 200, 128};
  // (100 * 128 + 255 * 127) / 255 = 177.2, (200 * 128 + 255 * 127) / 255 = 227.4
  CHECK(over(image).pixels == std::vector<uint8_t>{10, 20, 30, 255, 255, 255, 177, 127, 227});
  CHECK(over(image, {0, 0, 0}).pixels == std::vector<uint8_t>{10, 20, 30, 0, 0, 0, 50, 0, 100});
  CHECK(over(noise(3, 3, 3, 1)) == noise(3, 3, 3, 1));
}

TEST_CASE("colours are read by name and in hexadecimal") {
  CHECK(parse_colour("white") == Colour{255, 255, 255});
  CHECK(parse_colour("black") == Colour{0, 0, 0});
  CHECK(parse_colour("#0aB1ff") == Colour{10, 177, 255});
  for (const char* wrong : {"", "red", "#12345", "#1234567", "#12345g", "0aB1ff", "#+12345"})
    CHECK(refused(Exit::usage, [&] { parse_colour(wrong); }));
}
