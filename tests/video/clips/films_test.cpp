// Films to clips: which frames, where cuts are, what is said of them.

#include "clip_films.hpp"
#include "support/test.hpp"

#include <lact/error.hpp>
#include <lact/io/files.hpp>
#include <plugins/video/clips/captions.hpp>
#include <plugins/video/clips/film_clips.hpp>
#include <plugins/video/clips/film_queue.hpp>
#include <plugins/video/clips/films.hpp>

#include <ATen/TensorOperators.h>
#include <ATen/ops/mean.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <thread>

using namespace lact;
using namespace lact::test;
using namespace lact::video;
using Catch::Contains;

namespace {

namespace fs = std::filesystem;

struct Cut {
  FilmSeen seen;
  std::vector<double> starts;             ///< of clips
  std::vector<std::vector<int>> numbers;  ///< of frames, by their shade: 20 + 6 n
  std::vector<int64_t> pieces;
};

/// What becomes of a film whose frames have the shades of numbers.
Cut cut(const fs::path& film, const CutSettings& how) {
  Cut result;
  const auto take = [&](ClipPiece&& piece) {
    CHECK(piece.frames.size(1) == how.height);
    CHECK(piece.frames.size(2) == how.width);
    if (piece.first) {
      result.starts.push_back(std::round(1000 * piece.start) / 1000);
      result.numbers.emplace_back();
      result.pieces.push_back(0);
    }
    ++result.pieces.back();
    for (int64_t t = 0; t < piece.frames.size(0); ++t)
      result.numbers.back().push_back(number_of(piece.frames[t]));
  };
  result.seen = cut_film(film, how, take, nullptr, [] { return false; });
  return result;
}

CutSettings settings(double rate, int64_t frames) {
  CutSettings how;
  how.width = how.height = 16;
  how.rate = rate;
  how.frames = frames;
  how.threshold = 0;
  return how;
}

using Numbers = std::vector<std::vector<int>>;

/// Where nothing is to be passed over.
void refuse(const FilmFile*, const Error& error) {
  throw error;
}

}  // namespace

TEST_CASE("the frame taken is the one that is shown at that time", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.mp4", 10, 10);  // times 0, 0.1, ..., 0.9
  const auto numbers = [&](double rate) {
    const auto all = cut(folder / "a.mp4", settings(rate, 0)).numbers;
    REQUIRE(all.size() == 1);
    return all[0];
  };
  CHECK(numbers(10) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(numbers(5) == std::vector<int>{0, 2, 4, 6, 8});
  // 0, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571
  CHECK(numbers(7) == std::vector<int>{0, 1, 2, 4, 5, 7, 8});
  // 0, 0.05, 0.1, 0.15, ...
  CHECK(numbers(20) ==
        std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9});
  CHECK(numbers(1) == std::vector<int>{0});
}

TEST_CASE("frames of a variable rate are taken by their times", "[clips]") {
  // Three frames, at 0, 0.1 and 0.4 s; the last is shown for 0.1, as the file says.
  const auto film = source_root() / "tests/golden/films/uneven.mp4";
  int64_t frames = 0;
  std::vector<double> shades;
  const auto seen = cut_film(
      film, settings(20, 0),
      [&](ClipPiece&& piece) {
        frames += piece.frames.size(0);
        for (int64_t t = 0; t < piece.frames.size(0); ++t)
          shades.push_back(piece.frames[t].to(at::kFloat).mean().item<double>());
      },
      nullptr, [] { return false; });
  CHECK(seen.frames == 3);
  CHECK(seen.seconds == Approx(0.5).epsilon(1e-3));
  // 0, 0.05 | 0.1 ... 0.35 | 0.4, 0.45
  REQUIRE(frames == 10);
  const auto first_of_each = [&](size_t i) { return i == 0 || shades[i] != shades[i - 1]; };
  for (size_t i = 0; i < shades.size(); ++i) {
    CAPTURE(i);
    if (first_of_each(i)) CHECK((i == 0 || i == 2 || i == 8));
  }
}

