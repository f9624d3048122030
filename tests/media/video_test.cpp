// Films: what is written is read back, what ffmpeg wrote has its colours and times, and a file
// names no other.

#include <lact/io/files.hpp>
#include <plugins/common/media/sheet.hpp>
#include <plugins/common/media/video.hpp>
#include <support/test.hpp>

#include <lact/error.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <functional>
#include <iterator>
#include <thread>

using namespace lact;
using namespace lact::media;
using namespace lact::test;

namespace {

std::filesystem::path films() {
  return source_root() / "tests/golden/films";
}

/// A soft pattern that moves to the right by two pixels a frame.
Image pattern(int64_t width, int64_t height, int64_t frame) {
  Image image(width, height);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const double u = 0.1 * static_cast<double>(x - 2 * frame), v = 0.12 * static_cast<double>(y);
      image.at(x, y)[0] = static_cast<uint8_t>(128 + 100 * std::sin(u));
      image.at(x, y)[1] = static_cast<uint8_t>(128 + 100 * std::sin(u + v));
      image.at(x, y)[2] = static_cast<uint8_t>(128 + 100 * std::cos(v));
    }
  return image;
}

double psnr(const Image& a, const Image& b) {
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::pow(a.pixels[i] - b.pixels[i], 2);
  return 10 * std::log10(255 * 255 * static_cast<double>(a.pixels.size()) / sum);
}

void write_pattern(const std::filesystem::path& file, int64_t width, int64_t height, int64_t frames,
                   double rate = 30) {
  VideoWriter writer(file, width, height, rate);
  for (int64_t i = 0; i < frames; ++i) writer.add(pattern(width, height, i));
  writer.finish();
}

struct Seen {
  int64_t frames = 0, damaged = 0;
};
Seen play(const std::filesystem::path& file) {
  VideoReader reader(file);
  Seen seen;
  while (reader.next()) ++seen.frames;
  seen.damaged = reader.damaged();
  return seen;
}

/// The refusal's exit code, and that its line names the file; ok if there is none.
Exit refusal(const std::filesystem::path& file, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    const std::string what = error.what();
    CHECK(what.rfind(file.string() + ": ", 0) == 0);
    CHECK(what.find('\n') == std::string::npos);
    return error.code();
  }
  return Exit::ok;
}
Exit refusal(const std::filesystem::path& file) {
  return refusal(file, [&] { play(file); });
}

/// How a process ends that does this: its exit code, or 128 + signal.
int end_of_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string little(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> 8 * i & 255);
  return bytes;
}
std::string chunk(const std::string& name, const std::string& data) {
  return name + little(static_cast<uint32_t>(data.size())) + data;
}

/// An AVI of 8 x 4 pixels of 32 bits. `codec`: its four letters, zeros for plain pixels.
std::string avi(const std::string& codec, const std::vector<std::string>& frames) {
  const auto count = static_cast<uint32_t>(frames.size());
  std::string main, stream = "vids" + codec, format, movie = "movi";
  for (const uint32_t value : {100000u, 0u, 0u, 0u, count, 0u, 1u, 128u, 8u, 4u, 0u, 0u, 0u, 0u})
    main += little(value);
  for (const uint32_t value : {0u, 0u, 0u, 1u, 10u, 0u, count, 128u, 0u, 0u, 0u, 0u})
    stream += little(value);
  for (const uint32_t value : {40u, 8u, 4u, 1u | 32u << 16}) format += little(value);
  format += codec + little(128) + std::string(16, '\0');
  for (const auto& frame : frames) movie += chunk("00dc", frame);
  const auto list = chunk("LIST", "strl" + chunk("strh", stream) + chunk("strf", format));
  return chunk("RIFF",
               "AVI " + chunk("LIST", "hdrl" + chunk("avih", main) + list) + chunk("LIST", movie));
}