TEST_CASE("a still is shown as long as the film says, and no more than ten seconds", "[clips]") {
  const auto films = source_root() / "tests/golden/films";
  const auto blue = cut(films / "delays.gif", settings(10, 0));  // 0.1 s, 0.1 s, 2 s
  REQUIRE(blue.numbers.size() == 1);
  CHECK(blue.numbers[0].size() == 22);
  CHECK(blue.seen.seconds == Approx(2.2));
  const auto hours = cut(films / "hours.mp4", settings(2, 0));  // four frames, an hour each
  REQUIRE(hours.numbers.size() == 4);
  for (const auto& shot : hours.numbers) CHECK(shot == std::vector<int>(20, shot[0]));
  CHECK(hours.starts == std::vector<double>{0, 3600, 7200, 10800});
  CHECK(hours.seen.seconds == Approx(4 * 3600));
}

TEST_CASE("clips follow each other at their stride, and what is left over is left out", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.webm", 11, 10);
  auto how = settings(10, 4);
  auto all = cut(folder / "a.webm", how);
  CHECK(all.numbers == Numbers{{0, 1, 2, 3}, {4, 5, 6, 7}});
  CHECK(all.starts == std::vector<double>{0, 0.4});
  CHECK(all.seen.clips == 2);
  CHECK(all.seen.frames == 11);
  how.stride = 3;
  all = cut(folder / "a.webm", how);
  CHECK(all.numbers == Numbers{{0, 1, 2, 3}, {3, 4, 5, 6}, {6, 7, 8, 9}});
  CHECK(all.starts == std::vector<double>{0, 0.3, 0.6});
  how.stride = 6;
  all = cut(folder / "a.webm", how);
  CHECK(all.numbers == Numbers{{0, 1, 2, 3}, {6, 7, 8, 9}});
  CHECK(all.starts == std::vector<double>{0, 0.6});
  how.frames = 12;
  how.stride = 0;
  CHECK(cut(folder / "a.webm", how).numbers.empty());
}

TEST_CASE("no clip crosses a cut, whole shots are clips, short ones are left out", "[clips]") {
  const TemporaryFolder folder;
  write_shots(folder / "a.mp4", {10, 23, 5}, 10);
  auto how = settings(10, 5);
  how.threshold = kShotThreshold;
  auto all = cut(folder / "a.mp4", how);
  CHECK(all.seen.cuts == 2);
  CHECK(all.starts == std::vector<double>{0, 0.5, 1, 1.5, 2, 2.5, 3.3});
  how.frames = 0;
  all = cut(folder / "a.mp4", how);
  CHECK(all.starts == std::vector<double>{0, 1, 3.3});
  REQUIRE(all.numbers.size() == 3);
  CHECK(all.numbers[0].size() == 10);
  CHECK(all.numbers[1].size() == 23);
  CHECK(all.numbers[2].size() == 5);
  CHECK(all.pieces == std::vector<int64_t>{1, 2, 1});  // 16 frames and 7
  how.at_least = 6;
  CHECK(cut(folder / "a.mp4", how).starts == std::vector<double>{0, 1});
  how.threshold = 0;
  CHECK(cut(folder / "a.mp4", how).starts == std::vector<double>{0});
}

TEST_CASE("cuts are found, and fast cameras, flickering light and noise are none", "[clips]") {
  const auto shot = [](int scene, double x, double light) { return small_scene(scene, x, light); };
  const auto cuts = [](const std::vector<std::vector<uint8_t>>& frames) {
    ShotDetector detector;
    std::set<size_t> found;
    for (size_t i = 0; i < frames.size(); ++i)
      if (detector.cut(frames[i])) found.insert(i);
    return found;
  };
  CHECK(unlikeness(shot(1, 0, 1), shot(1, 0, 1)) == 0);
  std::vector<std::vector<uint8_t>> frames;
  for (int i = 0; i < 60; ++i) frames.push_back(shot(i / 20, i, 1));  // moves by a 32nd a frame
  CHECK(cuts(frames) == std::set<size_t>{20, 40});
  frames.clear();
  for (int i = 0; i < 40; ++i) frames.push_back(shot(1, 3.0 * i, 1));  // by a tenth
  CHECK(cuts(frames).empty());
  frames.clear();
  for (int i = 0; i < 40; ++i) frames.push_back(shot(1, 0, i % 2 ? 1 : 0.8));
  CHECK(cuts(frames).empty());
  frames.clear();
  for (int i = 0; i < 40; ++i) frames.push_back(shot(1, 0, 0.02));  // as good as black
  for (int i = 0; i < 40; ++i) frames[static_cast<size_t>(i)][static_cast<size_t>(i)] ^= 3;
  CHECK(cuts(frames).empty());
  frames[20] = std::vector<uint8_t>(1024, 200);
  CHECK(cuts(frames) == std::set<size_t>{20, 21});
}