/// 8 x 4 pixels of one colour.
Image plain(Colour colour, uint8_t alpha) {
  Image image(8, 4, 4);
  for (int64_t x = 0; x < 32; ++x) {
    std::copy_n(colour.begin(), 3, image.at(x, 0));
    image.at(x, 0)[3] = alpha;
  }
  return image;
}

void check_colour(const Image& image, int64_t x, Colour want, int tolerance) {
  for (size_t c = 0; c < 3; ++c) {
    CAPTURE(x, c);
    CHECK(std::abs(image.at(x, 16)[c] - want[c]) <= tolerance);
  }
}

}  // namespace

TEST_CASE("a film is read back as it was written: frames, rate, times and pictures") {
  const TemporaryFolder folder;
  for (const char* name : {"a.mp4", "a.webm", "B.MP4"}) {
    // Odd sides: a row and a column are added, which repeat the last.
    const int64_t width = 77, height = 53, frames = 20;
    const double rate = GENERATE(24.0, 30000.0 / 1001);
    CAPTURE(name, rate);
    write_pattern(folder / name, width, height, frames, rate);
    VideoReader reader(folder / name);
    CHECK(reader.width() == 78);
    CHECK(reader.height() == 54);
    CHECK(reader.rate() == Approx(rate).epsilon(1e-4));
    double worst = 1000;
    int64_t count = 0;
    for (; auto frame = reader.next(); ++count) {
      Image inside(width, height), want = pattern(width, height, count);
      for (int64_t y = 0; y < height; ++y) std::copy_n(frame->at(0, y), width * 3, inside.at(0, y));
      worst = std::min(worst, psnr(inside, want));
      CHECK(std::abs(reader.time() - static_cast<double>(count) / rate) < 2e-3);  // WebM's clock
      CHECK(psnr(inside, pattern(width, height, count + 3)) < 25);  // the bound can fail
    }
    CHECK(count == frames);
    CHECK(worst > 33);  // colours at half the resolution leave 35
    CHECK(reader.damaged() == 0);
  }
}

TEST_CASE("the same frames give the same bytes") {
  const TemporaryFolder folder;
  for (const std::string suffix : {".mp4", ".webm"}) {
    CAPTURE(suffix);
    write_pattern(folder / ("a" + suffix), 64, 48, 12);
    write_pattern(folder / ("b" + suffix), 64, 48, 12);
    const auto bytes = io::read_text(folder / ("a" + suffix));
    CHECK(bytes == io::read_text(folder / ("b" + suffix)));
    for (const char* trace : {"Lavc", "x264", folder.path().c_str()})
      CHECK(bytes.find(trace) == std::string::npos);
  }
}

TEST_CASE("no encoder has threads, whose order could change the bytes") {
  const TemporaryFolder folder;
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  for (const char* name : {"a.mp4", "a.webm"}) {
    CAPTURE(name);
    const auto before = threads();
    VideoWriter writer(folder / name, 640, 480);
    for (int64_t i = 0; i < 3; ++i) writer.add(pattern(640, 480, i));
    CHECK(threads() == before);
    writer.finish();
  }
}

TEST_CASE("colours are those that ffmpeg stored, in each matrix and range") {
  for (const char* name :
       {"bt601.mp4", "bt709.mp4", "full.mp4", "jpeg.avi", "lossless.mkv", "ten_bit.webm"}) {
    CAPTURE(name);
    const int tolerance = std::string(name) == "lossless.mkv" ? 0 : 4;
    VideoReader reader(films() / name);
    int64_t count = 0;
    for (; auto frame = reader.next(); ++count) {
      check_colour(*frame, 8, {200, 30, 40}, tolerance);
      check_colour(*frame, 48, {30, 180, 60}, tolerance);
      check_colour(*frame, 88, {40, 60, 210}, tolerance);
    }
    CHECK(count == 5);
  }
}

TEST_CASE("frames of a variable rate have their own times") {
  VideoReader reader(films() / "uneven.mp4");
  std::vector<double> times;
  while (reader.next()) times.push_back(std::round(reader.time() * 1000));
  CHECK(times == std::vector<double>{0, 100, 400});
}

TEST_CASE("frames that nobody looks at are passed over, and the one before is kept") {
  const TemporaryFolder folder;
  write_pattern(folder / "a.mp4", 64, 48, 8);
  std::vector<Image> all;
  for (VideoReader reader(folder / "a.mp4"); auto frame = reader.next();) all.push_back(*frame);
  REQUIRE(all.size() == 8);
  VideoReader reader(folder / "a.mp4");
  CHECK_THROWS_AS(reader.image(), Error);
  for (size_t i = 0; i < 8; ++i) {
    REQUIRE(reader.advance());
    if (i % 3 == 1) CHECK(reader.image() == all[i]);
    if (i > 0) CHECK(reader.image(/*before=*/true) == all[i - 1]);
    CHECK(reader.time() == Approx(static_cast<double>(i) / 30).margin(1e-4));
  }
  CHECK_FALSE(reader.advance());
  CHECK(reader.image(/*before=*/true) == all[7]);
}

TEST_CASE("a frame's brightness is that of its regions") {
  const TemporaryFolder folder;
  Image image(64, 32);  // black, grey, white from left to right
  for (int64_t y = 0; y < 32; ++y)
    for (int64_t x = 0; x < 64; ++x)
      std::fill_n(image.at(x, y), 3, x < 16 ? 0 : x < 48 ? 128 : 255);
  VideoWriter writer(folder / "a.mp4", 64, 32);
  writer.add(image);
  writer.finish();
  VideoReader reader(folder / "a.mp4");
  REQUIRE(reader.advance());
  const auto luma = reader.luma(4);
  REQUIRE(luma.size() == 16);
  for (size_t y = 0; y < 4; ++y) {
    CHECK(luma[4 * y] < 24);  // in the range from 16 to 235 or from 0 to 255
    CHECK(std::abs(luma[4 * y + 1] - 127) < 6);
    CHECK(luma[4 * y + 1] == luma[4 * y + 2]);
    CHECK(luma[4 * y + 3] > 230);
  }
}

TEST_CASE("a film is turned as its file says") {
  const TemporaryFolder folder;
  auto bytes = io::read_text(films() / "bt709.mp4");
  const std::string upright("\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0", 20);
  const auto first = bytes.find(upright), track = bytes.find(upright, first + 1);
  REQUIRE(track != std::string::npos);
  bytes.replace(track, 20, std::string("\0\0\0\0\0\1\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0", 20));
  io::write_text(folder / "a.mp4", bytes);
  VideoReader reader(folder / "a.mp4");
  CHECK(reader.width() == 32);
  CHECK(reader.height() == 96);
  const auto frame = reader.next();
  REQUIRE(frame.has_value());
  CHECK(frame->width == 32);
  CHECK(frame->at(16, 8)[0] > 190);  // clockwise: what was left is above
  CHECK(frame->at(16, 88)[2] > 200);
}

TEST_CASE("pixels that are not square are made so") {
  VideoReader reader(films() / "anamorphic.mp4");
  CHECK(reader.width() == 64);
  CHECK(reader.height() == 32);
  const auto frame = reader.next();
  REQUIRE(frame.has_value());
  CHECK(frame->width == 64);
  CHECK(frame->height == 32);
}

TEST_CASE("an interlaced frame is its first field, without combs") {
  VideoReader reader(films() / "interlaced.mp4");
  int64_t frames = 0;
  for (; const auto frame = reader.next(); ++frames) {
    int64_t teeth = 0, bright = 0;
    for (int64_t y = 4; y < 28; ++y)
      for (int64_t x = 0; x < frame->width; ++x) {
        teeth += std::abs(*frame->at(x, y) - *frame->at(x, y + 1)) > 60;
        bright += *frame->at(x, y) > 128;
      }
    CAPTURE(frames);
    CHECK(teeth == 0);
    CHECK(bright > 24 * 5);  // the bar is there
  }
  CHECK(frames == 4);
}