TEST_CASE("clips of many films leave in order, however many threads there are", "[clips]") {
  const TemporaryFolder folder;
  std::vector<fs::path> films;
  for (int i = 0; i < 5; ++i) {
    films.push_back(folder / concat(i, ".mp4"));
    write_numbers(films.back(), 6 + 3 * i, 10);
  }
  io::write_text(films[2], "no film");
  for (const int threads : {1, 2, 8}) {
    FilmQueue queue(films, settings(10, 3), threads);
    for (size_t i = 0; i < films.size(); ++i) {
      CAPTURE(threads, i);
      int64_t clips = 0;
      const auto drain = [&] {
        for (; const auto piece = queue.next(i); ++clips)
          CHECK(piece->start == Approx(0.3 * static_cast<double>(clips)));
      };
      if (i == 2)
        CHECK_THROWS_AS(drain(), Error);
      else
        drain();
      CHECK(clips == (i == 2 ? 0 : 2 + static_cast<int64_t>(i)));
      CHECK(queue.seen(i).clips == clips);
    }
  }
  FilmQueue abandoned(films, settings(10, 3), 2);
  abandoned.next(0);
}

TEST_CASE("films are not begun far ahead of the one whose clips are taken", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.mp4", 3, 10);
  const std::vector<fs::path> films(40, folder / "a.mp4");
  constexpr int kThreads = 2;
  FilmQueue queue(films, settings(10, 3), kThreads);
  for (size_t i = 0; i < films.size(); ++i) {
    CHECK(queue.next(i).has_value());
    const auto most = std::min(i + kThreads * FilmQueue::kAhead, films.size());
    if (i % 10 == 0) {  // a taker who takes long
      for (int wait = 0; wait < 2000 && queue.begun() < most; ++wait)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // for more, if there were
      CHECK(queue.begun() == most);
    }
    if (i % 3 > 0) CHECK_FALSE(queue.next(i).has_value());  // else it is given up
    CHECK(queue.begun() <= most);
  }
}

TEST_CASE("a film that is given up does not hold up those after it", "[clips]") {
  const TemporaryFolder folder;
  write_numbers(folder / "a.mp4", 9, 100);
  auto how = settings(100, 1);
  how.width = how.height = 2048;  // few clips wait in memory
  FilmQueue queue(std::vector<fs::path>(3, folder / "a.mp4"), how, 1);
  for (size_t i = 0; i < 3; ++i) CHECK(queue.next(i).has_value());
}

// --- what is said --------------------------------------------------------------------------------

TEST_CASE("a CSV table is read as RFC 4180 has it", "[clips]") {
  using Rows = std::vector<std::vector<std::string>>;
  CHECK(parse_csv("", "t") == Rows{});
  CHECK(parse_csv("a,b\r\nc,d", "t") == Rows{{"a", "b"}, {"c", "d"}});
  CHECK(parse_csv("\xef\xbb\xbf"
                  "a,,\n\n\"b \"\"c\"\", d\",\"e\nf\",g\n",
                  "t") == Rows{{"a", "", ""}, {"b \"c\", d", "e\nf", "g"}});
  CHECK(parse_csv("a,\n", "t") == Rows{{"a", ""}});
  CHECK(parse_csv("a,\"\"\n", "t") == Rows{{"a", ""}});
  CHECK_THROWS_AS(parse_csv("a,\"b\n\nc", "t"), Error);
  CHECK_THROWS_AS(parse_csv("a,\"b\"c\n", "t"), Error);
  CHECK(one_line("  a\tdog \r\n\n runs ") == "a dog runs");
}