TEST_CASE("what is transparent is white, whatever colour it hides") {
  for (const char* name : {"alpha.mov", "alpha.webm"}) {
    CAPTURE(name);
    const auto frame = VideoReader(films() / name).next();
    REQUIRE(frame.has_value());
    check_colour(*frame, 4, {255, 255, 255}, 8);
    check_colour(*frame, 28, {254, 0, 0}, 8);
  }
}

TEST_CASE("the fourth byte of plain pixels in AVI is no alpha") {
  const TemporaryFolder folder;
  std::string blue, half;
  for (int i = 0; i < 32; ++i)
    blue += std::string("\xfe\0\0\0", 4), half += std::string("\xfe\0\0\x80", 4);
  io::write_text(folder / "a.avi", avi(std::string(4, '\0'), {blue, half}));
  VideoReader reader(folder / "a.avi");
  for (int i = 0; i < 2; ++i) {
    const auto frame = reader.next();
    REQUIRE(frame.has_value());
    CHECK(*frame == over(plain({0, 0, 254}, 255)));
  }
}

TEST_CASE("a film that has shown nothing yet has an empty fourth channel, not a transparent one") {
  const TemporaryFolder folder;
  std::vector<std::string> frames;
  for (const int alpha : {0, 128, 0})
    frames.push_back(encode_png(plain({200, 0, 0}, static_cast<uint8_t>(alpha))));
  io::write_text(folder / "a.avi", avi("MPNG", frames));
  VideoReader reader(folder / "a.avi"), cut(folder / "a.avi", nullptr, Pixels::cut);
  for (const int alpha : {255, 128, 0}) {
    CAPTURE(alpha);
    const auto want = plain({200, 0, 0}, static_cast<uint8_t>(alpha));
    CHECK(reader.next() == over(want));
    CHECK(cut.next() == want);
  }
}

TEST_CASE("frames that are cut out of a film have the pixels that are stored, turned") {
  VideoReader wide(films() / "anamorphic.mp4", nullptr, Pixels::cut);
  CHECK(wide.width() == 32);
  CHECK(wide.height() == 32);
  const auto frame = wide.next();
  REQUIRE(frame.has_value());
  CHECK(frame->width == 32);
  const auto clear = VideoReader(films() / "alpha.mov", nullptr, Pixels::cut).next();
  REQUIRE(clear.has_value());
  REQUIRE(clear->channels == 4);
  CHECK(clear->at(4, 16)[3] == 0);
  CHECK(clear->at(28, 16)[3] == 255);
}

TEST_CASE("a film says which HDR it is of, and what it is if it cannot be read") {
  VideoReader hdr(films() / "pq.mp4"), plain(films() / "bt709.mp4");
  REQUIRE(hdr.advance());
  REQUIRE(plain.advance());
  CHECK(hdr.high_dynamic_range() == "PQ");
  CHECK(plain.high_dynamic_range().empty());
  CHECK_THROWS_WITH(VideoReader(films() / "unknown_codec.avi"), Catch::Contains("zmbv"));
  CHECK_THROWS_WITH(VideoReader(source_root() / "tests/golden/images/rgb.png"),
                    Catch::Contains("png"));
  CHECK_THROWS_WITH(play(films() / "encrypted.mp4"), Catch::Contains("is encrypted"));
}

TEST_CASE("raw JPEG frames and animated PNG are films") {
  for (const char* name : {"raw.mjpeg", "moving.apng"}) {
    CAPTURE(name);
    const auto seen = play(films() / name);
    CHECK(seen.frames == 3);
    CHECK(seen.damaged == 0);
  }
}

TEST_CASE("a file of two films has all frames of both") {
  const auto seen = play(films() / "twice.ts");
  CHECK(seen.frames == 12);
  CHECK(seen.damaged == 0);
}