TEST_CASE("captions come from a table, or from text beside the film", "[clips]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "films/cats");
  for (const char* name : {"a.mp4", "b.mp4", "c.mp4", "cats/a.webm", "notes.txt", ".hidden.mp4"})
    io::write_text(folder.path() / "films" / name, "x");
  io::write_text(folder / "films/a.txt", "the first,\nin a file\n");
  io::write_text(folder / "films/b.mp4.txt", "the second");
  io::write_text(folder / "films/b.txt", "not this");
  io::write_text(folder / "table.csv",
                 "file,caption,label\nfilms/c.mp4,\"a cat, asleep\",cat\na.webm,another,cat\n"
                 "none.mp4,,\n");
  auto films = find_films({(folder / "films").string(), (folder / "films/a.mp4").string()}, refuse);
  REQUIRE(films.size() == 4);
  CHECK(films[0].name == "a.mp4");
  CHECK(films[3].name == "cats/a.webm");
  describe(films, "", "none", refuse);
  CHECK(films[0].caption == "the first, in a file");
  CHECK(films[1].caption == "the second");
  CHECK(films[2].caption.empty());
  CHECK(films[0].label.empty());
  describe(films, folder / "table.csv", "none", refuse);
  CHECK(films[0].caption == "the first, in a file");
  CHECK(films[2].caption == "a cat, asleep");
  CHECK(films[2].label == "cat");
  CHECK(films[3].caption == "another");
  describe(films, folder / "table.csv", "folder", refuse);
  CHECK(films[0].label == "films");
  CHECK(films[3].label == "cats");
  describe(films, folder / "table.csv", "caption", refuse);
  CHECK(films[1].label == "the second");
  for (const char* wrong : {"a.mp4\n", "a.mp4,b,c,d\n", "a.mp4,x\n./a.mp4,y\n"}) {
    io::write_text(folder / "table.csv", wrong);
    CHECK_THROWS_AS(describe(films, folder / "table.csv", "none", refuse), Error);
  }
  CHECK_THROWS_AS(find_films({(folder / "none").string()}, refuse), Error);
  fs::create_directories(folder / "empty");
  CHECK_THROWS_AS(find_films({(folder / "empty").string()}, refuse), Error);
}

TEST_CASE("folders are looked through once, wherever links lead", "[clips]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in/deep");
  fs::create_directories(folder / "elsewhere");
  for (const char* name : {"in/x.mp4", "in/deep/y.mp4", "elsewhere/z.mp4"})
    io::write_text(folder.path() / name, "x");
  for (const char* name : {"in/a", "in/b", "in/deep/c"})  // thousands of millions of ways
    fs::create_symlink(folder / "in", folder / name);
  fs::create_symlink("../elsewhere", folder / "in/linked");
  std::string names;
  for (const auto& film : find_films({(folder / "in").string()}, refuse)) names += film.name + " ";
  CHECK(names == "deep/y.mp4 linked/z.mp4 x.mp4 ");
}

TEST_CASE("tables of captions have the headings of others, or are JSON", "[clips]") {
  const TemporaryFolder folder;
  const auto said = [&](const char* name, const std::string& text) {
    io::write_text(folder / name, text);
    auto table = CaptionTable::read(folder / name);
    const auto* row = table.find(folder / "a.mp4");
    return row == nullptr ? std::string("none") : row->caption + "/" + row->label;
  };
  CHECK(said("t.csv", "file_name,text\na.mp4,hello\n") == "hello/");
  CHECK(said("t.csv", "File,Caption,Label\na.mp4,hello,cat\n") == "hello/cat");
  CHECK(said("t.csv", "id,prompt,video\n7,hello,a.mp4\n") == "hello/");
  CHECK(said("t.csv", "a.mp4,hello,cat\n") == "hello/cat");
  CHECK(said("t.jsonl", "{\"file_name\": \"a.mp4\", \"text\": \"hello\"}\n") == "hello/");
  CHECK(said("t.jsonl", "{\"video_path\":\"a.mp4\",\"caption\":\"hello\",\"n\":3}\n") == "hello/");
  CHECK(said("t.json", "[{\"video\": \"a.mp4\", \"prompt\": \"hello\"}]") == "hello/");
  for (const char* row : {"{\"a\": \"b\"}\n", "{\"file\": \"a.mp4\"}\n"})
    CHECK_THROWS_WITH(said("t.jsonl", row), Contains("t.jsonl:1: expected the keys"));
}

TEST_CASE("a comma that nobody quoted is refused, and makes no label", "[clips]") {
  const TemporaryFolder folder;
  for (const char* text :
       {"a.mp4,A cat, asleep\n", "file,caption\na.mp4,A cat,asleep\n",
        "b.mp4,A dog\na.mp4,A cat,asleep\n", "file,caption,label\na.mp4,A cat, asleep\n",
        "file,caption,label\na.mp4,A cat, asleep,cat\n", "file,words\na.mp4,A cat,asleep\n",
        "text,path\nA cat\n"}) {
    io::write_text(folder / "t.csv", text);
    CHECK_THROWS_WITH(CaptionTable::read(folder / "t.csv"), Contains("stands in quotes"));
  }
}

TEST_CASE("rows below a heading may leave out the label, and blanks after commas are none's fault",
          "[clips]") {
  const TemporaryFolder folder;
  const auto said = [&](const char* name, const std::string& text) {
    auto table = CaptionTable::parse(text, folder / name);
    const auto* row = table.find(folder / "a.mp4");
    return row == nullptr ? std::string("none") : row->caption + "/" + row->label;
  };
  const std::string head = "file,caption,label\n";
  CHECK(said("t.csv", head + "a.mp4,A cat\nb.mp4,A dog,dog\n") == "A cat/");
  CHECK(said("t.csv", head + "b.mp4,A dog,dog\na.mp4,\n") == "/");
  CHECK(said("t.csv", "label,text,path,n\ncat,A cat,a.mp4\n") == "A cat/cat");
  CHECK(said("t.csv", "file,words,kind\na.mp4,A cat\n") == "A cat/");
  CHECK(said("t.csv", head + "a.mp4, A cat, cat\n") == "A cat/cat");
  CHECK(said("t.csv", head + "a.mp4,\"A cat, asleep\", cat\n") == "A cat, asleep/cat");
  CHECK(said("t.jsonl", R"({"file": "a.mp4", "caption": "A cat", "label": " cat"})") ==
        "A cat/cat");
  CHECK_THROWS_WITH(said("t.csv", head + "a.mp4\n"), Contains("expected 2 to 3 fields, found 1"));
}

TEST_CASE("a file whose suffix other data has, too, is a film if it holds one", "[clips]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "in");
  write_numbers(folder / "a.mp4", 5, 10);
  for (const char* name : {"a.mp4", "b.dat", "c.MOD"})
    fs::copy_file(folder / "a.mp4", folder.path() / "in" / name);
  for (const char* name : {"d.dat", "e.mod", "f.dif", "g.nut", "h.avc"})
    io::write_text(folder.path() / "in" / name, "1.5 2.5 3.5\n");
  io::write_text(folder / "in/i.dat", "");
  fs::create_symlink("nowhere", folder / "in/j.dat");
  std::string names;
  for (const auto& film : find_films({(folder / "in").string()}, refuse)) names += film.name + " ";
  CHECK(names == "a.mp4 b.dat c.MOD ");
  CHECK(find_films({(folder / "in/d.dat").string()}, refuse).size() == 1);  // as it was given
}

TEST_CASE("films for validation are chosen by share and by name", "[clips]") {
  std::vector<FilmFile> films(10);
  for (size_t i = 0; i < films.size(); ++i) films[i].path = concat("f/", i, ".mp4");
  const auto chosen = [&](double share, const std::vector<std::string>& globs, uint64_t seed) {
    auto copy = films;
    choose_validation(copy, share, globs, seed);
    std::set<std::string> names;
    for (const auto& film : copy)
      if (film.validation) names.insert(film.path.filename().string());
    return names;
  };
  CHECK(chosen(0, {}, 1).empty());
  CHECK(chosen(0.01, {}, 1).size() == 1);
  CHECK(chosen(0.3, {}, 1).size() == 3);
  CHECK(chosen(0.3, {}, 1) == chosen(0.3, {}, 1));
  CHECK(chosen(0.5, {}, 1) != chosen(0.5, {}, 2));
  CHECK(chosen(0, {"[34].mp4", "f/7*"}, 1) == std::set<std::string>{"3.mp4", "4.mp4", "7.mp4"});
  CHECK_THROWS_AS(chosen(0, {"x*"}, 1), Error);
}