TEST_CASE("a film comes through a named pipe, wherever its index is") {
  const TemporaryFolder folder;
  write_pattern(folder / "a.mp4", 32, 32, 5);  // its index is at the end
  for (const auto& film : {folder / "a.mp4", films() / "twice.ts"}) {
    const auto pipe = folder / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    std::thread writer([&] {
      const auto bytes = io::read_text(film);
      const int to = ::open(pipe.c_str(), O_WRONLY);
      REQUIRE(::write(to, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
      ::close(to);
    });
    const auto seen = play(pipe);
    writer.join();
    CHECK(seen.frames == play(film).frames);
    std::filesystem::remove(pipe);
  }
}

TEST_CASE("a frame's time is the one that the file says") {
  VideoReader reader(films() / "delays.gif");
  std::vector<double> seconds;
  while (reader.advance()) seconds.push_back(std::round(100 * reader.duration()) / 100);
  CHECK(seconds == std::vector<double>{0.1, 0.1, 2});
}

TEST_CASE("a playlist that names a sound film is refused, whatever it is called") {
  const TemporaryFolder folder;
  const auto film = folder / "film.mp4";
  std::filesystem::copy_file(films() / "bt709.mp4", film);
  CHECK(play(film).frames == 5);
  const std::string hls =
      "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + film.string() + "\n#EXT-X-ENDLIST\n";
  const std::string concat = "ffconcat version 1.0\nfile " + film.string() + "\n";
  const std::string sdp =
      "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
      "a=rtpmap:96 H264/90000\n";
  for (const char* name : {"list.m3u8", "list.mp4", "list.txt"})
    for (const auto& text : {hls, concat, sdp}) {
      CAPTURE(name, text);
      io::write_text(folder / name, text);
      CHECK(refusal(folder / name) == Exit::data);
    }
}

TEST_CASE("what is no film, a missing file and a folder are refused by name") {
  const TemporaryFolder folder;
  io::write_text(folder / "a.mp4", "no film");
  CHECK(refusal(folder / "a.mp4") == Exit::data);
  CHECK(refusal(folder / "none.mp4") == Exit::no_input);
  CHECK(refusal(folder.path()) == Exit::no_input);
  CHECK(refusal(source_root() / "tests/golden/images/rgb.png") == Exit::data);
}

TEST_CASE("a film that is cut off is refused, or what is missing is counted") {
  const TemporaryFolder folder;
  const auto file = folder / "a.mp4";
  write_pattern(file, 64, 48, 20);
  const auto ours = io::read_text(file);
  io::write_text(file,
                 std::string_view(ours).substr(0, ours.size() / 2));  // its index is at the end
  CHECK(refusal(file) == Exit::data);
  const auto theirs = io::read_text(films() / "uneven.mp4");
  io::write_text(file, std::string_view(theirs).substr(0, theirs.size() - 60));
  const auto seen = play(file);
  CHECK(seen.frames < 3);
  CHECK(seen.damaged > 0);
}

TEST_CASE("damaged packets are passed over and counted") {
  const TemporaryFolder folder;
  const auto file = folder / "a.mp4";
  write_pattern(file, 64, 48, 60);
  auto bytes = io::read_text(file);
  const size_t data = bytes.find("mdat"), index = bytes.find("moov");
  REQUIRE(data < index);
  const size_t middle = (data + index) / 2;
  for (size_t i = middle; i < middle + 300; ++i) bytes[i] = static_cast<char>(i * 37);
  io::write_text(file, bytes);
  const auto seen = play(file);
  CAPTURE(seen.frames, seen.damaged);
  CHECK(seen.damaged > 0);
  CHECK(seen.frames + seen.damaged <= 62);
  CHECK(seen.frames > 0);
}

TEST_CASE("a film file appears whole or not at all") {
  const TemporaryFolder folder;
  const auto file = folder / "a.mp4";
  {
    VideoWriter writer(file, 64, 48);
    for (int64_t i = 0; i < 5; ++i) writer.add(pattern(64, 48, i));
    CHECK_FALSE(std::filesystem::exists(file));
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(refusal(file, [&] { VideoWriter(file, 64, 48).finish(); }) == Exit::data);  // no frames
  CHECK(refusal(folder / "a.avi", [&] { VideoWriter(folder / "a.avi", 64, 48); }) == Exit::usage);
  CHECK(refusal(folder / "no/a.mp4", [&] { VideoWriter(folder / "no/a.mp4", 64, 48); }) ==
        Exit::cannot_create);
  CHECK(refusal(file, [&] { VideoWriter(file, 64, 48, 0); }) == Exit::usage);
  CHECK(std::filesystem::is_empty(folder.path()));
  // No room on the disk.
  CHECK(end_of_child([&] {
          const rlimit limit{2000, 2000};
          std::signal(SIGXFSZ, SIG_IGN);
          ::setrlimit(RLIMIT_FSIZE, &limit);
          return static_cast<int>(refusal(file, [&] { write_pattern(file, 64, 48, 20); }));
        }) == static_cast<int>(Exit::io));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE(
    "raw frames go to stdout one after another, and a reader that goes away ends the program") {
  const TemporaryFolder folder;
  CHECK(end_of_child([&] {
          ::dup2(::open((folder / "raw").c_str(), O_CREAT | O_WRONLY, 0600), STDOUT_FILENO);
          VideoWriter writer("-", 31, 17);
          for (int64_t i = 0; i < 3; ++i) writer.add(pattern(31, 17, i));
          writer.finish();
          return 0;
        }) == 0);
  std::string want;
  for (int64_t i = 0; i < 3; ++i) {
    const auto image = pattern(31, 17, i);
    want.append(reinterpret_cast<const char*>(image.pixels.data()), image.pixels.size());
  }
  CHECK(io::read_text(folder / "raw") == want);
  CHECK(end_of_child([&] {
          int ends[2];
          if (::pipe(ends) != 0) return 1;
          ::dup2(ends[1], STDOUT_FILENO);
          ::close(ends[0]);
          VideoWriter("-", 31, 17).add(pattern(31, 17, 0));
          return 0;
        }) == 128 + SIGPIPE);
}

TEST_CASE("words on a sheet lose accents, and other scripts a question mark a character") {
  CHECK(plain_letters("Kätzchen 猫.mp4") == "Katzchen ?.mp4");
  CHECK(plain_letters("Æsir “naïve” Łódź Straße…") == "AEsir \"naive\" Lodz Strasse...");
  CHECK(plain_letters("e\u0301te\u0301") == "ete");
  CHECK(plain_letters("\xff\xe7\x8c") == "??");  // no UTF-8
}

TEST_CASE("a contact sheet shows every image as it is, words beside them, on white") {
  const std::vector<SheetRow> rows = {{"first", {pattern(40, 30, 0), pattern(50, 20, 9)}},
                                      {"second", {pattern(30, 30, 4)}}};
  const auto sheet = contact_sheet(rows, {"a", "b"});
  const auto bare = contact_sheet({{"", {pattern(40, 30, 0)}}});
  CHECK(bare.width == 40 + 32);  // margins
  CHECK(bare.height == 30 + 32);
  const auto holds = [&](const Image& image) {
    for (int64_t y = 0; y + image.height <= sheet.height; ++y)
      for (int64_t x = 0; x + image.width <= sheet.width; ++x) {
        bool same = true;
        for (int64_t row = 0; same && row < image.height; ++row)
          same = std::equal(image.at(0, row), image.at(0, row) + image.width * 3,
                            sheet.at(x, y + row));
        if (same) return true;
      }
    return false;
  };
  for (const auto& row : rows)
    for (const auto& image : row.images) CHECK(holds(image));
  CHECK_FALSE(holds(pattern(40, 30, 1)));
  int64_t ink = 0;  // left of the images
  for (int64_t y = 0; y < sheet.height; ++y) {
    CHECK(*sheet.at(0, y) == 255);
    CHECK(*sheet.at(sheet.width - 1, y) == 255);
    for (int64_t x = 0; x < 40; ++x) ink += *sheet.at(x, y) < 128;
  }
  CHECK(ink > 50);
}
